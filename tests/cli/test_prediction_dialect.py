"""How the keys after the path of `predict` change how a file is read, and which of the run's keys are shown."""

from __future__ import annotations

import pytest

from harness.cli.prediction_dialect import keys_in, recorded_keys, with_dialect
from harness.config import DataConfig
from harness.data.csv.source import CsvSource
from harness.data.json_source import JsonLinesSource
from harness.data.parquet_source import ParquetSource
from harness.errors import ConfigError

EUROPE, AMERICA, DOTS = "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y"
LIST = f'data.date_format=["{EUROPE}","{AMERICA}"]'


def data(**options: object) -> DataConfig:
    """Return data whose dates are sorted, so that their order differs from the command's."""
    return DataConfig(["z", "a"], "y", "f.csv", dates=["z", "a"], date_format=[EUROPE, AMERICA], **options)


@pytest.mark.parametrize(
    ("words", "formats"),
    [
        ([], {"z": EUROPE, "a": AMERICA}),
        (["data.dates=[a,z]", LIST], {"z": AMERICA, "a": EUROPE}),
        (["data.dates=[z,a]", LIST], {"z": EUROPE, "a": AMERICA}),
        (["data.dates=[z]", f"data.date_format={DOTS}"], {"z": DOTS, "a": AMERICA}),
        (["data.dates=[z]", "data.date_format=[null]"], {"z": None, "a": AMERICA}),
        ([f"data.date_format={DOTS}"], {"z": DOTS, "a": DOTS}),
        ([f'data.date_format=["{DOTS}","{DOTS}"]'], {"z": DOTS, "a": DOTS}),
    ],
)
def test_formats_belong_to_the_dates_that_the_command_names(words: list[str], formats: dict[str, str | None]) -> None:
    assert with_dialect(data(), words).date_formats == formats


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([LIST], r"data\.date_format has several formats\. Name .* order, as in 'data\.dates=\[a,z\]'\."),
        (["data.dates=[z,b]", LIST], r"data\.dates: b is not among the dates of the run \(a, z\)\."),
        (["data.dates=[z]", LIST], r"data\.date_format has 2 formats, but data\.dates has 1"),
        (["data.dates=[z]"], r"data\.dates needs data\.date_format"),
    ],
)
def test_formats_of_unknown_columns_are_refused(words: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"^{sentence}"):
        with_dialect(data(), words)


def test_the_keys_that_apply_to_a_file_are_shown() -> None:
    run = data(delimiter=";", decimal="comma", na_values=["?"])
    dates = f"'data.dates=[a,z]' 'data.date_format=[{AMERICA},{EUROPE}]'"
    marks = "'data.na_values=[?]'"
    assert recorded_keys(run, CsvSource.keys, ()) == f"data.delimiter=semicolon data.decimal=comma {marks} {dates}"
    assert recorded_keys(run, JsonLinesSource.keys, ()) == f"data.decimal=comma {marks} {dates}"
    assert recorded_keys(run, ParquetSource.keys, ()) == f"{marks} {dates}"
    assert recorded_keys(run, ParquetSource.keys, keys_in(["data.dates=[z]", "data.date_format=null"])) == marks
