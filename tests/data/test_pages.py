"""Column files hold values of any type and shape, in pages that are bounded in rows and bytes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.data.statistics import Column
from harness.data.tables.pages import (
    PAGE_BYTES,
    ColumnWriter,
    DamagedTable,
    PageReader,
    column_path,
    in_pages,
    page_rows_of,
)


def column(dtype: str = "float32", shape: tuple[int, ...] = ()) -> Column:
    return Column("x", False, 0, 0.0, 1.0, 0.0, 0.0, (), dtype, shape)  # type: ignore[arg-type]


IMAGE, NUMBER, LABEL = column("uint8", (28, 30, 3)), column(), column("int32")


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        ([NUMBER], 65_536),
        ([NUMBER] * 64, 65_536),
        ([NUMBER] * 65, 32_768),
        ([NUMBER] * 1000, 4096),
        ([NUMBER] * 9000, 4096),
        ([LABEL, column("float32", (16,))], 65_536),
        ([column("float32", (17,)), NUMBER], 32_768),
        ([IMAGE, LABEL], 1024),
        ([column("uint8", (5000, 5000, 3))], 1),
    ],
)
def test_pages_are_bounded_in_rows_and_bytes(columns: list[Column], rows: int) -> None:
    """A reader keeps one page of all columns, which must not take much more memory than a block of rows."""
    assert page_rows_of(columns) == rows
    assert rows == 1 or all(rows * each.value_bytes <= PAGE_BYTES for each in columns)


@pytest.mark.parametrize("lengths", [[], [3], [4], [5], [1, 2, 3, 4, 5], [11, 1], [4, 4], [0, 9, 0]])
def test_rows_are_cut_into_pages(lengths: list[int]) -> None:
    total = sum(lengths)
    rows = np.arange(2 * total).reshape(2, total)
    pages = list(in_pages(np.split(rows, np.cumsum(lengths)[:-1], axis=1) if lengths else [], 4))
    assert [page.shape[1] for page in pages] == [4] * (total // 4) + [total % 4] * (total % 4 > 0)
    if pages:
        np.testing.assert_array_equal(np.concatenate(pages, axis=1), rows)


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(bytes(44)), lambda path: os.truncate(path, 20)])
def test_a_page_is_rewritten_only_if_it_is_as_it_was_written(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "column"
    writer = ColumnWriter(path, NUMBER, 4)
    for start in (0, 4, 8):
        writer.append(np.arange(start, min(start + 4, 11)))
    writer.rewrite(lambda values: values + 1)
    writer.finish()
    assert np.fromfile(path, np.float32).tolist() == [*range(1, 12)]
    damage(path)
    with pytest.raises(OSError, match="differs from what was written"):
        writer.rewrite(lambda values: values)
    writer.close()


@pytest.mark.parametrize("what", [IMAGE, NUMBER, LABEL], ids=["image", "number", "label"])
def test_values_of_any_type_and_shape_come_back(tmp_path: Path, what: Column) -> None:
    values = np.random.default_rng(0).integers(0, 200, (11, *what.shape)).astype(what.dtype)
    path = column_path(tmp_path, "train", 2)
    writer = ColumnWriter(path, what, 4)
    for start in (0, 4, 8):
        writer.append(values[start : start + 4])
    writer.finish()
    writer.close()
    assert path.read_bytes() == values.tobytes()
    sums = [b"", b"", bytes(writer.sums)]
    for start, stop in [(0, 11), (0, 4), (3, 9), (8, 11), (5, 5), (0, 0)]:
        (found,) = PageReader(tmp_path, "train", {2: what}, 11, 4, sums).read(start, stop)
        assert (found.dtype, found.shape) == (values.dtype, (stop - start, *what.shape))
        np.testing.assert_array_equal(found, values[start:stop])
    data = bytearray(path.read_bytes())
    data[what.value_bytes * 8] ^= 1
    path.write_bytes(data)
    reader = PageReader(tmp_path, "train", {2: what}, 11, 4, sums)
    np.testing.assert_array_equal(reader.read(0, 8)[0], values[:8])
    with pytest.raises(DamagedTable, match=r"page 3 of column x \(train\.2\.bin\) does not match its checksum\.$"):
        reader.read(7, 9)
