"""Records the summary run, report and best model of a sweep whose runs are trained and recorded by workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.config import LogModel
from harness.sweep.leaderboard import kept_weights
from harness.sweep.membership import Membership
from harness.sweep.plan import Run
from harness.sweep.recorder import Recorder


class DriverRecorder(Recorder):
    """The recorder of a driver."""

    def membership(self, runs: Sequence[Run]) -> Membership:
        """Return what a worker needs to know about the sweep."""
        return Membership(self.sweep_id, self._leaderboard.rules_for(runs))

    def add(self, runs: Sequence[Run]) -> None:
        """Add runs, some of which may have ended, so that all of them count in the sweep's results."""
        self._add(runs)

    def expect(self, runs: Sequence[Run]) -> None:
        """Record that workers are about to train the `runs` that have not ended."""
        assert self._summary
        self._summary.monitor()
        self.has_changed = True
        self._log_code_once(runs)
        if any(run.config.tracking.log_model is LogModel.best for run in runs):
            self._tracker.prepare_models()

    def has_trained(self, *, except_for: Sequence[Run]) -> bool:
        """Return True if other runs have been trained in this sweep, perhaps by an earlier driver."""
        others = [run for run in self._leaderboard.runs if run not in except_for]
        return any(run.status and not run.is_reused for run in others)

    def adopt(self, runs: Sequence[Run], facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Take over a worker's results for `runs` from the state of its recorder.

        Raises:
            ValueError: The weights do not match a run's model.
            KeyError: Something is missing.
        """
        assert self._summary
        self._models.check(kept_weights(runs, facts, arrays))
        self._leaderboard.adopt(runs, facts, arrays)
        self._add_ended(runs)  # An earlier driver may have had another summary run.
        self._summary.add_seconds(facts["seconds"])
