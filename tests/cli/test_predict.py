"""Predictions of a logged model for files that it was not trained on."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.cli import saved_model
from harness.cli.kept_rows import kept_rows
from harness.cli.predict import predict
from harness.cli.saved_model import load, rows_per_batch
from harness.config.dialect import Dialect
from harness.data.formats import open_source
from harness.data.selection import Selection
from harness.errors import ConfigError
from harness.tracking.model_saver import RawModel
from harness.tracking.reader import RunReader
from harness.tracking.run_pages import all_runs
from harness.tracking.tracker import Tracker

FILE = "id,b,a,y\n x,1,2,0\n y,3,4,0\n z,5,6.5,0\n"
EXPECTED = [10 * 2 + 1, 10 * 4 + 3, 10 * 6.5 + 5]
WRITTEN = "dates: [], date_format: null, delimiter: ',', encoding: utf-8, decimal: ."
CONFIG = f"data: {{features: [a, b, c, d], target: y, {WRITTEN}}}"
WRITTEN_ODDLY = (
    "data: {features: [a, b], target: y, delimiter: ;, decimal: ',', thousands: ., na_values: ['?'], missing: drop, "
    "comment: '#', names: [id, b, a, y]}"
)
Write = Callable[..., Path]


def model() -> keras.Model:
    """A model that computes 10 a + b and takes columns by name."""
    inputs = {name: keras.Input((1,), name=name) for name in "ab"}
    dense = keras.layers.Dense(1, kernel_initializer="ones")
    tens = keras.layers.Rescaling(10.0)(inputs["a"])
    return keras.Model(inputs, dense(keras.layers.Concatenate()([tens, inputs["b"]])))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A run with a model, one whose model contains code, one without a model, and a sweep."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    ids = {"uri": uri}
    unsafe = keras.Sequential([keras.Input((1,)), keras.layers.Lambda(lambda x: x + 1)])
    with Tracker(uri, "question") as tracker:
        for name, kept in (("kept", model()), ("written", model()), ("unsafe", unsafe), ("not kept", None)):
            command = "harness train chunksize=4 epochs=2"
            ids[name] = tracker.start_run(name, {}, {"kind": "run", "sample": "batch", "command": command})
            tracker.log_text(ids[name], CONFIG if name != "written" else WRITTEN_ODDLY, "config.yaml")
            if kept is not None:
                tracker.log_model(ids[name], RawModel(kept, {name: np.ones(1) for name in "ab"}, ["y"]))
            tracker.end_run(ids[name], "FINISHED")
        ids["sweep"] = tracker.start_run("sweep", {}, {"kind": "sweep"})
    return ids


@pytest.fixture
def records(store: dict[str, str]) -> RunReader:
    return RunReader(store["uri"])


def test_kept_rows_have_marks_for_missing_values_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"n": [-999, 5]}), path)
    rows = kept_rows(open_source(str(path), Selection((), dialect=Dialect(na_values=[-999]))))
    next(rows)
    assert rows.send(2)[0].tolist() == ["-999", "5"]


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_each_row_has_a_prediction_in_order(
    records: RunReader, store: dict[str, str], write: Write, tmp_path: Path, rows: int
) -> None:
    predict(records, store["kept"], write(FILE), tmp_path / "out.csv", keep=False)
    assert (tmp_path / "out.csv").read_text() == "prediction\n21\n43\n70\n"


@pytest.mark.parametrize("rows", [2, 100])
def test_kept_columns_are_unchanged(
    records: RunReader, store: dict[str, str], write: Write, tmp_path: Path, rows: int
) -> None:
    predict(records, store["kept"], write(FILE), tmp_path / "out.csv", keep=True)
    expected = zip(FILE.splitlines(), ["prediction", "21", "43", "70"], strict=True)
    assert (tmp_path / "out.csv").read_text() == "".join(f"{line},{value}\n" for line, value in expected)


@pytest.mark.parametrize("keep", [False, True])
def test_files_are_read_as_in_training(
    records: RunReader,
    store: dict[str, str],
    write: Write,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    keep: bool,
) -> None:
    path = write(gzip.compress(b"# by X\n;;;\n x;1;2,0;0\n y;?;4;0\n#z\n z;1.005;6,5;-\n"))
    predict(records, store["written"], path, tmp_path / "out.csv", keep=keep)
    kept = [["id", "b", "a", "y"], [" x", "1", '"2,0"', "0"], [" y", "?", "4", "0"], [" z", "1.005", '"6,5"', "-"]]
    lines = [[*(row if keep else []), value] for row, value in zip(kept, ["prediction", "21", "", "1070"], strict=True)]
    assert (tmp_path / "out.csv").read_text() == "".join(f"{','.join(line) or chr(34) * 2}\n" for line in lines)
    assert capsys.readouterr().err.splitlines() == [
        f"Reading {path} as the run's data was read: data.delimiter=semicolon data.decimal=comma data.thousands=. "
        "'data.na_values=[?]' 'data.names=[id,b,a,y]' 'data.comment=\"#\"'",
        "1 row has empty fields and was not predicted; training dropped such rows too (data.missing=drop).",
    ]


def test_the_file_may_be_written_in_another_way(
    records: RunReader, store: dict[str, str], write: Write, tmp_path: Path
) -> None:
    path, run = write("a\tb\n2\t1\n4\t3\n6\t5\n"), store["kept"]
    with pytest.raises(ConfigError, match=r"The file seems to need data\.delimiter=tab; see"):
        predict(records, run, path, None, keep=False)
    predict(records, run, path, tmp_path / "out.csv", keep=False, keys=["data.delimiter=tab"])
    assert (tmp_path / "out.csv").read_text() == "prediction\n21\n43\n65\n"
    keys = r"data\.delimiter=comma data\.decimal=\. data\.thousands=null"
    with pytest.raises(ConfigError, match=rf"The file seems to need {keys};"):
        predict(records, store["written"], write(FILE), None, keep=False)
    for word in ("data.target=b", "tab", "data.skip_rows=x"):
        with pytest.raises(ConfigError):
            predict(records, run, path, None, keep=False, keys=[word])


@pytest.mark.parametrize("suffix", ["parquet", "feather", "jsonl"])
def test_files_of_other_formats(records: RunReader, store: dict[str, str], tmp_path: Path, suffix: str) -> None:
    frame = pd.read_csv(io.StringIO(FILE))
    path = tmp_path / f"rows.{suffix}"
    if suffix == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        getattr(frame, f"to_{suffix}")(path)
    predict(records, store["kept"], path, tmp_path / "out.csv", keep=True)
    assert pd.read_csv(tmp_path / "out.csv").equals(frame.assign(prediction=[21, 43, 70]))


def test_standard_output(
    records: RunReader, store: dict[str, str], write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    predict(records, store["kept"], write(FILE), None, keep=False)
    rows = pd.read_csv(io.StringIO(capsys.readouterr().out))
    np.testing.assert_allclose(rows["prediction"], EXPECTED)


@pytest.mark.parametrize(("keep", "out"), [(False, "prediction\n"), (True, "id,b,a,y,prediction\n")])
def test_a_file_without_rows(
    records: RunReader, store: dict[str, str], write: Write, tmp_path: Path, keep: bool, out: str
) -> None:
    predict(records, store["kept"], write("id,b,a,y\n"), tmp_path / "out.csv", keep=keep)
    assert (tmp_path / "out.csv").read_text() == out


@pytest.mark.parametrize(
    ("run", "content", "keep", "sentence"),
    [
        ("kept", "a,c\n1,2\n", False, "has no column b. It has: a, c."),
        ("kept", "a,b\n1,2\n1,x\n", False, "line 3: b is 'x', not a number."),
        ("kept", "a,b\n1,2\n3,\n", False, "b: empty field in "),
        ("kept", "a,b,prediction\n1,2,3\n", True, "already has a column prediction."),
        ("unsafe", "a,b\n1,2\n", False, "The run's model cannot be loaded safely: "),
        (
            "not kept",
            "a,b\n1,2\n",
            False,
            "Run not kept has no model. Run `harness train chunksize=4 epochs=2 tracking.log_model=all`.",
        ),
        ("sweep", "a,b\n1,2\n", False, "is a sweep, not a run."),
    ],
)
def test_bad_rows_are_refused_and_leave_no_file(
    records: RunReader,
    store: dict[str, str],
    write: Write,
    tmp_path: Path,
    run: str,
    content: str,
    keep: Any,
    sentence: str,
) -> None:
    with pytest.raises(ConfigError) as refusal:
        predict(records, store[run], write(content), tmp_path / "out.csv", keep=keep)
    assert sentence in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file.csv"]


def test_missing_files_and_folders_are_refused(
    records: RunReader, store: dict[str, str], write: Write, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="is not a file on disk"):
        predict(records, store["kept"], tmp_path / "none.csv", None, keep=False)
    with pytest.raises(ConfigError, match="--output: no such folder"):
        predict(records, store["kept"], write(FILE), tmp_path / "none" / "out.csv", keep=False)


def test_categories_and_dates_are_read_as_in_training(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown category contributes 0, and a day contributes 1."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    inputs = {"c": keras.Input((1,), name="c", dtype="string"), "d": keras.Input((1,), name="d")}
    names = keras.layers.StringLookup(vocabulary=["u", "v"])(inputs["c"])
    outputs = keras.layers.Add()([100.0 * keras.ops.cast(names, "float32"), inputs["d"]])
    with Tracker(uri, "question") as tracker:
        run_id = tracker.start_run("run", {}, {"kind": "run", "sample": "batch"})
        written = CONFIG.replace("[]", "[d]").replace("null", '"%d.%m.%Y"').replace("','", "';'")
        tracker.log_text(run_id, written, "config.yaml")
        example = {"c": np.array(["u"]), "d": np.array(["02.01.1970"])}
        raw = RawModel(keras.Model(inputs, outputs), example, ["y"], {"d": "%d.%m.%Y"})
        tracker.log_model(run_id, raw)
        tracker.end_run(run_id, "FINISHED")
    path = write("d;c\n02.01.1970;v\n01.01.1970;w\n03.01.1970;\n")
    predict(RunReader(uri), run_id, path, tmp_path / "out.csv", keep=False)
    assert (tmp_path / "out.csv").read_text() == "prediction\n201\n0\n2\n"
    unseen = "c: 1 row with categories that training did not have: w."
    assert capsys.readouterr().err.splitlines()[-1] == unseen
    with pytest.raises(ConfigError, match="d is 'x', not a date"):
        predict(RunReader(uri), run_id, write("d;c\nx;v\n"), None, keep=False)
    assert capsys.readouterr().out == ""


def test_empty_fields_are_filled_as_in_training(write: Write, tmp_path: Path) -> None:
    """With `data.missing=mean`, the model fills features that were empty in training; in others, they are rejected."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    inputs = {name: keras.Input((1,), name=name) for name in "ab"}
    filled = keras.ops.where(keras.ops.isnan(inputs["a"]), 7.0, inputs["a"])
    with Tracker(uri, "question") as tracker:
        run_id = tracker.start_run("run", {}, {"kind": "run", "sample": "batch"})
        tracker.log_text(run_id, "data: {features: [a, b], target: y, missing: mean}", "config.yaml")
        raw = RawModel(keras.Model(inputs, filled + inputs["b"]), {name: np.ones(1) for name in "ab"}, ["y"])
        tracker.log_model(run_id, raw)
        tracker.end_run(run_id, "FINISHED")
    predict(RunReader(uri), run_id, write("a,b\n1,2\n,3\nNA,4\n"), tmp_path / "out.csv", keep=False)
    assert (tmp_path / "out.csv").read_text() == "prediction\n3\n10\n11\n"
    with pytest.raises(ConfigError, match=r"b: empty field in .*line 3, but the model's training rows had none\."):
        predict(RunReader(uri), run_id, write("a,b\n1,2\n2,\n"), tmp_path / "out.csv", keep=False)


