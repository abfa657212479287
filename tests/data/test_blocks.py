"""Concatenated blocks of any size equal the scaled table bit for bit in every pass."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from harness.config import Order, Scaling
from harness.data.blocks import SLICE_ROWS, Block, Blocks
from harness.data.scaler import Scaler
from harness.data.tables.pages import PARTS, DamagedTable, PageReader, Part, column_path
from harness.data.tables.table import Table
from tests.tables import rows

# Of 3,700 rows; neither part is a multiple of a slice.
ROWS = {"train": 2 * SLICE_ROWS + 524, "holdout": SLICE_ROWS + 104}
SIZES = [1, SLICE_ROWS, SLICE_ROWS + 1, 2 * SLICE_ROWS, 10**9, None]
SMALL = "a,b,y\n1,10,5\n2,30,1\n3,20,9\n4,60,3\n6,30,7\n"


@pytest.fixture
def table(make_table: Callable[..., Table]) -> Table:
    draw = np.random.default_rng(0).normal(size=(3, sum(ROWS.values())))
    frame = pd.DataFrame({"a": 1e4 + 3 * draw[0], "b": np.exp(draw[1]), "y": draw[2]})
    made = make_table(frame.to_csv(index=False), features=["a", "b"], holdout=0.3)
    assert {part: made.rows(part) for part in PARTS} == ROWS
    return made


def scaled(table: Table, part: Part) -> np.ndarray:
    """The whole part, `[rows, columns]`, scaled at once."""
    return Scaler.of(table, Scaling.standard).apply(table.read(part, 0, table.rows(part))).T


def blocks_of(table: Table, part: Part = "train", **options: int | None) -> Blocks:
    return Blocks(table, part, Scaler.of(table, Scaling.standard), **options)


def joined(blocks: Blocks) -> np.ndarray:
    """One pass, `[rows, columns]`, without the overlap in front and the padding at the end."""
    first = blocks.overlap
    parts = (np.hstack([block.x, block.y])[first : first + block.stop - block.start] for block in blocks.read(1))
    return np.concatenate(list(parts))


# Blocks.


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("overlap", [0, 5])
def test_concatenated_blocks_equal_the_table_in_every_pass(
    table: Table, part: Part, size: int | None, overlap: int
) -> None:
    blocks = blocks_of(table, part, block_rows=size, overlap=overlap)
    expected = scaled(table, part)
    for _ in range(3):
        np.testing.assert_array_equal(joined(blocks), expected)
    bounds = [bound for block in blocks.read(1) for bound in (block.start, block.stop)]
    starts = range(0, ROWS[part], blocks.block_rows)
    assert bounds == [bound for start in starts for bound in (start, min(start + blocks.block_rows, ROWS[part]))]


@pytest.mark.parametrize(
    ("size", "rows"),
    [
        (1, SLICE_ROWS),
        (SLICE_ROWS, SLICE_ROWS),
        (SLICE_ROWS + 1, 2 * SLICE_ROWS),
        (10**9, 3 * SLICE_ROWS),
        (None, 3 * SLICE_ROWS),
    ],
)
@pytest.mark.parametrize("overlap", [0, 5, SLICE_ROWS, SLICE_ROWS + 500])
def test_all_arrays_have_one_capacity(table: Table, size: int | None, rows: int, overlap: int) -> None:
    blocks = blocks_of(table, block_rows=size, overlap=overlap)
    assert (blocks.rows, blocks.features, blocks.block_rows) == (ROWS["train"], 2, rows)
    assert blocks.capacity == rows + overlap
    found = list(blocks.read(1))
    assert {(block.x.shape, block.x.dtype) for block in found} == {((blocks.capacity, 2), np.dtype("float32"))}
    assert {(block.y.shape, block.y.dtype) for block in found} == {((blocks.capacity, 1), np.dtype("float32"))}
    assert {block.x.nbytes + block.y.nbytes for block in found} == {blocks.bytes}
    assert all(block.x.flags.c_contiguous for block in found)


@pytest.mark.parametrize("overlap", [0, 1, 5, SLICE_ROWS - 1, SLICE_ROWS, SLICE_ROWS + 500, 3 * SLICE_ROWS])
def test_the_overlap_is_the_rows_before(table: Table, overlap: int) -> None:
    """There are zeros before the first row and after the last one."""
    expected = scaled(table, "train")
    for block in blocks_of(table, block_rows=SLICE_ROWS, overlap=overlap).read(1):
        before = np.zeros((overlap, 3), np.float32)
        known = min(overlap, block.start)
        before[overlap - known :] = expected[block.start - known : block.start]
        after = np.zeros((SLICE_ROWS - (block.stop - block.start), 3), np.float32)
        rows = np.vstack([before, expected[block.start : block.stop], after])
        np.testing.assert_array_equal(np.hstack([block.x, block.y]), rows)


def test_a_block_has_4_mib_by_default(make_table) -> None:
    table = make_table("a,y\n" + "1,2\n" * 600_000)
    blocks = blocks_of(table)
    assert (blocks.block_rows, blocks.bytes, len(list(blocks.read(1)))) == (512 * SLICE_ROWS, 4 << 20, 2)


def test_a_part_without_rows_has_no_blocks(make_table) -> None:
    blocks = blocks_of(make_table(SMALL), "holdout", overlap=5)
    assert (blocks.rows, list(blocks.read(1))) == (0, [])


@pytest.mark.parametrize("overlap", [0, SLICE_ROWS])
@pytest.mark.parametrize("order", ["file", "shuffled"])
def test_a_pass_may_begin_where_a_block_ended(make_table: Callable[..., Table], order: str, overlap: int) -> None:
    frame = pd.DataFrame({"a": np.arange(140_000.0), "y": np.arange(140_000.0)})
    table = make_table(frame.to_csv(index=False), features=["a"], holdout=0.0, order=Order(order))
    blocks = blocks_of(table, block_rows=40 * SLICE_ROWS, overlap=overlap)
    whole = list(blocks.read(2))
    assert len(whole) == 4
    for index in range(4):
        rest = list(blocks.read(2, whole[index].start))
        assert [block.start for block in rest] == [block.start for block in whole[index:]]
        for block, expected in zip(rest, whole[index:], strict=True):
            np.testing.assert_array_equal(block.x, expected.x)
            np.testing.assert_array_equal(block.y, expected.y)
    assert list(blocks.read(2, table.train_rows)) == []


def test_blocks_are_read_by_another_thread(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    readers, read = [], PageReader.read

    def watched(*arguments) -> list[np.ndarray]:
        readers.append(threading.current_thread().name)
        return read(*arguments)

    monkeypatch.setattr(PageReader, "read", watched)
    assert len(list(blocks_of(table, block_rows=SLICE_ROWS).read(1))) == 3
    assert readers == ["prefetch"] * 3


def test_a_pass_may_end_early(table: Table) -> None:
    blocks = blocks_of(table, block_rows=SLICE_ROWS)
    one = next(blocks.read(1))
    assert (one.start, one.stop) == (0, SLICE_ROWS)
    for block in blocks.read(1):
        if block.start:
            break
    assert [thread for thread in threading.enumerate() if thread.name == "prefetch"] == []
    np.testing.assert_array_equal(joined(blocks), scaled(table, "train"))


def test_two_simultaneous_passes(table: Table) -> None:
    blocks = blocks_of(table, block_rows=SLICE_ROWS)
    pairs = list(zip(blocks.read(1), blocks.read(2), strict=True))
    assert len(pairs) == 3
    for one, other in pairs:
        np.testing.assert_array_equal(one.x, other.x)


def test_a_block_is_unchanged_by_reading_others(table: Table) -> None:
    def copy(block: Block) -> tuple[np.ndarray, np.ndarray]:
        return block.x.copy(), block.y.copy()

    blocks = blocks_of(table, block_rows=SLICE_ROWS, overlap=5)
    found = [(block, copy(block)) for block in blocks.read(1)]
    for block, (x, y) in found:
        np.testing.assert_array_equal(block.x, x)
        np.testing.assert_array_equal(block.y, y)


def test_lost_rows_are_reported_when_they_are_read(table: Table) -> None:
    path = column_path(table.folder, "train", 1)
    path.write_bytes(path.read_bytes()[: 4 * (SLICE_ROWS + 10)])
    with pytest.raises(DamagedTable, match=r"page 1 of column b \(train\.1\.bin\) is truncated\.$"):
        next(blocks_of(table, block_rows=SLICE_ROWS).read(1))


# Scaling.


def test_training_rows_get_mean_0_and_deviation_1(table: Table) -> None:
    train = scaled(table, "train").astype(np.float64)
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(train.std(axis=0), 1, rtol=1e-5)


def test_the_holdout_is_scaled_with_the_training_rows(table: Table) -> None:
    train = rows(table).astype(np.float64)
    expected = (rows(table, "holdout") - train.mean(axis=0)) / train.std(axis=0)
    np.testing.assert_allclose(scaled(table, "holdout"), expected, rtol=1e-4, atol=1e-4)
    assert abs(scaled(table, "holdout").mean()) > 1e-4


def test_the_arithmetic_of_scaling_is_in_float64(make_table) -> None:
    """In float32, the mean, 16,777,217.5, would be rounded first."""
    table = make_table("a,y\n16777216,1\n16777216,2\n16777218,3\n16777220,4\n")
    found = Scaler.of(table, Scaling.standard).apply(table.read("train", 0, 4))[0]
    values = np.array([16777216, 16777216, 16777218, 16777220], np.float64)
    assert found.tolist() == ((values - 16777217.5) / values.std()).astype(np.float32).tolist()


def test_without_scaling_values_are_unchanged(make_table) -> None:
    table = make_table(SMALL, features=["a", "b"])
    scaler = Scaler.of(table, Scaling.none)
    values = table.read("train", 0, 5)
    np.testing.assert_array_equal(scaler.apply(values), values)
    assert (scaler.mean.tolist(), scaler.std.tolist()) == ([0, 0, 0], [1, 1, 1])
    assert joined(Blocks(table, "train", scaler)).tolist() == rows(table).tolist()


@pytest.mark.parametrize("scaling", Scaling)
def test_labels_are_not_scaled(make_table, scaling: Scaling) -> None:
    table = make_table(SMALL, features=["a", "b"])
    values = table.read("train", 0, 5)
    scaler = Scaler.of(table, scaling, scale_target=False)
    assert scaler.apply(values)[-1].tolist() == [5, 1, 9, 3, 7]
    assert scaler.apply(values)[:-1].tolist() == Scaler.of(table, scaling).apply(values)[:-1].tolist()


@pytest.mark.parametrize("constant", ["7", "0.1", "1e-30", "123456789.123", "-3e37"])
@pytest.mark.parametrize("count", [1, 3, 10, 1001])
def test_a_constant_column_is_scaled_to_zero(make_table, constant: str, count: int) -> None:
    """Sums of 0.1 leave a deviation of 1e-17; dividing by it would turn float32's rounding into huge features."""
    table = make_table("a,y\n" + "".join(f"{constant},{number}\n" for number in range(count)))
    scaler = Scaler.of(table, Scaling.standard)
    found = scaler.apply(table.read("train", 0, count))[0]
    assert scaler.std[0] == 1
    assert np.abs(found).max() <= abs(np.spacing(np.float32(constant)))


