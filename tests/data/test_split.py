"""Parts of a table: folds and the test set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from harness.config import DataConfig, Order, Scaling
from harness.data.blocks import Blocks
from harness.data.scaler import Scaler
from harness.data.split import Split
from harness.data.tables.table import Table
from harness.errors import ConfigError
from tests.tables import held_out, rows

CSV = "a,y\n" + "".join(f"{number},{number % 7}\n" for number in range(3000))


def parts(**options: object) -> dict[str, np.ndarray]:
    return Split.of(DataConfig(["a"], "y", **options)).parts(0, 10_000)  # type: ignore[arg-type]


@pytest.mark.parametrize("test", [0.0, 0.1])
def test_folds_hold_out_each_row_once_except_those_of_the_test(test: float) -> None:
    found = [parts(folds=3, fold=fold, test=test) for fold in range(3)]
    held = sum(each["holdout"].astype(int) for each in found)
    assert set(held + found[0]["test"]) == {1}
    assert all((each["train"] ^ each["holdout"] ^ each["test"]).all() for each in found)
    assert all(abs(each["holdout"].mean() - (1 - test) / 3) < 0.02 for each in found)
    assert all((each["test"] == found[0]["test"]).all() for each in found)


def test_the_first_of_five_folds_is_the_default_holdout() -> None:
    assert (parts(folds=5, fold=0)["holdout"] == held_out(0, 10_000, 0.2, 0)).all()
    # Test rows are taken only from the training rows.
    assert (parts(test=0.1)["holdout"] == held_out(0, 10_000, 0.2, 0)).all()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"folds": 5}, "data.folds=5: add -m to train all folds, or choose one with data.fold, from 0 to 4."),
        ({"fold": 1}, "data.fold needs data.folds, the number of folds."),
        ({"folds": 5, "fold": 5}, "data.fold must be from 0 to 4, not 5."),
        ({"folds": 1, "fold": 0}, "data.folds must be from 2 to 1000, not 1."),
        (
            {"folds": 5, "fold": 0, "holdout": 0.1},
            "Remove data.holdout=0.1, or data.folds=5, which holds out 0.2 each time.",
        ),
        ({"test": 1.0}, "data.test must be a fraction in [0, 1), not 1.0."),
        ({"holdout": 0.5, "test": 0.5}, "data.holdout=0.5 and data.test=0.5 leave no rows to train on."),
    ],
)
def test_impossible_splits_are_refused(options: dict[str, float], sentence: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        DataConfig(["a"], "y", **options)  # type: ignore[arg-type]
    assert str(refusal.value) == sentence


def test_a_table_keeps_the_rows_of_the_test(make_table: Callable[..., Table]) -> None:
    without, with_test = (make_table(CSV, holdout=0.2, test=share) for share in (0.0, 0.1))
    assert (without.parts, with_test.parts) == (("train", "holdout"), ("train", "holdout", "test"))
    assert not [*without.folder.glob("test*")]
    assert with_test.test_rows > 0
    expected = parts(test=0.1)
    for part in with_test.parts:
        np.testing.assert_array_equal(rows(with_test, part)[:, 0], np.flatnonzero(expected[part][:3000]))
    with_test.check()


def test_a_seed_orders_shuffled_rows(make_table: Callable[..., Table]) -> None:
    """All seeds read the same rows; 0 keeps the stored order, and no order depends on the block size."""
    table = make_table(CSV, order=Order.shuffled)
    scaler = Scaler.of(table, Scaling.none)

    def order(seed: int, epoch: int = 1, block_rows: int = 4096) -> list[float]:
        blocks = Blocks(table, "train", scaler, seed=seed, block_rows=block_rows)
        return np.concatenate([block.x[: block.stop - block.start, 0] for block in blocks.read(epoch)]).tolist()

    assert order(0) == rows(table)[:, 0].tolist()
    assert order(1) != order(0) != order(2) != order(1)
    assert sorted(order(1)) == sorted(order(0))
    assert order(1) == order(1, block_rows=1024)
    in_file_order = make_table(CSV)
    blocks = Blocks(in_file_order, "train", scaler, seed=1)
    first, *_ = blocks.read(1)
    assert first.x[:3, 0].tolist() == [0, 1, 2]
