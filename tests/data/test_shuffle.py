"""Shuffling keeps all rows, in an order that depends on seed and epoch but not on block sizes."""

from __future__ import annotations

import hashlib
import itertools
import resource
from pathlib import Path

import numpy as np
import pytest

from harness.config import Missing, Order, Scaling
from harness.data import shuffle
from harness.data.blocks import Blocks
from harness.data.scaler import Scaler
from harness.data.shuffle import Shuffle, page_order
from harness.data.statistics import Drift
from harness.data.tables.pages import PAGE_ROWS
from tests.tables import numbered, rows

SHUFFLED: dict = {"features": ["row"], "order": Order.shuffled}


def shuffled(folder: Path, count: int, seed: int = 0, grain: int = 1000, **options: int) -> list[int]:
    deck = Shuffle(folder / f"{seed}.{grain}", 2, seed, **options)
    for start in range(0, count, grain):
        numbers = np.arange(start, min(start + grain, count), dtype=np.float32)
        deck.add(np.stack([numbers, -numbers]))
    found = np.concatenate([np.zeros((2, 0)), *deck.rows()], axis=1)
    np.testing.assert_array_equal(found[0], -found[1])
    return found[0].astype(int).tolist()


@pytest.mark.parametrize("count", [0, 1, 255, 5000])
def test_every_row_comes_back_once(tmp_path: Path, count: int) -> None:
    assert sorted(shuffled(tmp_path, count)) == list(range(count))
    assert list(tmp_path.iterdir()) == []


def test_the_order_depends_on_the_seed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = shuffled(tmp_path, 5000)
    assert found != list(range(5000))
    assert shuffled(tmp_path, 5000) == found
    with monkeypatch.context() as patch:  # The rows are kept in files instead of memory.
        patch.setattr(shuffle, "HELD_BYTES", 10_000)
        assert shuffled(tmp_path, 5000) == found
    assert shuffled(tmp_path, 5000, seed=1) != found


@pytest.mark.parametrize(
    ("count", "deck_bytes", "digest"), [(200_000, 16 << 20, "898907385d09a0fe"), (2000, 160, "8b7a1f6d0ad9cbae")]
)
def test_the_order_stays_as_it_is_and_needs_few_open_files(
    tmp_path: Path, count: int, deck_bytes: int, digest: str
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len([*Path("/proc/self/fd").iterdir()]) + 8, hard))
    try:
        found = np.array(
            shuffled(tmp_path, count, seed=3, grain=65_536 if count > 2000 else 100, deck_bytes=deck_bytes), np.float32
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    assert hashlib.md5(np.stack([found, -found], axis=1).tobytes()).hexdigest().startswith(digest)


def test_a_write_that_stops_half_way_is_an_error(tmp_path: Path) -> None:
    """When a disk fills up, it first accepts part of a write without an error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            shuffled(tmp_path, 5000, grain=5000, deck_bytes=100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_shuffled_rows_are_uncorrelated_with_the_file(tmp_path: Path) -> None:
    found = np.array(shuffled(tmp_path, 20_000))
    assert abs(np.corrcoef(found, np.arange(20_000))[0, 1]) < 4 / np.sqrt(20_000)
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 4 / np.sqrt(20_000)


@pytest.mark.parametrize(("count", "block_bytes"), [(501, 100), (501, 16 << 20), (140_000, 1 << 20)])
def test_a_shuffled_table_has_the_rows_statistics_and_holdout_of_the_file(
    make_table, count: int, block_bytes: int
) -> None:
    plain = make_table(numbered(count), features=["row"], holdout=0.2)
    mixed = make_table(numbered(count), holdout=0.2, block_bytes=block_bytes, **SHUFFLED)
    assert not np.array_equal(rows(mixed), rows(plain))
    order = np.argsort(rows(mixed)[:, 0], kind="stable")
    np.testing.assert_array_equal(rows(mixed)[order], rows(plain))
    np.testing.assert_array_equal(rows(mixed, "holdout"), rows(plain, "holdout"))
    np.testing.assert_allclose([c.std for c in mixed.columns], [c.std for c in plain.columns], rtol=1e-12)
    assert mixed.digest != plain.digest


def test_filled_fields_are_shuffled_too(make_table) -> None:
    options: dict = {"features": ["a", "row"], "missing": Missing.mean}
    plain, mixed = (make_table(numbered(50, gaps=7), **options, order=order) for order in (Order.file, Order.shuffled))
    assert sorted(rows(mixed).tolist()) == sorted(rows(plain).tolist())


# Pages.


def test_each_epoch_has_its_own_order() -> None:
    first, second = (page_order(21, 0, epoch) for epoch in (1, 2))
    assert sorted(first) == sorted(second) == list(range(21))
    assert first.tolist() != second.tolist()
    assert page_order(21, 0, 1).tolist() == first.tolist()
    assert page_order(21, 1, 1).tolist() != first.tolist()


@pytest.mark.parametrize("block_rows", [8192, 65_536, 150_000])
def test_blocks_follow_the_pages_of_the_epoch(make_table, block_rows: int) -> None:
    count = 2 * PAGE_ROWS + 70
    table = make_table(numbered(count), **SHUFFLED)
    blocks = Blocks(table, "train", Scaler.of(table, Scaling.none), block_rows=block_rows, overlap=5)
    written = rows(table)[:, 0]
    for epoch in (1, 2, 1):
        order = page_order(-(-count // PAGE_ROWS), 0, epoch)
        expected = np.concatenate([written[page * PAGE_ROWS : (page + 1) * PAGE_ROWS] for page in order])
        found = list(blocks.read(epoch))
        joined = np.concatenate([block.x[5 : 5 + block.stop - block.start, 0] for block in found])
        np.testing.assert_array_equal(joined, expected)
        for before, after in itertools.pairwise(found):
            np.testing.assert_array_equal(after.x[:5], before.x[blocks.block_rows :])


# Drift.


@pytest.mark.parametrize("grain", [1, 1000, 99_999])
def test_drift_is_located(grain: int) -> None:
    values = np.random.default_rng(0).normal(size=60_000)
    values[54_000:] += 0.5
    drift = Drift()
    for start in range(0, len(values), grain):
        drift.add(start, values[start : start + grain])
    found = drift.worst(len(values), float(values.mean()), float(values.std()))
    assert found is not None
    first, last, mean = found
    assert 53_990 <= first <= 54_010
    assert last == 60_000
    assert mean == pytest.approx(values[first - 1 :].mean(), abs=1e-12)


@pytest.mark.parametrize("count", [1, 9, 1000, 60_000])
def test_chance_is_not_reported_as_drift(count: int) -> None:
    values, drift = np.random.default_rng(1).normal(size=count), Drift()
    values[::7] = np.nan
    drift.add(0, values)
    assert drift.worst(count, float(np.nanmean(values[1:])) if count > 1 else 0.0, 1.0) is None


def test_a_table_says_that_its_target_drifts(make_table, king_county: Path) -> None:
    assert make_table(numbered(2000), features=["a"]).drift.startswith("y drifts across the rows: its mean is ")
    real = make_table(king_county, features=["sqft_living"], target="price", holdout=0.2)
    assert "price drifts across the rows: its mean is 591,734 in rows 19,449 to 21,613" in real.drift
    logs = make_table(king_county, features=["sqft_living"], target="price", log_columns=["price"])
    assert logs.drift.startswith("log(price) drifts")
    assert make_table(numbered(2000), features=["a"], order=Order.shuffled).drift == ""
