"""Continues from a checkpoint if it matches the runs and the store has everything recorded by then."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlflow.entities import LifecycleStage
from mlflow.entities import Run as Record

from harness.config.metrics import TEST
from harness.errors import ConfigError
from harness.formatting import count
from harness.sweep.checkpoint import Saved
from harness.sweep.checkpoint_facts import Facts
from harness.sweep.identity import TILE
from harness.sweep.plan import Run
from harness.sweep.recorder import Recorder
from harness.sweep.run_fields import ALONE
from harness.sweep.run_locks import RunLocks
from harness.sweep.scan_loop import ScanLoop
from harness.tracking.point_ledger import is_complete
from harness.tracking.reader import RunReader
from harness.tracking.tracker import Tracker
from harness.training.saved_state import arrays_under


class UnusableCheckpoint(Exception):
    """A checkpoint is intact, but training cannot continue from it; the message says why."""


@dataclass(frozen=True)
class Store:
    """An open tracking store, and the claims on its runs."""

    recorder: Recorder
    tracker: Tracker
    reader: RunReader
    locks: RunLocks


def runs_to_train(facts: Facts, runs: Sequence[Run]) -> list[Run]:
    """Return the `runs` that are in a checkpoint; raises `UnusableCheckpoint` if it has other runs."""
    by_signature, states = {run.signature: run for run in runs}, facts["recorder"]["runs"]
    wanted = dict.fromkeys(facts["runs"])
    if len(wanted) < len(facts["runs"]) or not wanted.keys() <= by_signature.keys() & states.keys():
        raise UnusableCheckpoint("it is for other runs")
    ids = {run_id for state in states.values() for run_id in (state["run_id"], *state["sweeps"])}
    if not {record["run"] for record in facts["records"]} | facts["points"].keys() <= ids:
        raise UnusableCheckpoint("it has records of other runs")
    return [by_signature[signature] for signature in wanted]


def restore(saved: Saved, loop: ScanLoop, runs: Sequence[Run], store: Store) -> int:
    """Restore the state of `runs` and of the `loop` that trains some of them; return the number of its next scan.

    Raises:
        UnusableCheckpoint: Training cannot continue from it; scans may be partly restored.
    """
    facts = saved.facts
    states = facts["recorder"]["runs"]
    known = [run for run in runs if run.signature in states and states[run.signature]["run_id"]]
    _records(known, facts, store)
    with _state_must_fit():
        number = loop.restore(saved)
    store.tracker.send_again(facts["records"])
    _require_all_recorded(_records(known, facts, store), facts, store)
    with _state_must_fit():
        store.recorder.restore(runs, facts["recorder"], arrays_under("kept/", saved.arrays))
    return number


def continue_recording(runs: Sequence[Run], store: Store) -> None:
    """Record the started runs among `runs` from the beginning, but skip what the store already has.

    Runs whose tile now has a different length get new records, since their numbers would differ.
    """
    ids = [run.run_id for run in runs if run.run_id]
    store.tracker.flush()  # This process may have recorded some of it.
    found = store.reader.by_id(ids) if ids else {}
    for run in runs:
        if run.run_id in found and not _has_tile(found[run.run_id], run):
            del found[run.run_id]
            run.run_id = ""
    ids = [run.run_id for run in runs if run.run_id]
    records = [*found.values()]
    store.tracker.points.restore(ids, {})
    for record, steps in zip(records, store.reader.steps(records), strict=True):
        store.tracker.set_recorded(record.info.run_id, record.data.params, steps)


def _has_tile(record: Record, run: Run) -> bool:
    """Return True unless a record's numbers come from a tile of another length."""
    tile = record.data.tags.get(TILE)
    return not (tile and run.cohort and record.data.metrics) or tile == run.cohort.tile_history


@contextlib.contextmanager
def _state_must_fit() -> Iterator[None]:
    """Raise `UnusableCheckpoint` if saved state does not match what is restored from it."""
    try:
        yield
    except ConfigError:
        raise  # The error is about the configuration, not the checkpoint.
    except (KeyError, ValueError) as error:
        raise UnusableCheckpoint(str(error)) from error


def _records(runs: Sequence[Run], facts: Facts, store: Store) -> Mapping[str, Record]:
    """Return the store's records of runs by signature; raises `UnusableCheckpoint` if one is missing."""
    ids = {run.signature: facts["recorder"]["runs"][run.signature]["run_id"] for run in runs}
    found = store.reader.by_id([*ids.values()]) if ids else {}
    of_run = {signature: found[run_id] for signature, run_id in ids.items() if run_id in found}
    records = {signature: record for signature, record in of_run.items() if is_of(record, signature)}
    if lost := len(ids.keys() - records.keys()):
        raise UnusableCheckpoint(f"{count(lost, 'run')} no longer in the store")
    return records


def is_of(record: Record, signature: str) -> bool:
    """Return True if a record belongs to a run with this signature and was not deleted."""
    is_deleted = record.info.lifecycle_stage != LifecycleStage.ACTIVE
    return record.data.tags.get("signature") == signature and not is_deleted


def _require_all_recorded(records: Mapping[str, Record], facts: Facts, store: Store) -> None:
    """Raise `UnusableCheckpoint` unless the store has everything that was recorded before a checkpoint."""
    states = facts["recorder"]["runs"]
    active = {signature: record for signature, record in records.items() if not states[signature]["status"]}
    ended = [states[signature]["status"] == records[signature].info.status for signature in records.keys() - active]
    steps = dict(zip(active, store.reader.steps([*active.values()]), strict=True))
    whole = [is_complete(facts["points"].get(record.info.run_id, {}), steps[key]) for key, record in active.items()]
    if lost := [*ended, *whole].count(False):
        raise UnusableCheckpoint(f"records of {count(lost, 'run')} are missing from the store")
    store.tracker.points.restore([record.info.run_id for record in records.values()], facts["points"])
    for signature, record in active.items():
        store.tracker.set_recorded(record.info.run_id, record.data.params, steps[signature])
    set_recorded_after_the_end([record for signature, record in records.items() if signature not in active], store)


def set_recorded_after_the_end(records: Sequence[Record], store: Store) -> None:
    """Leave out records of runs that have ended, and what the store already has."""
    keys = {record.info.run_id: _keys_after_the_end(record) for record in records}
    measured = [run_id for run_id, some in keys.items() if some]
    points = store.reader.histories(measured, sorted({*itertools.chain.from_iterable(keys.values())}))
    steps: dict[str, dict[str, set[int]]] = {run_id: {} for run_id in keys}
    for run_id, key, step in points[["run_id", "metric", "step"]].itertuples(index=False):
        steps[run_id].setdefault(key, set()).add(step)
    for record in records:
        store.tracker.set_recorded(record.info.run_id, record.data.params, steps[record.info.run_id])


def _keys_after_the_end(record: Record) -> list[str]:
    return [key for key in record.data.metrics if key == ALONE or key.startswith(TEST)]
