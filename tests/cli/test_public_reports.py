"""Problems that were reported for pandas, polars, Hydra, Keras and MLflow, tried with the harness.

| report | what went wrong there | here |
| --- | --- | --- |
| pandas-dev/pandas#4793 | a byte order mark became part of the first name | read |
| pandas-dev/pandas#14124 | delimiters at line ends shifted all columns | rejected; `describe` suggests a key |
| pandas-dev/pandas#59299 | `1.234,56` was blamed on another value | read; or rejected with line and value |
| pandas-dev/pandas#64631 | `1 ,` was read as 1 | rejected with line and value |
| pandas-dev/pandas#31920 | `1a.2,3` and `1,2,3` were read as numbers | rejected with line and value |
| pola-rs/polars#18797 | `1.299,99` could not be read | read |
| pandas-dev/pandas#14301, #37895 | day and month were swapped in some rows | one format for all rows |
| pandas-dev/pandas#53355 | one bad date turned a column of dates into text | rejected with line and value |
| pandas-dev/pandas#53355 | `2007-4-30 1:6:40 PM` was suggested as ISO 8601 here, and rejected; fixed | read |
| pandas-dev/pandas#48170 | whole numbers in a column with empty fields lost digits | categories stay apart |
| pandas-dev/pandas#52505 | names in a comment, ids that float64 rounds; called constant here; fixed | read |
| pandas-dev/pandas#22140, #22661 | a lone quote swallowed rows | rejected with line |
| pandas-dev/pandas#10647 | `NA` was read as missing | `describe` suggests a key that keeps it |
| hydra-ecosystem/hydra#1577, #2705, #2891, #798, #962, #1074 | `=`, `#`, Chinese, `*`, `%` and `@` need quotes | read |
| keras-team/keras#8346 | the holdout of a sorted file had only one class | rows are held out everywhere |
| keras-team/keras#7917 | a weight of 0 in the validation rows made the loss NaN | finite |
| mlflow/mlflow#3144, #3719 | a moved folder lost its artifacts; fixed | `test_moved` |
| mlflow/mlflow#1234 | a NaN ended a sweep | left out |
| mlflow/mlflow#10512, #614, #624 | long params, line breaks and empty text broke a run | recorded |
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.cli.words import quote_for_hydra
from harness.config import DataConfig, Missing
from harness.data.profiling.describe import describe
from harness.data.tables.builder import open_table
from harness.errors import ConfigError
from harness.tracking.reader import RunReader
from harness.tracking.tracker import Tracker
from tests.cli.test_odd_files import check_table, proposed
from tests.cli.test_quoting import in_bash, parsed
from tests.helpers import lane, train
from tests.tables import rows

Write = Callable[..., Path]
COUNT = range(1, 29)
ROWS = pd.DataFrame({"a": COUNT, "y": [n * n % 17 for n in COUNT]})
BIG = [1925036343869802844 + n for n in COUNT]


def days(*dates: str) -> list[Any]:
    return [(pd.Timestamp(date) - pd.Timestamp("1970-01-01")).days for date in dates]


def lines(first: str, each: Callable[[int], str]) -> str:
    return first + "".join(f"{each(n)}\n" for n in COUNT)


JUNE = ROWS.assign(d=days(*(f"2018-06-{n:02}" for n in COUNT)))[["d", "a", "y"]]
READ: dict[str, tuple[str, Any]] = {
    "pandas 4793": (lines('\ufeff"a","y"\n', lambda n: f"{n},{n * n % 17}"), ROWS),
    "pandas 14124": (
        lines("a,b,y\n", lambda n: f"{n},7{n},{n * n % 17},"),
        ROWS.assign(b=[int(f"7{n}") for n in COUNT])[["a", "b", "y"]],
    ),
    "pandas 59299": (
        lines("a;y\n", lambda n: f"{n};{n * n % 17},20") + "30;1.234,56\n",
        pd.concat([ROWS.assign(y=ROWS["y"] + 0.2), pd.DataFrame({"a": [30], "y": [1234.56]})], ignore_index=True),
    ),
    "polars 18797": (lines("a;y\n", lambda n: f"{n};{n}.299,99"), ROWS.assign(y=[n * 1000 + 299.99 for n in COUNT])),
    "pandas 14301": (
        "d,a,y\n10/9/2018,0,0\n30/9/2018,0,0\n" + lines("", lambda n: f"{n}/6/2018,{n},{n * n % 17}"),
        pd.concat([pd.DataFrame({"d": days("2018-09-10", "2018-09-30"), "a": 0, "y": 0}), JUNE], ignore_index=True),
    ),
    "pandas 53355": (lines("d,a,y\n", lambda n: f"2018-6-{n} 12:00:00 AM,{n},{n * n % 17}"), JUNE),
    "pandas 52505": (
        lines("#kind,id,price\n", lambda n: f"RIH{n % 3},{BIG[n - 1]},{n * n % 17}.5"),
        pd.DataFrame({"kind": [f"RIH{n % 3}" for n in COUNT], "price": ROWS["y"] + 0.5}),
    ),
    "pandas 10647": (
        lines("x,a,y\n", lambda n: f"{('NA', 'EU', 'AS')[n % 3]},{n},{n * n % 17}"),
        ROWS.assign(x=[("NA", "EU", "AS")[n % 3] for n in COUNT])[["x", "a", "y"]],
    ),
}


@pytest.mark.parametrize("report", READ)
def test_the_suggested_command_reads_the_file(write: Write, tmp_path: Path, report: str) -> None:
    content, frame = READ[report]
    check_table(proposed(write(content)), frame, tmp_path / "cache")


MIXED = {"features": ["d"], "dates": ["d"], "date_format": "%d/%m/%Y"}
EURO = {"delimiter": ";", "thousands": ".", "decimal": ","}


@pytest.mark.parametrize(
    ("content", "keys", "sentence"),
    [
        ("a,b,y\n1,4,7,\n2,5,8,\n", {}, r"line 2: 4 fields, but the header has 3\..*data\.trailing_delimiter=true"),
        ("a;y\n1;1,20\n2;1.234,56\n", {"delimiter": ";", "decimal": ","}, r"line 3: y is '1\.234,56', not a number"),
        ("a;y\n1;1,234\n2;1 ,\n", {"delimiter": ";", "thousands": ","}, "line 3: y is '1 ,', not a number"),
        ("a;y\n1;1.234,5\n2;1a.2,3\n", EURO, r"line 3: y is '1a\.2,3', not a number"),
        ("a;y\n1;1.234,5\n2;1,2,3\n", EURO, "line 3: y is '1,2,3', not a number"),
        ("d,y\n18/04/1995,1\n2007-4-30,2\n", MIXED, "line 3: d is '2007-4-30', not a date like %d/%m/%Y"),
        ('a|b|y\n1|p|1\n2|"|2\n3|r|3\n', {"delimiter": "|"}, r"line 3: unclosed quote\."),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_named(write: Write, tmp_path: Path, content: str, keys: dict, sentence: str) -> None:
    data: Any = {"features": [content[0]], "target": "y", "path": str(write(content)), "holdout": 0.0} | keys
    with pytest.raises(ConfigError, match=sentence):
        open_table(DataConfig(**data), tmp_path / "cache")


def test_ids_that_a_float_would_round_stay_apart(write: Write, tmp_path: Path) -> None:
    path = write("id,y\n,1\n1234567890123456789,2\n1234567890123456788,3\n")
    data = DataConfig(["id"], "y", str(path), categorical=["id"], holdout=0.0, missing=Missing.mean)
    (column, _) = open_table(data, tmp_path / "cache").columns
    assert set(column.categories) == {"1234567890123456789", "1234567890123456788"}
    found = describe(str(write(lines("id,y\n", lambda n: f"{BIG[n - 1]},{n}"), "ids.csv")))
    assert any(warning.startswith("id has whole numbers that differ only in digits") for warning in found.warnings)


@pytest.mark.parametrize(
    "value",
    ["epoch=999-step=87999.csv", "#1.csv", "介绍一下你.csv", "part-*.csv", "pattern_%r.csv", "me@example.com.csv"],
)
def test_a_path_in_the_shells_quotes_is_enough(value: str) -> None:
    (word,) = quote_for_hydra(in_bash(f"data.path='{value}'"))
    assert parsed(word) == value


def test_the_holdout_of_a_sorted_file_has_all_classes(write: Write, tmp_path: Path) -> None:
    path = write("a,y\n" + "".join(f"{n},{n // 60}\n" for n in range(300)))
    table = open_table(DataConfig(["a"], "y", str(path)), tmp_path / "cache")
    assert set(rows(table, "holdout")[:, -1].tolist()) == {0, 1, 2, 3, 4}


def test_rows_that_weigh_nothing_leave_the_loss_finite(write: Write, tmp_path: Path) -> None:
    path = write("a,y,w\n" + "".join(f"{n},{n * n % 17},{n % 2}\n" for n in range(300)))
    table = open_table(DataConfig(["a"], "y", str(path), weight="w"), tmp_path / "cache")
    (history,) = train([lane(10, stops=(1,))], table)
    assert np.isfinite(list(history.epochs[0].metrics.values())).all()


@pytest.mark.slow
def test_values_that_a_store_does_not_take_end_no_run(tmp_path: Path) -> None:
    params = {"long": "y" * 7000, "lines": "a\nb", "empty": "", "number": math.nan}
    with Tracker(f"sqlite:///{tmp_path}/mlflow.db", "harness", tmp_path / "outbox") as tracker:
        run_id = tracker.start_run("a", params, {"kind": "run"})
        tracker.log(run_id, {"loss": math.nan, "rows": 1.0})
        tracker.end_run(run_id, "FINISHED")
    run = RunReader(tracker.uri).run(run_id)
    assert run.data.params == {"long": "y" * 6000, "lines": "a\nb", "empty": "", "number": "nan"}
    assert (run.data.metrics, run.info.status) == ({"rows": 1.0}, "FINISHED")
