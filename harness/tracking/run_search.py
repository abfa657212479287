"""Finds runs and sweeps in a tracking store by id, by signature or by age."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException

from harness.errors import ConfigError, require
from harness.formatting import listed
from harness.runtime.secrets import masked
from harness.tracking._compat_server_version import require_new_enough
from harness.tracking.client import client_of
from harness.tracking.foreign import fault
from harness.tracking.run_pages import PAGE, all_runs, experiment_ids, runs_by_id
from harness.tracking.run_tags import REPRODUCES
from harness.tracking.store_errors import reason
from harness.tracking.uri import sqlite_path

_FEW = 100
"""If an experiment has more runs than fit on a page, up to this many signatures are looked up one by one."""

LAST = "last"
"""Refers to the newest run, wherever a run is expected."""

_ID_PREFIX = re.compile("[0-9a-f]{1,31}")


class RunSearch:
    """Finds the runs of a tracking store.

    Attributes:
        uri: The store's URI.
        client: MLflow's client of the store.
    """

    def __init__(self, uri: str) -> None:
        """Connect to the store.

        Raises:
            ConfigError: There is no store at `uri`, or it is unreachable.
        """
        require_store(uri)
        self.uri = uri
        try:
            self.client = client_of(uri)
            self.client.search_experiments(max_results=1)
            require_new_enough(uri)
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"--uri: cannot open the tracking store {masked(uri)} ({reason(error)}).") from error

    def named(self, ids: Sequence[str]) -> tuple[list[Run], list[Run]]:
        """Return the runs with these ids, without duplicates, and the summary runs among them.

        Args:
            ids: Runs or sweeps as in `full_id`; a sweep is replaced by its runs. An empty list means the newest sweep.

        Raises:
            ConfigError: A run does not exist, or there is no sweep.
        """
        found: dict[str, Run] = {}
        sweeps = []
        ids = [self.full_id(word) for word in ids] or [self.newest_sweep()]
        by_id = self.by_id(ids)
        for run_id in ids:
            run = by_id.get(run_id)
            if run is None:
                raise ConfigError(f"No run or sweep with the id {run_id} in {masked(self.uri)}.")
            kind = run.data.tags.get("kind")
            require(kind in ("run", "sweep"), f"Run {run_id} was not recorded by the harness.")
            sweeps += [run] if kind == "sweep" else []
            members = self._members(run) if kind == "sweep" else [run]
            found |= {member.info.run_id: member for member in members}
        return list(found.values()), sweeps

    def full_id(self, word: str) -> str:
        """Return the id that `word` refers to: a unique prefix of a run's id, or `last`, the newest run.

        A word that is not a prefix of any id is returned unchanged.

        Raises:
            ConfigError: Several ids begin with `word`, or there is no newest run.
        """
        if word == LAST:
            newest = self.newest_runs(1)
            require(bool(newest), f"No runs found in {masked(self.uri)}. Run `harness train` first.")
            return newest[0].info.run_id
        if not _ID_PREFIX.fullmatch(word):
            return word
        condition = f"attributes.run_id LIKE '{word}%'"
        found = self.client.search_runs(experiment_ids(self.client), condition, max_results=4)
        names = [f"{run.info.run_id[: len(word) + 4]} ({run.info.run_name})" for run in found]
        require(len(found) < 2, f"Several ids begin with {word}: {listed(names, 3)}.")
        return found[0].info.run_id if found else word

    def newest_runs(self, limit: int) -> list[Run]:
        """Return the newest runs, without summary runs, at most `limit`, newest first."""
        return self._newest("run", limit)

    def run(self, run_id: str) -> Run:
        """Return a run.

        Raises:
            ConfigError: The run does not exist, or it is a sweep.
        """
        runs, sweeps = self.named([run_id])
        require(not sweeps, f"{run_id} is a sweep, not a run. `harness compare {run_id}` lists its runs.")
        return runs[0]

    def by_id(self, ids: Sequence[str]) -> dict[str, Run]:
        """Return the runs that exist among those with these ids, including deleted ones."""
        if len(ids) == 1:
            with contextlib.suppress(MlflowException):
                return {ids[0]: self.client.get_run(ids[0])}
            return {}
        return runs_by_id(self.client, ids, which=ViewType.ALL)

    def sweeps(self, limit: int) -> Iterator[tuple[Run, list[Run]]]:
        """Yield the summary run and the runs of each of the newest sweeps."""
        for summary in self.newest_sweeps(limit):
            yield summary, [run for run in self._members(summary) if not fault(run)]

    def newest_sweeps(self, limit: int) -> list[Run]:
        """Return the newest summary runs, at most `limit`, newest first."""
        return self._newest("sweep", limit)

    def newest_sweep(self) -> str:
        """Return the id of the newest summary run.

        Raises:
            ConfigError: There are no sweeps.
        """
        newest = self.newest_sweeps(1)
        require(
            bool(newest),
            f"No sweeps found in {masked(self.uri)}. Run `harness train -m ...` first, or name a run that "
            "`harness runs` lists.",
        )
        return newest[0].info.run_id

    def experiment(self, run: Run) -> str:
        """Return the name of a run's experiment."""
        return self.client.get_experiment(run.info.experiment_id).name

    def experiment_id(self, name: str) -> str:
        """Return the id of an experiment, or an empty string if it does not exist."""
        found = self.client.get_experiment_by_name(name)
        return found.experiment_id if found else ""

    @property
    def artifacts(self) -> Path | None:
        """The artifact folder next to a local store; None for other stores."""
        path = sqlite_path(self.uri)
        return (path.parent / "mlartifacts").resolve() if path else None

    def discarded(self) -> Iterator[tuple[Run, list[str]]]:
        """Yield failed and deleted runs, with the addresses of their artifacts and models.

        Diverged runs do not count as failed, since the divergence is their result.
        """
        experiments = experiment_ids(self.client, ViewType.ALL)
        failed = "tags.kind = 'run' AND attributes.status = 'FAILED'"
        found = [run for run in all_runs(self.client, experiments, failed) if "diverged_at" not in run.data.tags]
        for run in [*found, *all_runs(self.client, experiments, "", which=ViewType.DELETED_ONLY)]:
            models = run.outputs.model_outputs if run.outputs else []
            locations = [self.client.get_logged_model(model.model_id).artifact_location for model in models]
            yield run, [run.info.artifact_uri or "", *locations]

    def runs_of(self, experiment_id: str) -> list[Run]:
        """Return all runs of an experiment, without summary runs, newest first."""
        return all_runs(self.client, [experiment_id], "tags.kind = 'run'")

    def of_signatures(self, experiment_id: str, signatures: Sequence[str]) -> dict[str, list[Run]]:
        """Return an experiment's runs by signature, newest first, except those that only reproduce another run."""
        wanted, condition = set(signatures), "tags.kind = 'run'"
        runs = self.client.search_runs([experiment_id], condition, max_results=PAGE)
        if runs.token and len(wanted) <= _FEW:
            conditions = [f"{condition} AND tags.signature = '{signature}'" for signature in wanted]
            runs = [run for each in conditions for run in all_runs(self.client, [experiment_id], each)]
        elif runs.token:
            runs = self.runs_of(experiment_id)
        found: dict[str, list[Run]] = {}
        for run in sorted(runs, key=lambda run: -run.info.start_time):
            if (signature := run.data.tags.get("signature", "")) in wanted and REPRODUCES not in run.data.tags:
                found.setdefault(signature, []).append(run)
        return found

    def sweep_of_signature(self, experiment_id: str, signature: str) -> Run | None:
        """Return the newest summary run of a sweep with this signature."""
        condition = f"tags.kind = 'sweep' AND tags.signature = '{signature}'"
        return next(iter(self.client.search_runs([experiment_id], condition, max_results=1)), None)

    def running(self, experiment_id: str) -> list[Run]:
        """Return an experiment's runs and summary runs that have not ended."""
        runs = all_runs(self.client, [experiment_id], "attributes.status = 'RUNNING'")
        return [run for run in runs if run.data.tags.get("kind") in ("run", "sweep")]

    def _members(self, sweep: Run) -> list[Run]:
        condition = f"tags.sweep LIKE '%{sweep.info.run_id}%'"
        return all_runs(self.client, [sweep.info.experiment_id], condition, "attributes.start_time ASC")

    def _newest(self, kind: str, limit: int) -> list[Run]:
        condition, order = f"tags.kind = '{kind}'", ["attributes.start_time DESC"]
        return list(self.client.search_runs(experiment_ids(self.client), condition, order_by=order, max_results=limit))


def require_store(uri: str) -> None:
    """Raise `ConfigError` if `uri` names a local store that does not exist."""
    path = sqlite_path(uri)
    require(path is None or path.is_file(), f"No tracking store at {path}. Run `harness train` first, or pass --uri.")
