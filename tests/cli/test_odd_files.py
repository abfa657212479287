"""Realistic files: the command that `describe` suggests reads the same rows as pandas."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.config import Config, DataConfig, Loss, Missing
from harness.data.csv.other_kinds import READABLE
from harness.data.profiling.describe import describe
from harness.data.tables.builder import open_table
from harness.errors import ConfigError
from tests.cli.test_quoting import in_bash, parsed
from tests.tables import rows

SIZE = 40
DRAW = np.random.default_rng(7)
AREA, ROOMS = DRAW.integers(40, 200, SIZE), DRAW.integers(1, 7, SIZE)
PRICE = AREA * 1100 + ROOMS * 1500 + DRAW.integers(0, 9999, SIZE)
HOMES = pd.DataFrame({"area": AREA, "rooms": ROOMS, "price": PRICE})
DAYS = pd.date_range("2010-01-01", periods=SIZE, freq="32D")
POOL = np.where(ROOMS > 4, "Ex", "NA")
FLAG = ROOMS % 2 == 0
PLAIN = HOMES.to_csv(index=False)


class Case(NamedTuple):
    """A file and the expected columns, with categories as text; the last one is the target."""

    name: str
    content: str | bytes
    frame: pd.DataFrame = HOMES


def csv(frame: pd.DataFrame, **options: Any) -> str:
    return frame.to_csv(index=False, **options)


def packed(frame: pd.DataFrame, kind: str) -> bytes:
    sink = io.BytesIO()
    getattr(frame, f"to_{kind}")(sink)
    return sink.getvalue()


def zipped(content: str, name: str = "homes.csv") -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(name, content)
    return sink.getvalue()


HALVES = HOMES.assign(area=HOMES["area"] + 0.5)
DATED = pd.DataFrame({"date": (DAYS - pd.Timestamp("1970-01-01")).days, "area": AREA, "price": PRICE})
TWO = pd.DataFrame({"sold": DATED["date"], "built": DATED["date"], "area": AREA, "price": PRICE})
GAPDATED = DATED.assign(date=DATED["date"].where(DATED.index % 7 > 0).astype(float))
WRITTEN = pd.Series(DAYS.strftime("%Y-%m-%d"))
LABELS = pd.DataFrame({"area": AREA, "rooms": ROOMS, "label": (AREA > 120).astype(int)})
GAPS = HOMES.assign(rooms=HOMES["rooms"].where(HOMES.index % 6 > 0).astype(float))
CASES = [
    Case("eu.csv", csv(HALVES, sep=";", decimal=","), HALVES),
    Case("homes.tsv", csv(HOMES, sep="\t")),
    Case("houses (1).csv", PLAIN),
    Case("a b#c=d [é] 中.csv", PLAIN),
    Case("space.data", HOMES.to_string(index=False)),
    Case("comments.csv", f"# source: example office\n# downloaded 2024-01-01\n{PLAIN}"),
    Case("preamble.csv", f"Example office\nHouse sales\n\n{PLAIN}"),
    Case("footer.csv", f"{PLAIN}\nSource: example office\n"),
    Case("units.csv", PLAIN.replace("price\n", "price\nm2,,EUR\n", 1)),
    Case("trailing.csv", PLAIN.replace("\n", ",\n").replace("price,", "price", 1)),
    Case("spaces.csv", PLAIN.replace(",", ", ")),
    Case("latin1.csv", csv(HOMES.set_axis(["Wohnfläche", "Zimmer", "Preis"], axis=1)).encode("latin-1")),
    Case("utf16.csv", PLAIN.encode("utf-16")),
    Case("nohead.csv", csv(HALVES, header=False), HALVES.set_axis(["0", "1", "2"], axis=1)),
    Case("thousands.csv", csv(HOMES.assign(price=[f"{value:,}" for value in PRICE]))),
    Case("dollars.csv", csv(HOMES.assign(price=[f"${value:,}.00" for value in PRICE]))),
    Case("euros.csv", csv(HOMES.assign(price=[f"{value:,} €".replace(",", ".") for value in PRICE]), sep=";")),
    Case("percent.csv", csv(HOMES.assign(rooms=[f"{value}%" for value in ROOMS]))),
    Case("question.csv", csv(GAPS, na_rep="?", float_format="%g"), GAPS),
    Case("sentinel.csv", csv(GAPS, na_rep="-999", float_format="%g"), GAPS),
    Case("nacat.csv", csv(HOMES.assign(rooms=POOL)), HOMES.assign(rooms=POOL)),
    Case("bools.csv", csv(HOMES.assign(rooms=FLAG)).upper().replace("PRICE", "price"), HOMES.assign(rooms=FLAG)),
    Case("bool.parquet", packed(HOMES.assign(rooms=FLAG), "parquet"), HOMES.assign(rooms=FLAG)),
    Case("homes.feather", packed(HOMES, "feather")),
    Case("homes.zip", zipped(PLAIN)),
    Case("homes.csv.bz2", bz2.compress(PLAIN.encode())),
    Case("homes.jsonl", "".join(f"{json.dumps(row)}\n" for row in HOMES.to_dict("records"))),
    Case("isodate.csv", csv(DATED.assign(date=DAYS.strftime("%Y-%m-%d"))), DATED),
    Case("usdate.csv", csv(DATED.assign(date=DAYS.strftime("%m/%d/%Y"))), DATED),
    Case("dotdate.csv", csv(DATED.assign(date=DAYS.strftime("%d.%m.%Y"))), DATED),
    Case("twodates.csv", csv(TWO.assign(sold=DAYS.strftime("%m/%d/%Y"), built=DAYS.strftime("%Y-%m-%d"))), TWO),
    Case("ampm.csv", csv(DATED.assign(date=DAYS.strftime("%Y-%m-%d %I:%M:%S %p"))), DATED),
    Case("longdate.csv", csv(DATED.assign(date=DAYS.strftime("%B %d, %Y"))), DATED),
    Case("dashdate.csv", csv(GAPDATED.assign(date=WRITTEN.where(GAPDATED["date"].notna(), "-"))), GAPDATED),
    Case("zerodate.csv", csv(GAPDATED.assign(date=WRITTEN.where(GAPDATED["date"].notna(), "0000-00-00"))), GAPDATED),
    Case("apostrophe.csv", csv(HOMES.assign(price=[f"{value:,}".replace(",", "\u2019") for value in PRICE]))),
    Case("minus.csv", csv(HOMES.assign(area=[f"\u2212{value}" for value in AREA])), HOMES.assign(area=-AREA)),
    Case("eur.csv", csv(HOMES.assign(price=[f"{value} EUR" for value in PRICE]))),
    Case("unit.csv", csv(HOMES.assign(area=[f"{value} m²" for value in AREA]))),
    Case("total.csv", f"{PLAIN}Total,,{PRICE.sum()}\n"),
    Case("excel.csv", f"sep=;\n{csv(HALVES, sep=';', decimal=',')}", HALVES),
    Case("excel_two.csv", f"sep=;\n{csv(HOMES[['area', 'price']], sep=';')}", HOMES[["area", "price"]]),
    Case("mysql.tsv", csv(GAPS, sep="\t", na_rep="\\N", float_format="%g"), GAPS),
    Case("years.csv", csv(HOMES.set_axis(["2019", "2020", "2021"], axis=1))),
    Case("aligned.data", "".join(f'{a}   {r:2}  {p}\t"home {p}"\n' for a, r, p in HOMES.to_numpy())),
    Case("caret.csv", csv(HOMES, sep="^")),
    Case("colon.csv", csv(HOMES, sep=":")),
    Case("utf32.csv", PLAIN.encode("utf-32")),
    Case("blank.csv", PLAIN.replace("\n", "\n\n")),
    Case(
        "spaced_labels.csv", csv(LABELS.assign(label=[(" yes", "no ")[value] for value in 1 - LABELS["label"]])), LABELS
    ),
    Case("label12.csv", csv(LABELS.assign(label=LABELS["label"] + 1)), LABELS),
    Case("yes_target.csv", csv(LABELS.assign(label=np.where(LABELS["label"], "yes", "no"))), LABELS),
    Case("words_target.csv", csv(LABELS.assign(label=np.where(LABELS["label"], "M", "B"))), LABELS),
    Case(
        "duplicates.csv", csv(HOMES.assign(x="u", y="v").set_axis(["area", "rooms", "price", "note", "note"], axis=1))
    ),
]


def proposed(path: Path, target: str | None = None) -> dict[str, Any]:
    """Return the keys of the command that `describe` suggests, as bash and Hydra read it."""
    words = in_bash(describe(str(path), target=target).command)
    assert words[:2] == ["harness", "train"]
    return {word.partition("=")[0]: parsed(word) for word in words[2:]}


def configured(keys: dict[str, Any]) -> DataConfig:
    """Return the configuration of data with these keys."""
    data = {key.removeprefix("data."): value for key, value in keys.items() if key.startswith("data.")}
    loss = Loss(keys.get("loss", "mse"))
    config = {"chunksize": 1, "learning_rate": 0.1, "epochs": 1, "seed": 0, "loss": loss, "optimizer": {"name": "adam"}}
    found: Any = DataConfig(**data | {"missing": Missing(data.get("missing", "error")), "holdout": 0.0})
    return Config(**config, data=found, model={"_target_": "harness.models.linear"}).data  # type: ignore[arg-type, return-value]


def check_table(keys: dict[str, Any], frame: pd.DataFrame, cache: Path) -> None:
    """Compare the table used for training with a data frame, column by column; the last one is the target."""
    table = open_table(configured(keys), cache)
    assert len(table.columns) == len(frame.columns)
    for column, values, (name, expected) in zip(table.columns, rows(table).T, frame.items(), strict=True):
        if column.categories and column in table.features:
            assert np.array(column.categories)[values.astype(int) - 1].tolist() == expected.tolist()
            continue
        want = expected.astype(float)
        want = np.log(want) if name in keys.get("data.log_columns", ()) else want
        np.testing.assert_allclose(values, want.fillna(want.mean()), rtol=1e-6, err_msg=str(name))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_proposed_command_reads_what_pandas_reads(write: Callable[..., Path], tmp_path: Path, case: Case) -> None:
    check_table(proposed(write(case.content, case.name)), case.frame, tmp_path / "cache")


def test_a_workbook_is_refused_in_a_sentence(write: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"is an Excel workbook\. Save the sheet as CSV: in Excel, with Save As"):
        describe(str(write(zipped("", "xl/workbook.xml"), "homes.xlsx")))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"%PDF-1.4 \n1 0 obj\n", "is a PDF document. Save its table as CSV or Parquet."),
        (b"SQLite format 3\0" + bytes(99), "is an SQLite database. Save its table as CSV or Parquet."),
        (packed(HOMES, "pickle"), "is a Python pickle. Save its table as CSV or Parquet."),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an Excel workbook in the old format. Save the sheet as CSV"),
        (b"<!DOCTYPE html>\n<html>", "is a web page or XML. Download the file itself."),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer, not the file itself. Run `git"),
        (gzip.compress(b"a.csv".ljust(257, b"\0") + b"ustar\0"), "is an archive. Unpack it."),
        (gzip.compress(packed(HOMES, "parquet")), "is a compressed Parquet or Feather file. Decompress it."),
        (packed(HOMES, "stata"), "is a Stata file. Save its table as CSV or Parquet."),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "is an image. For images, set data=images, and data.path to a folder"),
        (bytes(range(1, 200)), f"is a binary file of an unknown kind. {READABLE}"),
        (zipped("<x/>", "word/document.xml"), "is a Word document. Save its table as CSV or Parquet."),
        (zipped("<x/>", "content.xml"), "is an OpenDocument file. Save the sheet as CSV"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_not_text_is_rejected_by_name(write: Callable[..., Path], content: bytes, sentence: str) -> None:
    path = write(content, "homes.csv")
    with pytest.raises(ConfigError, match=re.escape(f"{path} {sentence}")):
        describe(str(path))
    with pytest.raises(ConfigError, match=re.escape(f"{path} {sentence}")):
        open_table(DataConfig(["area"], "price", str(path)), path.parent / "cache")


def test_decimal_commas_between_commas_are_named(write: Callable[..., Path]) -> None:
    found = describe(str(write(csv(HALVES.astype(str).replace(r"\.", ",", regex=True), quoting=1))))
    assert found.warnings[0].startswith("Numbers have a decimal comma, but commas also separate fields")


def test_joined_files_are_named(write: Callable[..., Path], tmp_path: Path) -> None:
    path = str(write(PLAIN + PLAIN))
    found = describe(path)
    assert found.warnings[0].startswith("The header is repeated among the rows, as in concatenated files")
    assert not found.command
    with pytest.raises(ConfigError, match=r"line 42: area is 'area', not a number\. The line repeats the header: "):
        open_table(DataConfig(["area"], "price", path), tmp_path / "cache")


def test_negative_numbers_of_accountants_are_named(write: Callable[..., Path], tmp_path: Path) -> None:
    for value in ("(1500)", "1500-", "($1500)"):
        path = str(write(PLAIN + f"50,1,{value}\n"))
        with pytest.raises(ConfigError, match=r"not a number\. If it is negative, write it with a minus sign in"):
            open_table(DataConfig(["area"], "price", path), tmp_path / "cache")


DIALECTS = st.fixed_dictionaries(
    {
        "sep": st.sampled_from([",", ";", "\t", "|"]),
        "decimal": st.sampled_from([".", ","]),
        "quoting": st.sampled_from([0, 1, 2]),
        "lineterminator": st.sampled_from(["\n", "\r\n", "\r"]),
        "na_rep": st.sampled_from(["", "?", "-", "NA", "n/a", "-9999"]),
        "header": st.booleans(),
        "thousands": st.sampled_from(["", "", ",", ".", "'", " "]),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    form=DIALECTS,
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "utf-16"]),
    above=st.sampled_from(["", "# a comment", "Made by the office"]),
    seed=st.integers(0, 999),
)
def test_a_frame_written_in_any_dialect_is_read_back(
    tmp_path: Path, form: dict[str, Any], encoding: str, above: str, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "größe": draw.normal(100, 20, 30).round(2),
            "n": draw.integers(1, 90, 30).astype(float),
            "price": draw.normal(50000, 9000, 30).round(1),
        }
    )
    frame.loc[::7, "n"] = np.nan
    if form["sep"] == form["decimal"]:
        form = form | {"decimal": "."}
    thousands = form.pop("thousands")
    written = frame
    if thousands not in ("", form["decimal"], form["sep"]):
        marks = str.maketrans({",": thousands, ".": form["decimal"]})
        written = frame.assign(price=[f"{value:,.1f}".translate(marks) for value in frame["price"]])
    text = written.to_csv(index=False, **form)
    path = tmp_path / "file.csv"
    path.write_bytes((f"{above}{form['lineterminator']}" * bool(above) + text).encode(encoding))
    expected = frame if form["header"] else frame.set_axis(["0", "1", "2"], axis=1)
    keys = proposed(path, target=expected.columns[-1])
    check_table(keys, expected, tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("README.md", "# Homes\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n", "is a Markdown document, not a table."),
        ("homes.ipynb", '{"cells": []}\n', "is a Jupyter notebook, not a table."),
        ("letter.txt", "Dear all\n\nhere, there, and again\nat last, over\n", "is text, but not a table: no delimiter"),
    ],
)
def test_a_text_that_is_not_a_table_is_rejected(
    write: Callable[..., Path], name: str, content: str, sentence: str
) -> None:
    path = write(content.encode(), name)
    with pytest.raises(ConfigError, match=f"{re.escape(f'{path} {sentence}')}.*{re.escape(READABLE)}$"):
        describe(str(path))


@pytest.mark.parametrize(
    ("name", "content", "keys"),
    [
        ("homes.csv", b"area\x01price\n1\x012\n3\x014\n", {"delimiter": "\x01"}),
        (
            "homes.csv",
            "area;price;ж;ю\n1;2;3;4\n3;4;5;6\n".encode("utf-16-le"),
            {"delimiter": ";", "encoding": "utf-16-le"},
        ),
        ("homes.csv", b"area,price,note\n1,2,\x02a\x03\x04b\n3,4,a long note\n", {}),
        ("homes.csv", "area,price\n1,2\n3,4\n".encode("utf-32"), {"encoding": "utf-32"}),
        ("homes.md", b"area,price\n1,2\n3,4\n", {}),
        ("homes.jsonl.1.gz", gzip.compress(b' \n{"area": 1, "price": 2}\n{"area": 3, "price": 4}\n'), {}),
    ],
    ids=["delimiter", "utf-16", "control", "utf-32", "document", "rotated"],
)
def test_a_rare_text_is_not_taken_for_another_kind_of_file(
    write: Callable[..., Path], name: str, content: bytes, keys: dict[str, Any]
) -> None:
    path = write(content, name)
    table = open_table(DataConfig(["area"], "price", str(path), holdout=0, **keys), path.parent / "cache")
    assert rows(table).tolist() == [[1, 2], [3, 4]]