def numeric(folder: Path, bytes_at_once: int, patch: pytest.MonkeyPatch) -> RunReader:
    """A run whose model has the numeric categories 1 to 4 and predicts few rows at once."""
    patch.setattr(saved_model, "BATCH_BYTES", bytes_at_once)
    c = keras.Input((1,), name="c")
    known = keras.ops.cast(keras.ops.equal(c, np.float32([[1, 2, 3, 4]])), "float32")
    weights = np.float32([[10], [20], [30], [40]])
    with Tracker(f"sqlite:///{folder}/mlflow.db", "question") as tracker:
        run_id = tracker.start_run("run", {}, {"kind": "run", "sample": "batch"})
        written = f"data: {{features: [c], target: y, categorical: [c], {WRITTEN}}}"
        tracker.log_text(run_id, written, "config.yaml")
        model = keras.Model({"c": c}, keras.ops.matmul(known, weights))
        tracker.log_model(run_id, RawModel(model, {"c": np.ones(1)}, ["y"]))
        tracker.end_run(run_id, "FINISHED")
    return RunReader(tracker.uri)


@pytest.mark.parametrize("bytes_at_once", [1, 200, 1 << 20])
def test_numeric_categories_are_matched_by_their_text(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bytes_at_once: int
) -> None:
    """As in training, an empty or unknown category counts as unknown."""
    records = numeric(tmp_path, bytes_at_once, monkeypatch)
    (run,) = all_runs(records.client, ["1"], "")
    path = write("c,other\n1,x\n3,x\n,x\n16777217,x\nword,x\n4,x\n\n\n")
    predict(records, run.info.run_id, path, tmp_path / "out.csv", keep=False)
    assert (tmp_path / "out.csv").read_text() == "prediction\n10\n30\n0\n0\n0\n40\n"
    for word, short in [("1.0", "1"), ("01", "1"), ("16777217.0", "16777217")]:
        with pytest.raises(ConfigError, match=f"line 3: c is '{word}', but .* shortest form, such as {short}."):
            predict(records, run.info.run_id, write(f"c\n2\n{word}\n"), None, keep=False)


