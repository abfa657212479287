"""An interrupted sweep resumes in the same runs, ends with the same numbers, and trains nothing twice."""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from rich.console import Console

from harness.config import Config, LogModel
from harness.data.blocks import Block, Blocks
from harness.data.tables.pages import DamagedTable
from harness.errors import ConfigError
from harness.runtime.signals import StopRequest
from harness.sweep import batch, scan_loop
from harness.sweep.checkpoint import Checkpoint, Saved
from harness.sweep.claims import claim_of
from harness.sweep.display import Display
from harness.sweep.run_locks import RunLocks, locks_of
from harness.sweep.runner import Sweep
from harness.tracking._compat_sqlite import LocalStore
from harness.tracking.record_buffer import RecordBuffer
from harness.tracking.run_search import REPRODUCES
from harness.tracking.tracker import Tracker
from harness.training.events import Event, Progress
from harness.training.feed import FeedLimits
from harness.training.tile import Tile
from harness.training.trainer import Scan
from tests.sweep.folders import Folder


def locks_in(folder: Folder) -> RunLocks:
    return locks_of(folder.uri, MlflowClient(folder.uri))


@pytest.fixture(autouse=True, scope="module")
def cpu() -> Iterator[None]:
    """Choose the CPU, because another test may have set up TensorFlow already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.sweep.executor.choose_device", lambda runtime: ("/CPU:0", "CPU"))
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


class After(StopRequest):
    """A request that comes after this many looks."""

    def __init__(self, looks: int) -> None:
        self._looks = looks

    def __bool__(self) -> bool:
        self._looks -= 1
        if self._looks == 0:
            self.number = signal.SIGINT
        return super().__bool__()


@pytest.fixture
def interrupt(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Train configurations, but simulate Ctrl-C after a number of blocks and epochs."""
    block_by_block = functools.partial(Scan, feed_limits=FeedLimits(span_blocks=1))
    monkeypatch.setattr("harness.sweep.executor.Scan", block_by_block)

    def run(configs: Sequence[Config], looks: int, **options: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(scan_loop, "defer_signals", lambda: contextlib.nullcontext(After(looks)))
            with pytest.raises(KeyboardInterrupt):
                folder.train(configs, **options)

    return run


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = Folder(tmp_path_factory.mktemp("undisturbed"))
    folder.train(several(folder))
    return folder


def several(folder: Folder) -> list[Config]:
    """Return configurations, one of which diverges and one of which stops early."""
    configs = [folder.config(100, epochs=1), folder.config(100, epochs=3), folder.config("full", rate=0.1)]
    configs += [folder.config(500, rate=1e30), folder.config(500)]
    return configs


def test_a_stopped_sweep_resumes_in_the_same_runs_with_the_same_numbers(
    folder: Folder, undisturbed: Folder, interrupt: Callable[..., None]
) -> None:
    ids: list[str] = []
    for looks in (3, 7, None):
        interrupt(several(folder), looks) if looks else folder.train(several(folder))
        now = sorted(record.info.run_id for record in [*folder.records(), *folder.records("sweep")])
        assert ids in ([], now)
        ids = now
        if looks:
            assert "KILLED" in folder.statuses()
            assert folder.statuses("sweep") == ["KILLED"]
            assert list((folder.path / "cache" / "checkpoints").glob("*/state"))
    assert "resume: continuing from the checkpoint; 2 of 5 runs had ended" in folder.said
    assert folder.statuses() == undisturbed.statuses() == ["FAILED", *["FINISHED"] * 4]
    assert folder.numbers() == undisturbed.numbers()
    assert folder.numbers(folder.records("sweep")).keys() == undisturbed.numbers(undisturbed.records("sweep")).keys()
    tags = {record.info.run_name: record.data.tags.get("diverged_at") for record in folder.records()}
    assert tags == {record.info.run_name: record.data.tags.get("diverged_at") for record in undisturbed.records()}
    assert [bool(record.outputs.model_outputs) for record in folder.records()].count(True) == 1
    assert not (folder.path / "cache" / "checkpoints").exists()


def test_a_sweep_stopped_while_updates_are_timed_times_all_runs_once(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [folder.config(chunk, epochs=1) for chunk in (100, 500)]
    configs += [replace(config, data=replace(config.data, split_seed=1)) for config in configs]
    time_alone, calls = Scan.time_alone, itertools.count()

    def stopped(scan: Scan, lanes: Collection[int]) -> dict[int, float]:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return time_alone(scan, lanes)

    monkeypatch.setattr(Scan, "time_alone", stopped)
    with pytest.raises(KeyboardInterrupt):
        folder.train(configs)
    assert ["time/alone_s" in record.data.metrics for record in folder.records()].count(True) == 2
    folder.train(configs)
    assert next(calls) == 3  # Only the second scan was timed again.
    assert all("time/alone_s" in record.data.metrics for record in folder.records())
    assert len(folder.numbers()) > 0


def test_runs_with_results_are_not_trained_again(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = [folder.config(), folder.config(500, rate=1e30)]
    first = folder.train(configs)
    monkeypatch.setattr(Scan, "run", lambda self: pytest.fail("trained again"))
    before = folder.numbers(), folder.numbers(folder.records("sweep"))
    again = folder.train(configs)
    assert "2 of 2 runs are already finished; skipping them (runtime.rerun=true to retrain)" in folder.said
    assert [(run.run_id, run.status, run.reason, run.cost) for run in again] == [
        (run.run_id, run.status, run.reason, run.cost) for run in first
    ]
    assert again[1].reason.startswith("diverged at update")
    assert (folder.numbers(), folder.numbers(folder.records("sweep"))) == before
    (summary,) = folder.records("sweep")
    assert summary.info.status == "FAILED"
    assert {record.data.tags["sweep"] for record in folder.records()} == {summary.info.run_id}
    alone = folder.train(configs[:1], alone=True)
    assert alone[0].run_id == first[0].run_id


def test_a_finished_sweep_keeps_its_report_and_gets_a_lost_one_back(folder: Folder) -> None:
    configs = [folder.config(), folder.config(500)]
    folder.train(configs)
    (page,) = folder.path.rglob("mlartifacts/**/report.html")
    made = page.stat().st_mtime_ns
    folder.train(configs)
    assert page.stat().st_mtime_ns == made
    page.unlink()
    folder.train(configs)
    assert page.is_file()


@pytest.mark.slow
def test_a_larger_sweep_reuses_finished_runs(folder: Folder) -> None:
    folder.train([folder.config(epochs=1)])
    folder.train([folder.config(epochs=1), folder.config(epochs=2)])
    assert "1 of 2 runs is already finished; skipping it" in folder.said
    sweeps = [record.info.run_id for record in folder.records("sweep")]
    belongs = {record.data.params["epochs"]: record.data.tags["sweep"].split(",") for record in folder.records()}
    assert len(sweeps) == 2
    assert sorted(belongs["1"]) == sorted(sweeps)
    assert belongs["2"] == sweeps[:1]
    assert folder.statuses() == ["FINISHED"] * 2


@pytest.mark.slow
def test_rerun_trains_again_to_the_same_bits(folder: Folder) -> None:
    (first,) = folder.train([folder.config()], alone=True)
    (again,) = folder.train([folder.config(rerun=True)], alone=True)
    assert first.run_id != again.run_id
    records = {record.info.run_id: record for record in folder.records()}
    assert folder.numbers([records[first.run_id]]) == folder.numbers([records[again.run_id]])


@pytest.mark.slow
def test_an_interrupted_reproduction_resumes(folder: Folder, interrupt: Callable[..., None]) -> None:
    interrupt([folder.config(rerun=True)], 3, alone=True, **{REPRODUCES: "another"})
    folder.train([folder.config(rerun=True)], alone=True, **{REPRODUCES: "another"})
    assert "resume: continuing from the checkpoint" in folder.said
    assert folder.statuses() == ["FINISHED"]


@pytest.mark.slow
def test_a_failed_run_fails_alone_and_is_retrained_alone(folder: Folder) -> None:
    configs = [folder.config(c, r, e) for c in ("full", 100, 500) for r in (0.001, 0.01, 0.1, 1) for e in (1, 2)]
    configs[13] = folder.config(500, model={"_target_": "tests.helpers.breaks_in_training"})
    for _ in range(2):
        runs = folder.train(configs)
        assert [run.status for run in runs] == ["FINISHED"] * 13 + ["FAILED"] + ["FINISHED"] * 10
        assert "not in training" in runs[13].reason
        tags = {record.info.run_id: record.data.tags for record in folder.records()}
        assert "not in training" in tags[runs[13].run_id]["failure"]
    assert "23 of 24 runs are already finished" in folder.said
    assert folder.statuses("sweep") == ["FAILED"]


@pytest.mark.parametrize(("tile", "statuses"), [(8, ["FINISHED"]), (4, ["FINISHED", "KILLED"])])
@pytest.mark.slow
def test_a_run_on_a_gpu_is_continued_only_in_a_tile_of_the_same_length(
    folder: Folder,
    interrupt: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tile: int,
    statuses: list[str],
) -> None:
    monkeypatch.setattr("harness.sweep.executor.choose_device", lambda runtime: ("/CPU:0", "GPU (a card)"))
    interrupt([folder.config()], 7, alone=True)
    assert [(run.data.tags["tile"], bool(run.data.metrics)) for run in folder.records()] == [("8", True)]
    shutil.rmtree(folder.path / "cache" / "checkpoints")
    monkeypatch.setattr("harness.training.arrangement.tile_length", lambda *_, **__: tile)
    folder.train([folder.config()], alone=True)
    assert folder.statuses() == statuses
    assert [run.data.tags["tile"] for run in folder.records() if run.info.status == "FINISHED"] == [str(tile)]


def test_a_run_without_its_model_is_trained_again_if_the_model_is_wanted(folder: Folder) -> None:
    folder.train([folder.config(log_model=LogModel.none)], alone=True)
    folder.train([folder.config(log_model=LogModel.all)], alone=True)
    assert [len(record.outputs.model_outputs) for record in folder.records()] == [1]  # It is the same run.


@pytest.mark.parametrize(
    ("damaged", "use_tables"), [(["state"], True), (["state"], False), (["state", "state.before"], True)]
)
@pytest.mark.slow
def test_training_continues_from_the_checkpoint_before_a_damaged_one_or_starts_over(
    folder: Folder,
    undisturbed: Folder,
    interrupt: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    damaged: list[str],
    use_tables: bool,
) -> None:
    """What was delivered after the checkpoint is not recorded twice, whether with SQL or with MLflow's client."""
    if not use_tables:
        monkeypatch.setattr(LocalStore, "at", lambda uri: None)
    interrupt(several(folder), 15)
    ids = {record.info.run_id for record in folder.records()}
    delivered = folder.numbers()
    assert len(delivered) > 5
    for name in damaged:
        (path,) = (folder.path / "cache" / "checkpoints").glob(f"*/{name}")
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    folder.train(several(folder))
    for name in damaged:
        assert f"{name} is damaged. Moved to {name}.damaged." in folder.said
    assert ("starting over" in folder.said) == (len(damaged) == 2)
    assert ("continuing from the checkpoint" in folder.said) == (len(damaged) == 1)
    assert {record.info.run_id for record in folder.records()} == ids
    assert folder.numbers() == undisturbed.numbers()
    assert folder.statuses() == undisturbed.statuses()
    assert not list((folder.path / "cache" / "checkpoints").glob("*"))


def stopped_after_a_reused_run(folder: Folder, interrupt: Callable[..., None]) -> list[Config]:
    """Stop a sweep of a run that has a result and a new run; return their configurations."""
    folder.train([folder.config(500, rate=1e30)], alone=True)
    configs = [folder.config(500, rate=1e30), folder.config()]
    interrupt(configs, 3)
    return configs


@pytest.mark.slow
def test_a_scan_that_cannot_be_prepared_leaves_the_checkpoints(
    folder: Folder, interrupt: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example, because less memory is available than before."""
    configs = stopped_after_a_reused_run(folder, interrupt)

    def refuse(*_: object) -> None:
        raise ConfigError("runtime.device_memory_mb: not enough.")

    with monkeypatch.context() as patch:
        patch.setattr(batch, "prepare_scans", refuse)
        with pytest.raises(ConfigError, match="not enough"):
            folder.train(configs)
    assert "cannot be used" not in folder.said
    folder.train(configs)
    assert "resume: continuing from the checkpoint" in folder.said


@pytest.mark.parametrize("lost", ["key = 'val/loss' AND step = 1", "True"])
@pytest.mark.slow
def test_lost_records_are_recreated(
    folder: Folder,
    undisturbed: Folder,
    interrupt: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    lost: str,
) -> None:
    """For example, because their outbox was removed."""
    monkeypatch.setattr(Checkpoint, "due", True)
    interrupt(several(folder), 15)
    with closing(sqlite3.connect(folder.path / "mlflow.db")) as store, store:
        for table in ("metrics", "latest_metrics"):
            interrupted = "run_uuid IN (SELECT run_uuid FROM runs WHERE status = 'KILLED')"
            store.execute(f"DELETE FROM {table} WHERE {lost} AND {interrupted}")
    folder.train(several(folder))
    assert "runs are missing from the store)" in folder.said
    assert "resume: starting over" in folder.said
    assert len(folder.records()) == 5
    assert folder.statuses() == undisturbed.statuses()
    assert folder.numbers() == undisturbed.numbers()


@pytest.mark.parametrize("is_gone", [False, True])
@pytest.mark.slow
def test_a_table_found_damaged_in_a_scan_is_rebuilt(
    folder: Folder, undisturbed: Folder, monkeypatch: pytest.MonkeyPatch, is_gone: bool
) -> None:
    monkeypatch.setattr(Checkpoint, "due", True)
    read, calls = Blocks.read, itertools.count()

    def read_damaged(self: Blocks, epoch: int, begin: int = 0) -> Iterator[Block]:
        for block in read(self, epoch, begin):
            if next(calls) == 3:
                (column,) = (folder.path / "cache" / "tables").glob("*/holdout.0.*")
                column.write_bytes(bytes(column.stat().st_size))
                if is_gone:
                    (folder.path / "some.csv").unlink()
            yield block

    monkeypatch.setattr(Blocks, "read", read_damaged)
    if is_gone:
        with pytest.raises(ConfigError, match=r"cannot be rebuilt: data.path: no such file: .*some\.csv"):
            folder.train(several(folder))
        assert set(folder.statuses()) == {"FAILED"}
        return
    folder.train(several(folder))
    assert "is damaged" in folder.said
    assert "Rebuilding it from" in folder.said
    assert "resume: continuing from the checkpoint" in folder.said
    assert folder.statuses() == undisturbed.statuses()
    assert folder.numbers() == undisturbed.numbers()
    assert folder.statuses("sweep") == undisturbed.statuses("sweep")


@pytest.mark.parametrize("rerun", [False, True])
@pytest.mark.slow
def test_a_table_found_damaged_after_its_checkpoints_were_lost_is_rebuilt(
    folder: Folder, interrupt: Callable[..., None], monkeypatch: pytest.MonkeyPatch, rerun: bool
) -> None:
    """Training starts over in the same runs, and counts their points from the beginning."""
    monkeypatch.setattr(Checkpoint, "due", True)
    train, seconds = Scan.run, itertools.count()

    def train_until_damaged(self: Scan) -> Iterator[Event]:
        for event in train(self):
            yield event
            if isinstance(event, Progress) and event.epoch == 2 and next(seconds) == 0:
                for path in (folder.path / "cache" / "checkpoints").glob("*/state*"):
                    path.unlink()
                raise DamagedTable(next((folder.path / "cache" / "tables").iterdir()), "x")

    monkeypatch.setattr(Scan, "run", train_until_damaged)
    configs = [folder.config(rerun=rerun), folder.config(500, rerun=rerun)]
    interrupt(configs, 15)
    assert " is damaged: x." in folder.said
    folder.train(configs)
    assert "resume: continuing from the checkpoint" in folder.said
    assert folder.statuses() == ["FINISHED"] * 2
    folder.numbers()


def test_runs_that_ended_before_a_disk_was_full_are_not_left_running(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Checkpoint.save

    def save_until_full(self: Checkpoint, saved: Saved, *check: Callable[[], object]) -> None:
        if all(run["status"] for run in saved.facts["recorder"]["runs"].values()):
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, saved, *check)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", save_until_full)
        with pytest.raises(OSError, match="No space"):
            folder.train([folder.config(), folder.config(500)])
    assert folder.statuses() == ["FAILED"] * 2
    folder.train([folder.config(), folder.config(500)])
    assert folder.statuses() == ["FINISHED"] * 2
    folder.numbers()


def test_runs_of_dead_processes_are_ended(folder: Folder) -> None:
    with Tracker(folder.uri, "harness", folder.path / "cache" / "outbox") as tracker:
        with locks_in(folder) as locks:
            common = {"kind": "run", "signature": "0" * 16, **locks.owner}
        gone = tracker.start_run("gone", {}, common)
        busy = tracker.start_run("busy", {}, common | {"signature": "1" * 16})
        elsewhere = tracker.start_run("elsewhere", {}, common | {"host": "another"})
        unseen = tracker.start_run("unseen", {}, common | {"claims": "in another folder"})
        foreign = tracker.start_run("foreign", {}, {})
        claim = claim_of("1" * 16, tracker.experiment_id)
    with locks_in(folder) as claims:
        assert claims.take([claim]) == {claim}
        folder.train([folder.config()])
    client = MlflowClient(folder.uri)
    statuses = [client.get_run(run_id).info.status for run_id in (gone, busy, elsewhere, unseen, foreign)]
    assert statuses == ["KILLED", *["RUNNING"] * 4]


@pytest.mark.slow
def test_a_sweep_waits_for_runs_that_another_process_trains(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """This thread plays the other process: it claims a run, and records its end while the sweep waits."""
    monkeypatch.setattr(batch, "POLL_SECONDS", 0.05)
    (first,) = folder.train([folder.config(epochs=1)], alone=True)
    client = MlflowClient(folder.uri)
    client.update_run(first.run_id, status="RUNNING")
    configs, answer = [folder.config(epochs=1), folder.config(500)], []
    with locks_in(folder) as claims:
        claims.take([claim_of(first.signature, "1")])
        thread = threading.Thread(target=lambda: answer.extend(folder.train(configs)))
        thread.start()
        while "FINISHED" not in folder.statuses():
            thread.join(0.05)
            assert thread.is_alive()
        assert client.get_run(first.run_id).info.status == "RUNNING"
        client.set_terminated(first.run_id)
    thread.join()
    assert "waiting: another process is training 1 of these runs" in folder.said
    assert [run.status for run in answer] == ["FINISHED"] * 2
    assert answer[0].run_id == first.run_id
    assert len(folder.records()) == 2


@pytest.mark.slow
def test_batches_of_a_sweep_may_repeat_runs(folder: Folder) -> None:
    one, other = folder.config(epochs=1), folder.config(epochs=2)
    with Sweep(Display(Console(file=StringIO())), command="harness train -m ...", folder=folder.path / "m") as sweep:
        batches = [sweep.train(configs) for configs in ([one], [one], [one, other])]
    assert [[run.config.epochs for run in batch] for batch in batches] == [[1], [1], [1, 2]]
    assert batches[0] == batches[1] == batches[2][:1]
    assert folder.statuses() == ["FINISHED"] * 2
    assert len(folder.records("sweep")) == 1


@pytest.mark.parametrize("is_summary", [False, True])
def test_no_run_is_left_running_by_a_signal_while_runs_start(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, is_summary: bool
) -> None:
    start = Tracker.start_runs

    def start_and_interrupt(tracker: Tracker, runs: Sequence[tuple[str, Mapping, Mapping[str, str]]]) -> list[str]:
        ids = start(tracker, runs)
        if (runs[0][2]["kind"] == "sweep") == is_summary:
            signal.raise_signal(signal.SIGINT)
        return ids

    monkeypatch.setattr(Tracker, "start_runs", start_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        folder.train([folder.config()])
    assert folder.statuses() == ([] if is_summary else ["KILLED"])
    assert folder.statuses("sweep") == ["KILLED"]


def from_elsewhere(folder: Folder, configs: Sequence[Config]) -> list[Config]:
    """Return the configurations of a process that keeps its checkpoints and undelivered records elsewhere."""
    cache = str(folder.path / "elsewhere")
    return [replace(config, runtime=replace(config.runtime, cache=cache)) for config in configs]


@pytest.mark.slow
def test_a_checkpoint_is_kept_when_another_process_has_finished_some_of_its_runs(
    folder: Folder, interrupt: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best model and the test metrics of the run that ended before the kill are only in the checkpoint."""
    configs = [folder.config(100, rate=0.1, epochs=1), folder.config(), folder.config(500)]
    configs += [folder.config(100, rate=0.001), folder.config("full")]
    configs = [replace(config, data=replace(config.data, test=0.2)) for config in configs]
    undisturbed = Folder(folder.path / "undisturbed")
    own = replace(configs[0].tracking, uri=undisturbed.uri)
    undisturbed.train([replace(config, tracking=own) for config in configs], alone=True)
    interrupt(configs, 7, alone=True)
    ids = {run.run_id for run in folder.train(from_elsewhere(folder, configs[1:3]), alone=True)}

    def ends() -> list[tuple]:
        return [(run.info.end_time, run.data.tags) for run in folder.records() if run.info.run_id in ids]

    before = ends()
    trained: set[int] = set()
    advance = Tile.advance
    monkeypatch.setattr(Tile, "advance", lambda self, block: trained.add(self._chunk) or advance(self, block))
    for looks, ended in (2, "1 of 5 runs had ended, and another process has finished 2 since\n"), (None, "3 of 5 "):
        interrupt(configs, looks, alone=True) if looks else folder.train(configs, alone=True)
        assert f"resume: continuing from the checkpoint; {ended}" in folder.said
    assert 500 not in trained
    assert ends() == before
    assert folder.statuses() == ["FINISHED"] * 5
    numbers = folder.numbers()
    assert undisturbed.numbers().items() <= numbers.items()
    assert any(key == "test/loss" for _, key in undisturbed.numbers())
    best = [[r.info.run_name for r in each.records() if r.outputs.model_outputs] for each in (undisturbed, folder)]
    assert [len(names) for names in best] == [1, 2]
    assert {*best[0]} < {*best[1]}


@pytest.mark.slow
def test_what_a_lost_checkpoint_contained_is_not_mistaken_for_the_result_of_another_process(
    folder: Folder, interrupt: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the process that sets the checkpoint aside is killed before it trains."""
    configs = [folder.config(epochs=1), folder.config("full", rate=1e-4)]
    monkeypatch.setattr(Checkpoint, "due", True)
    interrupt(configs, 10)
    assert folder.statuses() == ["FINISHED", "KILLED"]
    (last,) = (folder.path / "cache" / "checkpoints").glob("*/state")
    last.rename(last.with_name("state.damaged"))
    folder.train(configs)
    assert "resume: continuing from the checkpoint; 0 of 2 runs had ended\n" in folder.said
    assert folder.statuses() == ["FINISHED"] * 2
    assert {record.data.params["epochs"]: bool(record.outputs.model_outputs) for record in folder.records()} == {
        "1": True,
        "2": False,
    }
    folder.numbers()


@pytest.mark.slow
def test_what_another_process_has_continued_is_not_recorded_twice(
    folder: Folder, interrupt: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [folder.config(), folder.config(500)]

    def die(buffer: RecordBuffer, records: Sequence[Mapping[str, object]]) -> None:
        if records:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RecordBuffer, "release", die)  # The records are in the checkpoint, but not in the store.
        interrupt(configs, 7, alone=True)
    assert folder.numbers() == {}
    interrupt(from_elsewhere(folder, configs), 7, alone=True)
    assert folder.statuses() == ["KILLED"] * 2
    assert len(folder.numbers()) > 0
    folder.train(configs, alone=True)
    assert "resume: continuing from the checkpoint" in folder.said
    assert folder.statuses() == ["FINISHED"] * 2
    folder.numbers()


@pytest.mark.slow
def test_a_checkpoint_of_deleted_runs_is_not_resumed(folder: Folder, interrupt: Callable[..., None]) -> None:
    interrupt([folder.config()], 3)
    (record,) = folder.records()
    MlflowClient(folder.uri).delete_run(record.info.run_id)
    folder.train([folder.config()])
    assert "cannot be used (1 run no longer in the store)\nresume: starting over\n" in folder.said
    assert folder.statuses() == ["FINISHED"]


@pytest.mark.slow
def test_a_stopped_sweep_keeps_the_results_it_reused(folder: Folder, interrupt: Callable[..., None]) -> None:
    configs = stopped_after_a_reused_run(folder, interrupt)
    assert [run.status for run in folder.train(configs)] == ["FAILED", "FINISHED"]
    (summary,) = folder.records("sweep")
    assert summary.info.status == "FAILED"
    assert [record.data.tags["sweep"] for record in folder.records()] == [summary.info.run_id] * 2
    folder.train(configs)
    assert len(folder.records("sweep")) == 1
