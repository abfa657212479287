"""Tags that record how a run ended, shared by the modules that write and read them."""

from __future__ import annotations

from collections.abc import Mapping

STOPPED = "stopped_at"
"""The epoch after which a run ended early because it had stopped improving."""

PRUNED = "pruned_at"
"""The epoch after which a search pruned a run, whose status is then `KILLED`."""

EFFORT = "search_effort"
"""On a summary run: how its runs were tuned, as text."""

TRIAL_SEED = "search_seed"
"""On a summary run: the seed of a search's trials, if the best of them are retrained with other seeds."""

SPENT = "search_spent"
"""On a summary run: the seconds that a search with `search.minutes` had spent whenever it continued, then `over`."""

METRIC = "objective.metric"
"""On a summary run: the configured deciding metric; empty for the default.

On a run, this is the name of a param instead.
"""

SEARCH = "search"
"""On a pruned run and on a summary run: the signature of the search."""

RESTORED_EPOCH = "restored_epoch"
"""The epoch whose model a run kept; set only if it need not be the last epoch."""

REPRODUCES = "reproduces"
"""Tag of a run that was trained only to reproduce another one; its value is the other run's id."""


def sweeps_of(tags: Mapping[str, str]) -> list[str]:
    """Return the ids of the summary runs to which a run belongs, given its tags."""
    return [sweep for sweep in tags.get("sweep", "").split(",") if sweep]