@pytest.mark.parametrize("logs", [[], ["y"], ["a"]])
def test_whether_the_target_is_a_logarithm(make_table, logs: list[str]) -> None:
    assert Scaler.of(make_table(SMALL, log_columns=logs), Scaling.standard).log_targets == (logs == ["y"],)


@pytest.mark.parametrize("scaling", Scaling)
@pytest.mark.parametrize("scale_target", [True, False])
def test_coefficients_are_those_of_raw_columns(make_table, scaling: Scaling, scale_target: bool) -> None:
    """A linear model on scaled columns predicts the same as the coefficients on raw columns."""
    table = make_table(SMALL, features=["a", "b"])
    scaler = Scaler.of(table, scaling, scale_target=scale_target)
    raw = np.array(table.read("train", 0, 5), np.float64)
    kernel, bias = np.array([[0.25], [-1.5]], np.float32), np.array([0.75])
    trained = (raw - scaler.mean[:, None]) / scaler.std[:, None]
    predicted = scaler.mean[-1] + scaler.std[-1] * (kernel[:, 0] @ trained[:-1] + bias)
    intercept, slopes = scaler.coefficients(kernel, bias)
    np.testing.assert_allclose(intercept + slopes[:, 0] @ raw[:-1], predicted, rtol=1e-13)
    if scaling is Scaling.none:
        assert (intercept.tolist(), slopes[:, 0].tolist()) == ([0.75], [0.25, -1.5])


def test_coefficients_of_the_best_line_are_those_of_numpy(make_table) -> None:
    """Least squares on scaled columns, converted back, equals least squares on raw columns."""
    table = make_table(SMALL)
    a, y = np.array(table.read("train", 0, 5), np.float64)
    x, t = Scaler.of(table, Scaling.standard).apply(table.read("train", 0, 5)).astype(np.float64)
    slope, bias = np.polyfit(x, t, 1)
    intercept, slopes = Scaler.of(table, Scaling.standard).coefficients(np.array([[slope]]), np.array([bias]))
    np.testing.assert_allclose([slopes[0, 0], intercept[0]], np.polyfit(a, y, 1), rtol=1e-6)
