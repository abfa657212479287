"""Descriptions of files: statistics, warnings and the suggested command."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.console import Console

from harness.data.profiling.describe import Description, describe, render
from harness.data.profiling.sniff import SAMPLE_BYTES
from harness.errors import ConfigError

NO_COMMAND = "Training needs a target and at least one more column, neither of them constant."
HOUSES = """\
id,sold,sqft,rooms,price
"0100000001","20141013T000000",1000,2,100000
"0200000002","20141209T000000",2000,,2.1e+005
"0300000003","20150225T000000",3000,4,290000
"9900000004","20150226T000000",4000,3,400000
"9900000005","20150227T000000",5000,5,500000
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a file into the working folder and describe it, by default a line or two at a time.

    That way, later values can change a column's type.
    """
    monkeypatch.chdir(tmp_path)

    def run(content: str | bytes, name: str = "file.csv", block_bytes: int = 30) -> Description:
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
        return describe(name, block_bytes)

    return run


def shown(description: Description, width: int, soft_wrap: bool = False) -> str:
    with Path(os.devnull).open("w") as nowhere:
        console = Console(width=width, record=True, file=nowhere)
        console.print(render(description), soft_wrap=soft_wrap)
        return console.export_text()


def overrides(command: str) -> dict:
    arguments = shlex.split(command)
    assert arguments[:2] == ["harness", "train"]
    parser = OverridesParser.create()
    return {found.key_or_group: found.value() for found in map(parser.parse_override, arguments[2:])}


def test_a_small_file(write) -> None:
    found = write(HOUSES)
    assert (found.address, found.rows, found.bytes) == ("file.csv", 5, len(HOUSES))
    assert [(c.name, c.kind, c.empty, c.distinct, c.example) for c in found.columns] == [
        ("id", "integer", 0, 5, "0100000001"),
        ("sold", "date", 0, 5, "20141013T000000"),
        ("sqft", "integer", 0, 5, "1000"),
        ("rooms", "integer", 1, 4, "2"),
        ("price", "number", 0, 5, "100000"),
    ]
    statistics = [
        (c.numbers.mean, c.numbers.std, c.numbers.min, c.numbers.max)
        for c in found.columns
        if c.name in ("sqft", "rooms", "price")
    ]
    np.testing.assert_allclose(
        statistics,
        [(3000, 2e6**0.5, 1000, 5000), (3.5, 1.25**0.5, 2, 5), (300000, 1.964e10**0.5, 100000, 500000)],
    )
    assert found.warnings == [
        "Empty fields in rooms (1): data.missing=drop leaves out those rows, data.missing=mean fills features with "
        "their mean.",
        "Dates: sold. Use 'data.dates=[sold]'.",
        "id has values up to 9,900,000,005, but float32 is exact only up to 16,777,216: leave id out of data.features "
        "if it is an id.",
    ]
    assert found.command == (
        "harness train data=csv data.path=file.csv 'data.features=[sold,sqft,rooms]' data.target=price "
        "'data.dates=[sold]' data.missing=mean"
    )


@pytest.mark.parametrize(
    ("low", "step", "is_large"),
    [
        (17_000_000, 1, False),
        (16_000_000, 1000, True),
        (0, 10_000, False),
        (10**12, 500_000, True),
        (-17_000_000, 1, False),
    ],
)
def test_whole_numbers_are_large_if_training_would_round_them(write, make_table, low: int, step: int, is_large) -> None:
    """A table stores numbers that are large but close together as differences from an offset."""
    values = [low + step * row + row % 2 for row in range(1000)]
    content = "a,y\n" + "".join(f"{value},{row}\n" for row, value in enumerate(values))
    column = write(content).columns[0]
    assert column.is_large is is_large
    table = make_table(Path("file.csv").absolute())
    (stored,) = table.reader("train", table.features).read(0, 1000)
    assert (table.columns[0].own_units(stored).astype(int).tolist() != values) is is_large


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_the_block_size_does_not_matter(write, rows: int) -> None:
    content = "a,b,c,d\n1,1.5,1,u\n2.5,2,2,v\n3,n/a,x,w\n1e3,3,3,x\n-7,4,4,y\n8,5,5,z\n9,6,6,z\n"
    found = write(content, block_bytes=10 * rows)
    assert [(c.kind, c.count, c.empty, c.distinct) for c in found.columns] == [
        ("number", 7, 0, 7),
        ("number", 6, 1, 6),
        ("text", 7, 0, 7),
        ("text", 7, 0, 6),
    ]
    assert [warning.split(":")[0] for warning in found.warnings] == [
        "Empty fields in b (1)",
        "Text",
        "c has values that are not float32 numbers (1 of 7, the first 'x')",
    ]
    assert found.command == (
        "harness train data=csv data.path=file.csv 'data.features=[a]' data.target=b data.missing=drop"
    )


@pytest.mark.parametrize(
    ("values", "kind", "distinct"),
    [
        ("1,2,-3,+4, 5 ", "integer", 5),
        ("1,2.0,3,4,5", "number", 5),
        ("1,.5,1e-3,-1E+3,5.", "number", 5),
        ("1,2,3,4,five", "text", 5),
        ("1,2,3,4,inf", "text", 5),
        ("2014-10-13,2014-10-13,,2015-01-01 12:30,2015-01-02", "date", 3),
        ("10/13/2014,1/2/2015,3/4/2015,3/4/2015,3/4/2015", "date", 3),
        ("10/13/2014,1/2/2015,3.4.2015,3.4.2015,3.4.2015", "text", 3),
        ("True,False,True,False,True", "boolean", 2),
        (",,,NA,", "empty", 0),
    ],
)
def test_kinds(write, values: str, kind: str, distinct: int) -> None:
    rows = "".join(f"{i},{value}\n" for i, value in enumerate(values.split(",")))
    column = write(f"a,b\n{rows}").columns[1]
    assert (column.kind, column.distinct) == (kind, distinct)


def test_distinct_is_bounded(write) -> None:
    found = write("a,b\n" + "".join(f"{i},{i % 1000}\n" for i in range(1001)), block_bytes=2400)
    assert [c.distinct for c in found.columns] == [None, 1000]
    assert "1,000+" in shown(found, 80)


def test_statistics_are_those_of_pandas(write) -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"a": draw.lognormal(size=101), "b": draw.normal(1e6, 1, 101)})
    frame["y"] = frame["a"] - frame["b"]
    a, b, _ = write(frame.to_csv(index=False), block_bytes=136).columns
    np.testing.assert_allclose(
        [a.numbers.mean, a.numbers.std, a.skewness, a.correlation, b.correlation],
        [
            frame["a"].mean(),
            frame["a"].std(ddof=0),
            ((frame["a"] - frame["a"].mean()) ** 3).mean() / frame["a"].std(ddof=0) ** 3,
            frame["a"].corr(frame["y"]),
            frame["b"].corr(frame["y"]),
        ],
    )


@pytest.mark.parametrize("power", [-30, -120, -200])
def test_tiny_numbers_have_a_skewness(write, power: int) -> None:
    a, _ = write("a,y\n" + "".join(f"{digit}e{power},{digit}\n" for digit in (1, 2, 2, 9))).columns
    assert a.skewness == pytest.approx(1.097 if power > -200 else 0, abs=1e-3)


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        (
            "a,b,y\n1,,1\n2,x,2\n3,z,4\n",
            "Text: b. Use data.categorical for categories, or leave them out.",
        ),
        ("a,b,y\n1,,1\n2,,2\n3,,4\n", "b has no values: leave b out of data.features."),
        ("a,b,y\n1,7,1\n2,7.0,2\n3,7,4\n", "b is 7 in every row: leave b out of data.features."),
        (
            "a,b,y\n1,7,1\n2,seven,2\n3,8,4\n",
            "b has values that are not float32 numbers (1 of 3, the first 'seven'): empty those fields, or leave b "
            "out of data.features.",
        ),
        (
            "a,b,y\n1,7,1\n2,1e39,2\n3,8,4\n",
            "b has values that are not float32 numbers (1 of 3, the first '1e39'): empty those fields, or leave b out "
            "of data.features.",
        ),
        (
            "plot,y\n" + "".join(f"{98000 + i % 3},{i % 7}\n" for i in range(31)),
            "plot may be a code rather than a quantity (98000 to 98002): if so, leave plot out of data.features.",
        ),
        (
            "zipcode,y\n1,3\n2,4\n3,6\n",
            "zipcode may be a code rather than a quantity (1 to 3): if so, leave zipcode out of data.features.",
        ),
        (
            "a,y\n1,1\n" + "2,1\n3,2\n" * 10 + "900,3\n",
            "A few values in a are very large: their logarithms may train better, for example 'data.log_columns=[a]'.",
        ),
        (
            "a,y\n1,1\n" + "2,0\n3,2\n" * 10 + "2,900\n",
            "y has a few very large values, but also 0, so it cannot be in data.log_columns: try loss=huber.",
        ),
        (
            "a,y\n" + "1,1\n2,2\n" * 90 + "3,8\n" * 20,
            "y drifts across the rows: its mean is 8 in rows 181 to 200 and 2.15 overall. Batch runs follow the drift, "
            "so use data.order=shuffled or a small learning_rate.",
        ),
        (
            "1,2\n3,4\n5,6\n",
            "The first line looks like data, so the columns are numbered; name them with data.names.",
        ),
        ("a,y\n", "The file has a header but no rows."),
        ("a,a,b,y\n1,2,1,3\n2,3,5,5\n", "More than one column is named a: set data.names to use them."),
        ("a,b\n1,x\n2,z\n", NO_COMMAND),
    ],
)
def test_warnings(write, content: str, warning: str) -> None:
    assert warning in write(content, block_bytes=104).warnings


def test_the_command_follows_the_warnings(write) -> None:
    drifting = write("a,y\n" + "1,1\n2,2\n" * 90 + "3,800\n" * 20)
    found = overrides(drifting.command)
    assert (found["data.order"], found["data.log_columns"]) == ("shuffled", ["y"])
    assert "chunksize=full,100" in shown(drifting, 80)


def test_labels_are_counted(write) -> None:
    rows = "".join(f"{row},{'' if row % 7 else 'u'},{'rare' if row == 5 else 'common'}\n" for row in range(30))
    warnings = write(f"a,c,label\n{rows}").warnings
    assert "label has the labels common (29), rare (1): they are trained as 0, 1, ..., in this order." in warnings
    assert any("data.class_weight=balanced" in warning for warning in warnings)
    assert any(warning.startswith("Empty fields in c (25): ") for warning in warnings)


def test_a_good_file_has_no_warnings(write) -> None:
    rows = np.random.default_rng(1).normal(size=(200, 2)).round(3)
    assert write(pd.DataFrame(rows, columns=["a", "y"]).to_csv(index=False)).warnings == []


@pytest.mark.parametrize(
    ("content", "features", "target"),
    [
        ("price,a,b\n1,5,1\n2,1,2\n3,4,3.5\n", ["a", "b"], "price"),
        ("a,Label,b\n1,5,5\n2,1,1\n3,4,3\n", ["a", "b"], "Label"),
        ("a,b,user_id\n1,5,1\n2,1,2\n3,4,3\n", ["a"], "b"),
        ("user_id,y\n1,5\n2,1\n3,4\n", ["user_id"], "y"),
        ("a,b,y\n1,5,7\n2,1,7\n3,4,7\n", ["a"], "b"),
        ("a,b,SalePrice,last\n1,5,7,1\n2,1,8,2\n3,4,7,5\n", ["a", "b", "last"], "SalePrice"),
        ("a,b,price\n1,5,7\n2,1,\n3,4,\n4,6,\n", ["a"], "b"),
        ("a,c,y\n1,u,1\n2,u,2\n3,v,5\n4,v,7\n", ["a", "c"], "y"),
        ("a,c,y\n1,u,1\n2,w,2\n3,v,5\n4,x,7\n", ["a"], "y"),
    ],
)
def test_guesses(write, content: str, features: list[str], target: str) -> None:
    found = overrides(write(content).command)
    assert (found["data.features"], found["data.target"]) == (features, target)


def test_the_target_can_be_given(write, tmp_path: Path) -> None:
    write("a,b,price\n1,5,7\n2,1,4\n3,4,2\n")
    found = overrides(describe("file.csv", target="a").command)
    assert (found["data.features"], found["data.target"]) == (["b", "price"], "a")
    with pytest.raises(ConfigError, match=r"--target: no column c\. The file has: a, b, price."):
        describe("file.csv", target="c")


def test_numbers_of_which_one_is_too_large_are_not_a_category(write) -> None:
    content = "a,b,y\n" + "".join(f"{row},{7 + row % 2},{row * 3}\n" for row in range(9)) + "9,1e39,5\n"
    found = overrides(write(content).command)
    assert (found["data.features"], "data.categorical" in found) == (["a"], False)


def test_the_command_handles_empty_fields_and_binary_targets(write) -> None:
    content = "a,bought\n1,0\n,1\n3,1\n4,0\n5,1\n"
    expected = {"data": "csv", "data.path": "file.csv", "data.features": ["a"], "data.target": "bought"}
    assert overrides(write(content).command) == expected | {"data.missing": "mean", "loss": "binary_crossentropy"}
    found = overrides(write(content.replace(",0\n4", ",\n4")).command)
    assert found == expected | {"data.missing": "mean", "loss": "binary_crossentropy"}


def test_several_files_are_one_table(write, tmp_path: Path) -> None:
    write("a,y\n1,2\n2,3\n", "part-1.csv")
    write("a,y\n3,9\n", "part-2.csv")
    for path in ("part-*.csv", ["part-1.csv", "part-2.csv"]):
        found = describe(path)
        assert (found.rows, [column.numbers.max for column in found.columns]) == (3, [3, 9])
        assert overrides(found.command)["data.path"] == path


def test_lines_below_the_rows_of_a_large_file_are_found(write) -> None:
    content = "a,y\n" + "".join(f"{row},{row % 7}\n" for row in range(80_000))
    found = write(f"{content}\nSource: an office\n", block_bytes=1 << 20)
    assert len(content) > SAMPLE_BYTES
    assert (found.rows, found.dialect) == (80_000, {"skip_footer": 2})


def test_only_the_first_rows_of_a_large_file_are_read(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.data.profiling.describe.MOST_CELLS", 40)
    content = "a,y\n" + "".join(f"{row},{row % 7}\n" for row in range(1000))
    found = write(content, block_bytes=100)
    assert 20 <= found.rows < 100
    assert any(warning.startswith(f"Only the first {found.rows} rows were read, ") for warning in found.warnings)
    assert describe("file.csv", 100, everything=True).rows == 1000


@pytest.mark.parametrize(
    "name",
    ["a b", "[a]", "a,b", "a=b", "it's", 'a"b', "a\\", 'a\\"b', "größe", "1st", "true", "a:b", "{a}", "$a", " a"],
)
def test_odd_names_survive_shell_and_hydra(write, name: str) -> None:
    frame = pd.DataFrame({name: [1, 2, 3], name + "y": [2, 4, 7]})
    found = overrides(write(frame.to_csv(index=False, quoting=1, escapechar=None), f"{name}.csv").command)
    assert (found["data.path"], found["data.features"], found["data.target"]) == (f"{name}.csv", [name], name + "y")


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        (b"", "data.path: file.csv is empty; a CSV must start with a header line."),
        (
            b"a,y\n" + b"1,2\n" * 200_000 + "é,3\n".encode("latin-1"),
            "file.csv, line 200002: byte 0xe9 is not valid utf-8. Set data.encoding, for example to latin-1.",
        ),
        (
            b"a,y\n1,2\n3,4,5\n",
            "file.csv, line 3: 3 fields, but the header has 2. "
            "Fix the line, or quote the field that contains a delimiter or a line break.",
        ),
        (b'a,y\n1,"2\n3,4\n', "file.csv, line 2: unclosed quote. Fix the line."),
    ],
)
def test_refusals(write, content: bytes, refusal: str) -> None:
    with pytest.raises(ConfigError) as error:
        write(content, block_bytes=8000)
    assert str(error.value).replace(f"{Path.cwd()}/", "") == refusal


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r" is a folder. To read its files as one table, write .*/\*\.csv'?\. "):
        describe(str(tmp_path))
    with pytest.raises(ConfigError, match=r"^data\.path: no such file: .*none\.csv$"):
        describe(str(tmp_path / "none.csv"))


@pytest.mark.parametrize("width", [80, 100, 120])
def test_rendering_fits_and_keeps_the_command(write, width: int) -> None:
    found = write(HOUSES)
    text = shown(found, width)
    assert max(map(len, text.splitlines())) <= width
    assert found.command in text.replace(" \\\n   ", "")
    assert all(column.name in text for column in found.columns)
    assert " ".join(" ".join(found.warnings).split()) in " ".join(text.replace("\n- ", " ").split())


def test_a_long_path_is_neither_wrapped_nor_cut(write) -> None:
    found = write(HOUSES, "a" * 120 + ".csv")
    assert f"data.path={'a' * 120}.csv \\\n" in shown(found, 80, soft_wrap=True)


def test_king_county(king_county: Path) -> None:
    found = describe(str(king_county), 1 << 19)
    columns = {column.name: column for column in found.columns}
    price = columns["price"]
    assert (found.rows, found.bytes, len(columns)) == (21_613, 2_515_206, 21)
    assert (price.kind, round(price.numbers.mean, 2), price.numbers.min, price.numbers.max) == (
        "number",
        540_088.14,
        75_000,
        7_700_000,
    )
    assert {name: c.kind for name, c in columns.items() if c.kind != "integer"} == {
        "date": "date",
        "price": "number",
        "bathrooms": "number",
        "floors": "number",
        "lat": "number",
        "long": "number",
    }
    assert sum(column.empty for column in found.columns) == 0
    arguments = overrides(found.command)
    assert {"date", "sqft_living", "grade"} < {*arguments["data.features"]}
    assert (arguments["data.dates"], arguments["data.target"]) == (["date"], "price")
    assert [warning.split()[0] for warning in found.warnings] == ["Dates:", "id", "zipcode", "A", "price"]