def test_a_model_larger_than_its_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(20), keras.layers.Dense(1)]).save(path)
    assert load(path).count_params() == 101
    with zipfile.ZipFile(path) as file:
        contents = {name: file.read(name) for name in file.namelist()}
    wide = contents["config.json"].replace(b'"units": 20', b'"units": 20000000')
    hostile = {
        "Input 0 .* is incompatible": wide,
        "its 100,000,001 weights do not fit into a file": wide.replace(b"[null, 20]", b"[null, 20000000]"),
        "unpacks to": contents["config.json"] + b" " * 10_000_000,
        "recursion": b"[" * 100_000 + b"]" * 100_000,
    }
    for sentence, configuration in hostile.items():
        how = zipfile.ZIP_DEFLATED if sentence == "unpacks to" else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", how) as file:
            for name, content in (contents | {"config.json": configuration}).items():
                file.writestr(name, content)
        with pytest.raises(ConfigError, match=f"The run's model cannot be loaded safely: .*{sentence}"):
            load(path)


def test_a_model_whose_rows_do_not_fit_into_memory_is_refused() -> None:
    long = keras.Sequential([keras.Input((1,)), keras.layers.RepeatVector(10**12)])
    with pytest.raises(ConfigError, match=r"The run's model needs 4 TB for one row"):
        rows_per_batch(long)


