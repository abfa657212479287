"""Finds runs and sweeps by their signature, and those that have not ended."""

from __future__ import annotations

from collections.abc import Sequence

from mlflow.entities import Run

from harness.tracking.run_search import PAGE, RunSearch

REPRODUCES = "reproduces"
"""Tag of a run that only checks whether another one can be reproduced."""

_FEW = 100
"""So many signatures are searched for one by one, where there are more runs than fit on a page."""


class SignatureSearch(RunSearch):
    """Finds what an experiment already has of a sweep."""

    def of_signatures(self, experiment_id: str, signatures: Sequence[str]) -> dict[str, list[Run]]:
        """Return an experiment's runs by signature, newest first, without those that only reproduce another run."""
        found: dict[str, list[Run]] = {}
        wanted, condition = set(signatures), "tags.kind = 'run'"
        page = self.client.search_runs([experiment_id], condition, max_results=PAGE)
        if page.token and len(wanted) <= _FEW:
            runs = [
                run
                for signature in wanted
                for run in self.all([experiment_id], f"{condition} AND tags.signature = '{signature}'")
            ]
        else:
            runs = self.all([experiment_id], condition) if page.token else page
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
        runs = self.all([experiment_id], "attributes.status = 'RUNNING'")
        return [run for run in runs if run.data.tags.get("kind") in ("run", "sweep")]
