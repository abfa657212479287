"""The built-in data: its schema, its statistics compared with the published ones, and how it is written."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.data import synthetic_houses

ROOT = Path(__file__).parents[2]
REAL = ROOT / os.environ.get("KING_COUNTY_CSV", "../shared/data/kc_house_data.csv")
TEXT = {"id": str, "date": str, "zipcode": str}
HEADER = (
    "id,date,price,bedrooms,bathrooms,sqft_living,sqft_lot,floors,waterfront,view,condition,grade,sqft_above,"
    "sqft_basement,yr_built,yr_renovated,zipcode,lat,long,sqft_living15,sqft_lot15"
)
ROW = re.compile(
    r'"\d{10}","201[45]\d{4}T000000",\d+,\d+,\d(\.\d+)?,\d+,\d+,"[123](\.5)?",[01],[0-4],[1-5],\d+,\d+,\d+,'
    r'\d{4},(0|\d{4}),"98[01]\d\d",47\.\d{1,4},-12[12](\.\d{1,3})?,\d+,\d+'
)
# The published file's mean, standard deviation, median, minimum and maximum.
PUBLISHED = {
    "price": (540_088, 367_127, 450_000, 75_000, 7_700_000),
    "bedrooms": (3.371, 0.930, 3, 0, 33),
    "bathrooms": (2.115, 0.770, 2.25, 0, 8),
    "sqft_living": (2079.9, 918.4, 1910, 290, 13_540),
    "sqft_lot": (15_107, 41_421, 7618, 520, 1_651_359),
    "floors": (1.494, 0.540, 1.5, 1, 3.5),
    "waterfront": (0.0075, 0.0865, 0, 0, 1),
    "view": (0.234, 0.766, 0, 0, 4),
    "condition": (3.409, 0.651, 3, 1, 5),
    "grade": (7.657, 1.175, 7, 1, 13),
    "sqft_above": (1788.4, 828.1, 1560, 290, 9410),
    "sqft_basement": (291.5, 442.6, 0, 0, 4820),
    "yr_built": (1971.0, 29.37, 1975, 1900, 2015),
    "yr_renovated": (84.4, 401.7, 0, 0, 2015),
    "lat": (47.5601, 0.1386, 47.5718, 47.1559, 47.7776),
    "long": (-122.2139, 0.1408, -122.23, -122.519, -121.315),
    "sqft_living15": (1986.6, 685.4, 1840, 399, 6210),
    "sqft_lot15": (12_768, 27_304, 7620, 651, 871_200),
}
# Its correlations with price.
CORRELATIONS = {
    **{"sqft_living": 0.702, "grade": 0.667, "sqft_above": 0.606, "sqft_living15": 0.585, "bathrooms": 0.525},
    **{"view": 0.397, "sqft_basement": 0.324, "bedrooms": 0.308, "lat": 0.307, "waterfront": 0.266, "floors": 0.257},
    **{"yr_renovated": 0.126, "sqft_lot": 0.090, "yr_built": 0.054, "condition": 0.036, "long": 0.022},
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("houses") / "houses.csv"
    synthetic_houses.generate(path)
    return path


@pytest.fixture(scope="module")
def sales(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=TEXT)


def test_schema_is_the_published_files(path: Path) -> None:
    header, *rows = path.read_text().splitlines()
    assert header == HEADER == ",".join(synthetic_houses.COLUMNS)
    assert len(rows) == synthetic_houses.ROWS == 21_613
    assert [row for row in rows if not ROW.fullmatch(row)] == []


@pytest.mark.parametrize("column", PUBLISHED)
def test_distributions_are_the_published_ones(sales: pd.DataFrame, column: str) -> None:
    """Means agree to 4% and medians to 8% of a standard deviation, deviations to 6%; ranges do not exceed those."""
    mean, std, median, low, high = PUBLISHED[column]
    drawn = sales[column]
    assert drawn.mean() == pytest.approx(mean, abs=0.04 * std)
    assert drawn.std() == pytest.approx(std, rel=0.06)
    assert drawn.median() == pytest.approx(median, abs=0.08 * std)
    assert low <= drawn.min() <= drawn.max() <= high


def test_price_correlates_as_published(sales: pd.DataFrame) -> None:
    drawn = sales[list(CORRELATIONS)].corrwith(sales["price"])
    assert drawn.to_dict() == pytest.approx(CORRELATIONS, abs=0.07)
    assert drawn["sqft_living"] == pytest.approx(CORRELATIONS["sqft_living"], abs=0.03)


def test_price_over_size_has_the_published_lines(sales: pd.DataFrame) -> None:
    """The linear fit is price = 280.6 sqft_living - 43,581; the log-log fit has slope 0.837 and intercept 6.730."""
    slope, intercept = np.polyfit(sales["sqft_living"], sales["price"], 1)
    assert (slope, intercept) == (pytest.approx(280.6, rel=0.03), pytest.approx(-43_581, abs=10_000))
    slope, intercept = np.polyfit(np.log(sales["sqft_living"]), np.log(sales["price"]), 1)
    assert (slope, intercept) == (pytest.approx(0.837, abs=0.02), pytest.approx(6.730, abs=0.15))


def test_houses_are_consistent(sales: pd.DataFrame) -> None:
    assert (sales["sqft_above"] + sales["sqft_basement"] == sales["sqft_living"]).all()
    renovated = sales[sales["yr_renovated"] > 0]
    assert (renovated["yr_renovated"] > renovated["yr_built"]).all()
    assert (sales.loc[sales["waterfront"] == 1, "view"] == 4).all()
    assert sales["zipcode"].nunique() == 70
    assert sales["id"].str.startswith("0").mean() == pytest.approx(2059 / 21_613, abs=0.01)
    days = pd.to_datetime(sales["date"], format="%Y%m%dT%H%M%S")
    assert (str(days.min().date()), str(days.max().date())) == ("2014-05-02", "2015-05-27")
    assert not days.is_monotonic_increasing


def test_the_last_rows_are_newer_and_more_expensive(sales: pd.DataFrame) -> None:
    first, last = sales[:20_000], sales[20_000:]
    assert last["yr_built"].min() >= 2004
    assert first["yr_built"].mean() == pytest.approx(1968, abs=1)
    assert last["price"].mean() / first["price"].mean() == pytest.approx(596_386 / 535_523, abs=0.04)
    # There is no drift before: the halves of the first rows differ by less than three standard errors.
    halves = first["price"].to_numpy().reshape(2, -1).mean(axis=1)
    assert abs(halves[1] - halves[0]) < 3 * first["price"].std() * np.sqrt(2 / 10_000)


@pytest.mark.skipif(not REAL.exists(), reason=f"the published file is not at {REAL}; set KING_COUNTY_CSV")
def test_against_the_published_file(path: Path, sales: pd.DataFrame) -> None:
    """Header, quoting and types are equal; quantiles agree to 9%, correlations between any two columns to 0.16."""
    with REAL.open() as real_lines, path.open() as drawn_lines:
        assert next(drawn_lines) == next(real_lines)
        for real_line, drawn_line in zip(real_lines, drawn_lines, strict=True):
            assert [field[0] == '"' for field in drawn_line.split(",")] == [
                field[0] == '"' for field in real_line.split(",")
            ]
    real = pd.read_csv(REAL, dtype=TEXT)
    assert sales.shape == real.shape
    # Published prices are read as floats, because some are written like 1.225e+006.
    assert sales.dtypes.drop("price").equals(real.dtypes.drop("price"))
    assert set(sales["zipcode"]) == set(real["zipcode"])
    centres = [frame.groupby("zipcode")[["lat", "long"]].mean() for frame in (sales, real)]
    assert (centres[0] - centres[1]).abs().to_numpy().max() < 0.03
    quantiles = [0.05, 0.25, 0.5, 0.75, 0.95, 0.99]
    for column in ("price", "sqft_living", "sqft_living15", "sqft_above"):
        assert sales[column].quantile(quantiles).to_numpy() == pytest.approx(real[column].quantile(quantiles), rel=0.09)
    numbers = list(PUBLISHED)
    assert (sales[numbers].corr() - real[numbers].corr()).abs().to_numpy().max() < 0.16


def test_same_rows_and_seed_give_the_same_bytes(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one.csv", "same.csv", "other.csv")]
    for file, seed in zip(files, (7, 7, 8), strict=True):
        synthetic_houses.generate(file, 2500, seed=seed)
    one, same, other = (file.read_bytes() for file in files)
    assert one == same
    assert set(one.splitlines()[1:]).isdisjoint(other.splitlines()[1:])


def test_a_block_depends_on_seed_and_number_only(tmp_path: Path) -> None:
    """Whole blocks before the drift are the same in any longer file, and no two blocks are alike."""
    short, long = tmp_path / "short.csv", tmp_path / "long.csv"
    synthetic_houses.generate(short, 2500, block_rows=1000)
    synthetic_houses.generate(long, 4000, block_rows=1000)
    rows = long.read_text().splitlines()[1:]
    assert short.read_text().splitlines()[1:2001] == rows[:2000]
    assert len(set(rows)) == 4000


def test_blocks_are_written_one_by_one(tmp_path: Path) -> None:
    path, calls = tmp_path / "houses.csv", []
    synthetic_houses.generate(path, 100_001, progress=lambda rows: calls.append((rows, path.exists())))
    assert calls == [(100_000, False), (100_001, False)]
    with path.open("rb") as lines:
        assert sum(1 for _ in lines) == 1 + 100_001
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("rows", [1, 2])
def test_a_few_rows(tmp_path: Path, rows: int) -> None:
    synthetic_houses.generate(tmp_path / "houses.csv", rows)
    assert pd.read_csv(tmp_path / "houses.csv").shape == (rows, 21)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        tracemalloc.start()
        try:
            synthetic_houses.generate(tmp_path / "houses.csv", rows, block_rows=1000)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1000)
    assert peak(40_000) < 1.2 * peak(4000)


def test_a_failure_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    def fail(rows: int) -> None:
        if rows == 2000:
            raise OSError("no space left")

    path = tmp_path / "houses.csv"
    with pytest.raises(OSError, match="no space left"):
        synthetic_houses.generate(path, 3000, progress=fail, block_rows=1000)
    assert list(tmp_path.iterdir()) == []
    path.write_text("an older file")
    with pytest.raises(OSError, match="no space left"):
        synthetic_houses.generate(path, 3000, progress=fail, block_rows=1000)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "an older file"


def test_a_killed_process_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from harness.data import synthetic_houses;"
        "synthetic_houses.generate(Path(sys.argv[1]), 3000, block_rows=1000,"
        "progress=lambda rows: os.kill(os.getpid(), signal.SIGKILL))"
    )
    path = tmp_path / "houses.csv"
    killed = subprocess.run([sys.executable, "-c", program, str(path)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [file.suffix for file in tmp_path.iterdir()] == [".part"]
