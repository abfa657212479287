"""Categories are learned from training rows, sorted and one-hot encoded; the exported model takes them raw."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import Missing, Order, Scaling
from harness.data.scaler import Scaler
from harness.data.vocabulary import Vocabulary, explain_text, shortest_form
from harness.training.encoding import Encoding
from harness.training.export import raw_model
from tests.helpers import lane, objective, train
from tests.tables import held_out, refusal, rows

TEXT = "c,a,y\nsouth,1,10\nnorth,2,20\nwest,3,30\nsouth,4,40\neast,5,50\nnorth,6,60\n"
CATEGORICAL: dict = {"features": ["a", "c"], "categorical": ["c"]}


def learned(*words: str, trained: int | None = None) -> Vocabulary:
    """A vocabulary that has seen these words, the first `trained` of them in training rows."""
    vocabulary = Vocabulary("c")
    codes = vocabulary.encode(np.arange(len(words)), list(words))
    vocabulary.mark_trained(codes[:trained])
    return vocabulary


@pytest.mark.parametrize(
    ("words", "categories", "codes"),
    [
        (["b", "a", "c"], ("a", "b", "c"), [2, 1, 3]),
        (["10", "9", "-1.5"], (-1.5, 9.0, 10.0), [3, 2, 1]),
        (["3", "03", "3.0"], ("03", "3", "3.0"), [2, 1, 3]),
        (["10", "1e1"], ("10", "1e1"), [1, 2]),
        (["-0", "0"], ("-0", "0"), [1, 2]),
        (["1234567.1", "1234567.125"], ("1234567.1", "1234567.125"), [1, 2]),
        (["9" * 400, "2"], ("2", "9" * 400), [2, 1]),
        (["+1", "2"], ("+1", "2"), [1, 2]),
        (["0.1", "2.25", "98101"], (float(np.float32(0.1)), 2.25, 98101.0), [1, 2, 3]),
        (["10", "9", "x"], ("10", "9", "x"), [1, 2, 3]),
        (["1_0", "2"], ("1_0", "2"), [1, 2]),
        (["inf", "2"], ("2", "inf"), [2, 1]),
        (["16777217", "16777216"], ("16777216", "16777217"), [2, 1]),
        (["9007199254740993", "9007199254740992"], ("9007199254740992", "9007199254740993"), [2, 1]),
    ],
)
def test_categories_are_in_ascending_order_and_numbers_if_all_are(
    words: list[str], categories: tuple, codes: list[int]
) -> None:
    vocabulary = learned(*words)
    assert vocabulary.categories() == categories
    assert vocabulary.final_codes().tolist() == codes


def test_a_category_in_no_training_row_has_the_code_0() -> None:
    vocabulary = learned("7", "5", "6", "x", "7.0", trained=2)
    assert vocabulary.categories() == (5.0, 7.0)
    assert vocabulary.final_codes().tolist() == [2, 1, 0, 0, 0]


WORD = st.integers(-(2**40), 2**40).map(str) | st.floats(width=32).map(str) | st.text(min_size=1, max_size=3)


@given(st.lists(WORD, min_size=1, unique=True))
def test_no_two_words_become_one_category(words: list[str]) -> None:
    vocabulary = learned(*words)
    assert len(vocabulary.categories()) == len(words)
    assert sorted(vocabulary.final_codes().tolist()) == list(range(1, len(words) + 1))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("7", "10"), ""),
        (("7", "x"), ""),
        (("7", "007"), "the categories of c are text, because '007' is not a number in its shortest form"),
        (("1.0", "2.0"), "the categories of c are text, because '1.0' is not a number in its shortest form"),
        (("7", "16777217"), "the categories of c are text, because '16777217' has more digits than float32 can hold"),
    ],
)
def test_numbers_that_stay_text_are_explained(make_table, words: tuple[str, str], reason: str) -> None:
    table = make_table("c,a,y\n" + "".join(f"{word},1,2\n" for word in words), **CATEGORICAL)
    assert explain_text(table.columns[1]) == reason


@pytest.mark.parametrize(
    ("word", "form"),
    [
        ("007", "7"),
        ("+1", "1"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("2.50", "2.5"),
        ("1e16", "10000000000000000"),
        ("9007199254740993", "9007199254740993"),
        ("0.10000000000000001", "0.1"),
    ],
)
def test_the_shortest_form_of_a_number(word: str, form: str) -> None:
    assert shortest_form(word) == form == shortest_form(form)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (pa.array([3, 1, None, 3]), "3,1,,3"),
        (pa.array(["3", "1", None, "3"]), "3,1,,3"),
        (pa.array(["03", "3", None, "3.0"]), "03,3,,3.0"),
        (pa.array([3.0, -0.0, np.nan, 0.5]), "3,0,,0.5"),
        (pa.array([3.5, 0.1, None, 3.5], pa.float32()), "3.5,0.1,,3.5"),
        (pa.array([Decimal("3.00"), Decimal("1.50"), None, Decimal("3.00")]), "3,1.5,,3"),
    ],
    ids=["integers", "text", "other spellings", "floats", "float32", "decimals"],
)
def test_parquet_has_the_categories_of_a_csv(make_table, write, tmp_path: Path, values: pa.Array, text: str) -> None:
    path = tmp_path / "file.parquet"
    pq.write_table(pa.table({"c": values, "a": [1, 2, 3, 4], "y": [1, 2, 3, 4]}), path)
    csv = write("c,a,y\n" + "".join(f"{word},{row},{row}\n" for row, word in enumerate(text.split(","), start=1)))
    options: dict = CATEGORICAL | {"missing": Missing.mean}
    found, expected = make_table(path, **options), make_table(csv, **options)
    assert found.columns[1].categories == expected.columns[1].categories
    np.testing.assert_array_equal(rows(found), rows(expected))


def test_too_many_categories_are_refused(make_table) -> None:
    content = "c,a,y\n" + "".join(f"n{row},1,2\n" for row in range(10_001))
    assert refusal(make_table, content, **CATEGORICAL) == (
        "c has more than 10,000 categories. Remove it from data.features, or treat it as a number."
    )


def test_a_table_holds_codes(make_table) -> None:
    table = make_table(TEXT, **CATEGORICAL)
    assert table.columns[1].categories == ("east", "north", "south", "west")
    assert rows(table)[:, 1].tolist() == [3, 2, 4, 3, 1, 2]
    assert table.inputs == ["a", "c/other", "c/east", "c/north", "c/south", "c/west"]
    assert make_table(TEXT.replace("south", "s"), **CATEGORICAL).digest != table.digest
    assert make_table(Path(table.address), **CATEGORICAL).columns[1].categories == ("east", "north", "s", "west")


@pytest.mark.parametrize("order", Order)
def test_categories_come_from_training_rows_only(make_table, order: Order) -> None:
    names = [f"n{row % 40}" if row < 40 else "n0" for row in range(100)]
    content = "c,a,y\n" + "".join(f"{name},{row},{row}\n" for row, name in enumerate(names))
    table = make_table(content, **CATEGORICAL, holdout=0.3, order=order)
    out = held_out(0, 100, 0.3, 0)
    known = sorted({name for name, held in zip(names, out, strict=True) if not held})
    assert table.columns[1].categories == tuple(known)
    codes = {name: code for code, name in enumerate(known, start=1)}
    for part in ("train", "holdout"):
        for a, code, _ in rows(table, part):
            assert code == codes.get(names[int(a)], 0)
    assert 0 in rows(table, "holdout")[:, 1]
    assert 0 not in rows(table)[:, 1]


@pytest.mark.parametrize(
    ("missing", "codes"), [(Missing.mean, [1, 0, 2, 0]), (Missing.drop, [1, 2]), (Missing.error, None)]
)
def test_an_empty_category(make_table, write, missing: Missing, codes: list | None) -> None:
    path = write("c,a,y\nu,1,1\n,2,2\nv,3,3\nNA,4,4\n")
    if codes is None:
        assert refusal(make_table, path, **CATEGORICAL) == (
            f"{path}, line 3: c is empty. Set data.missing=drop or data.missing=mean."
        )
    else:
        table = make_table(path, **CATEGORICAL, missing=missing)
        assert rows(table)[:, 1].tolist() == codes
        assert (table.dropped, table.filled) == (4 - len(codes), codes.count(0))


def test_scaling_leaves_codes_alone(make_table) -> None:
    table = make_table(TEXT, **CATEGORICAL)
    scaler = Scaler.of(table, Scaling.standard)
    assert (scaler.mean[1], scaler.std[1]) == (0, 1)
    assert scaler.apply(table.read("train", 0, 6))[1].tolist() == [3, 2, 4, 3, 1, 2]


def test_encoding_is_one_hot_in_place() -> None:
    encoding = Encoding((0, 3, 0, 2))
    x = np.float32([[0.5, 2, -1, 0], [1.5, 0, -2, 1]])
    assert encoding.inputs == 7
    assert np.asarray(encoding(x)).tolist() == [[0.5, 0, 0, 1, -1, 1, 0], [1.5, 1, 0, 0, -2, 0, 1]]
    assert Encoding((0, 0))(x) is x


@pytest.mark.parametrize("chunk", [7, 2000])
def test_training_on_categories_equals_training_on_one_hot_columns(make_table, write, chunk: int) -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"a": draw.normal(size=2000), "c": draw.choice(["u", "v", "w"], 2000)})
    frame["y"] = frame["a"] + frame["c"].map({"u": 0, "v": 2, "w": 5}) + draw.normal(size=2000) / 10
    options: dict = {"holdout": 0.2, "scaling": Scaling.none}
    named = make_table(write(frame.to_csv(index=False), "named.csv"), **CATEGORICAL, **options)
    for name in ("other", "u", "v", "w"):
        frame[name] = (frame["c"] == name).astype(int)
    plain = make_table(write(frame.to_csv(index=False), "plain.csv"), features=["a", "other", "u", "v", "w"], **options)
    found, expected = (
        train([lane(chunk, rate=0.05)], table, Scaler.of(table, Scaling.none))[0] for table in (named, plain)
    )
    np.testing.assert_allclose(list(found.curve.values()), list(expected.curve.values()), rtol=1e-6)
    np.testing.assert_allclose(found.weights[2][0], expected.weights[2][0], rtol=1e-5, atol=1e-7)
    assert found.epochs[-1].metrics["val/rmse"] == pytest.approx(expected.epochs[-1].metrics["val/rmse"], rel=1e-5)


@pytest.mark.parametrize(
    ("content", "raw", "codes"),
    [
        (TEXT, ["north", "west", "nowhere", ""], [2, 4, 0, 0]),
        (TEXT.replace("north", "[UNK]"), ["[UNK]", "west", "nowhere", ""], [1, 4, 0, 0]),
        (TEXT.replace("south", "98101").replace("north", "7").replace("west", "0.1").replace("east", "-1"), None, None),
    ],
)
@pytest.mark.parametrize("features", [["a", "c"], ["c", "a"], ["c"]])
def test_the_exported_model_takes_raw_categories(
    make_table, tmp_path: Path, content: str, raw: list | None, codes: list | None, features: list[str]
) -> None:
    table = make_table(content, features=features, categorical=["c"])
    scaler = Scaler.of(table, Scaling.standard)
    model = keras.Sequential([keras.Input((len(table.inputs),)), keras.layers.Dense(1)])
    whole = raw_model(model, table, scaler, objective(table=table))
    whole.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    if raw is None:
        raw, codes = [7.0, 98101.0, 5.0, 0.1], [3, 4, 0, 2]
    a = np.float32([[1], [2], [3], [4]])
    kind = "U8" if isinstance(raw[0], str) else np.float32
    given = {"a": a, "c": np.array([raw], kind).T}
    given = {name: keras.ops.convert_to_tensor(given[name]) for name in features}
    columns = {"a": a[:, 0], "c": np.float32(codes)}
    trained = scaler.apply(np.stack([*(columns[name] for name in features), a[:, 0]]))[:-1].T
    encoding = Encoding(tuple(column.inputs if column.categories else 0 for column in table.columns[:-1]))
    expected = np.asarray(model(encoding(trained))) * scaler.std[-1] + scaler.mean[-1]
    np.testing.assert_allclose(loaded(given), expected, rtol=1e-5)
