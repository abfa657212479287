"""Sweeps of convolutional networks have the same results alone, with other runs, after kills, and reproduced."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.sweep.test_kills import numbers, rows
from tests.warm import Warm

pytestmark = pytest.mark.slow

WORDS = ["data=digits", "model=cnn", "model.filters=[4,8]", "model.units=8", "loss=sparse_categorical_crossentropy"]
SWEEP = ["train", "-m", *WORDS, "chunksize=32,1000,full", "learning_rate=0.003,0.01", "epochs=3"]


@pytest.fixture(scope="module")
def undisturbed(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The folder of an undisturbed sweep, and the seconds it took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    start = time.monotonic()
    assert warm.run(folder, *SWEEP) == 0, (folder / "log").read_text()[-3000:]
    return folder, time.monotonic() - start


def test_a_killed_sweep_ends_with_the_same_numbers(warm: Warm, undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    expected, whole = undisturbed
    for share in (0.2, 0.5, 0.8):
        assert warm.run(tmp_path, *SWEEP, seconds=share * whole) in (0, -9)
    assert warm.run(tmp_path, *SWEEP) == 0, (tmp_path / "log").read_text()[-3000:]
    assert numbers(tmp_path) == numbers(expected)


def test_a_run_alone_has_the_same_numbers(warm: Warm, undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    words = ["chunksize=1000", "learning_rate=0.01", "epochs=3"]
    assert warm.run(tmp_path, "train", *WORDS, *words) == 0, (tmp_path / "log").read_text()[-3000:]
    alone = numbers(tmp_path)
    (name,) = {name for name, _, _ in alone}
    together = {key: value for key, value in numbers(undisturbed[0]).items() if key[0] == name}
    assert alone[name, "val/loss", 3] > 0
    assert alone == together


def test_a_run_is_reproduced_to_the_bit(warm: Warm, undisturbed: tuple[Path, float]) -> None:
    folder, _ = undisturbed
    tags = dict(rows(folder, "SELECT key, value FROM tags WHERE key IN ('compiler', 'TF_ENABLE_ONEDNN_OPTS')"))
    assert tags == {"compiler": "graph", "TF_ENABLE_ONEDNN_OPTS": "default"}
    (run_id,) = rows(folder, "SELECT run_uuid FROM tags WHERE value = 'chunk=32 lr=0.01 epochs=3'")[0]
    assert warm.run(folder, "reproduce", run_id, log=folder / "reproduced") == 0
    assert "bit-identical" in (folder / "reproduced").read_text()