@pytest.mark.parametrize("ending", ["\n", "\r", "\r\n"])
def test_kept_columns_may_contain_line_breaks(
    records: RunReader, store: dict[str, str], write: Write, tmp_path: Path, ending: str
) -> None:
    path = write(f'a,b,"t{ending}"{ending}1,2,"x{ending}y"{ending}3,4,z{ending}')
    predict(records, store["kept"], path, tmp_path / "out.csv", keep=True)
    found = pd.read_csv(tmp_path / "out.csv", dtype=str, lineterminator="\n" if ending == "\n" else None)
    assert found.columns.tolist() == ["a", "b", f"t{ending}", "prediction"]
    assert found.to_numpy().tolist() == [["1", "2", f"x{ending}y", "12"], ["3", "4", "z", "34"]]


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("data: 1", "config.yaml does not contain a run's configuration: '1'"),
        (CONFIG.replace("utf-8", "'${oc.env:HOME}'"), "config.yaml contains values that are not plain: ${oc.env:HOME}"),
        (CONFIG.replace("utf-8", "no-such"), "data.encoding: Python has no encoding"),
    ],
)
def test_a_bad_record_is_refused(write: Write, tmp_path: Path, config: str, sentence: str) -> None:
    with Tracker(f"sqlite:///{tmp_path}/mlflow.db", "question") as tracker:
        run_id = tracker.start_run("run", {}, {"kind": "run", "sample": "batch"})
        tracker.log_text(run_id, config, "config.yaml")
        tracker.log_model(run_id, RawModel(model(), {name: np.ones(1) for name in "ab"}, ["y"]))
    with pytest.raises(ConfigError) as refusal:
        predict(RunReader(tracker.uri), run_id, write(FILE), None, keep=False)
    assert str(refusal.value).startswith(sentence)


def test_values_that_float32_would_round_keep_their_digits(write: Write, tmp_path: Path) -> None:
    """Columns stored with an offset are read, and their predictions written, with float64 precision."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    values = keras.Input((1,), name="a", dtype="float64")
    small = keras.ops.cast(keras.ops.subtract(values, np.array([[1e9]])), "float32")
    outputs = keras.ops.add(keras.ops.cast(keras.layers.Rescaling(3.0)(small), "float64"), np.array([[1e12]]))
    with Tracker(uri, "question") as tracker:
        run = tracker.start_run("wide", {}, {"kind": "run", "sample": "batch", "command": "harness train"})
        tracker.log_text(run, CONFIG, "config.yaml")
        tracker.log_model(run, RawModel(keras.Model({"a": values}, outputs), {"a": np.ones(1)}, ["y"]))
        tracker.end_run(run, "FINISHED")
    path = write("a\n1000000000.5\n1000000002\n999999999.75\n")
    predict(RunReader(uri), run, path, tmp_path / "out.csv", keep=False)
    assert (tmp_path / "out.csv").read_text() == "prediction\n1000000000001.5\n1000000000006\n999999999999.25\n"
