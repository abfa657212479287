"""Which lanes halving ends; this does not depend on which trials are trained here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from harness.training.events import Ending, EpochEnd
from harness.training.halving import BracketPlan, Halving
from harness.training.stopper import Patience, PatienceRule

NOTHING = (np.zeros(0), np.zeros(0))
# Two groups of six; the second's values are all better than the first's.
VALUES = {trial: [10.0 - trial, 9.0 - trial] for trial in range(6)} | {
    trial: [1.0 / trial] * 2 for trial in range(6, 12)
}


def end(lane: int, epoch: int, value: float) -> EpochEnd:
    return EpochEnd(lane, epoch, epoch, 0.0, {"val/loss": value} if np.isfinite(value) else {}, 0.0, NOTHING)


def plan(lanes: list[int], known: dict[int, list[float | None]] | None = None) -> BracketPlan:
    groups = [list(range(6)), list(range(6, 12))]
    return BracketPlan("val/loss", 2, (1, 2), groups, lanes, list((known or {}).items()))


def ended(halving: Halving, lanes: list[int], values: dict[int, list[float]], **also: int) -> dict[int, int]:
    """Return the epoch after which each trial was pruned, restoring the state after each."""
    left, found = dict(enumerate(lanes)), {}
    for epoch in (1, 2):
        ends = [end(lane, epoch, values[trial][epoch - 1]) for lane, trial in left.items()]
        for lane, ending in halving.leaving(ends).items():
            assert ending is Ending.pruned
            found[left.pop(lane)] = epoch
        state = halving.state()
        halving.restore(state)
    return found


def test_each_group_keeps_its_own_best() -> None:
    everyone = list(range(12))
    found = ended(Halving(plan(everyone)), everyone, VALUES)
    assert found == {0: 1, 1: 1, 2: 1, 6: 1, 7: 1, 8: 1, 3: 2, 4: 2, 9: 2, 10: 2}


def test_what_is_known_of_others_counts_as_if_they_trained_here() -> None:
    everyone = list(range(12))
    whole = ended(Halving(plan(everyone)), everyone, VALUES)
    here = [0, 3, 5, 8, 11]
    known: dict[int, list[float | None]] = {
        trial: [value if whole.get(trial, 3) >= epoch else None for epoch, value in enumerate(VALUES[trial], 1)]
        for trial in everyone
        if trial not in here
    }
    assert ended(Halving(plan(here, known)), here, VALUES) == {t: e for t, e in whole.items() if t in here}
    # A trial that another sweep has trained to completion is compared, but is out once it has lost.
    known[1] = [*VALUES[1]]
    assert ended(Halving(plan(here, known)), here, VALUES) == {t: e for t, e in whole.items() if t in here}


def test_ties_go_to_the_earlier_and_what_is_not_finite_loses() -> None:
    values = {trial: [1.0, 1.0] for trial in range(12)} | {0: [float("nan")] * 2}
    found = ended(Halving(plan(list(range(12)))), list(range(12)), values)
    assert [trial for trial in range(6) if trial not in found] == [1]


def test_a_diverged_lane_takes_no_place() -> None:
    halving, lanes = Halving(plan(list(range(6)))), range(6)
    halving.leaving([end(lane, 1, VALUES[lane][0]) for lane in lanes])
    # Lane 5, the best, emits no further events.
    assert halving.leaving([end(lane, 2, VALUES[lane][1]) for lane in (3, 4)]) == {3: Ending.pruned}


def test_a_lane_that_stopped_improving_keeps_its_place() -> None:
    halving = Halving(plan(list(range(6))), Patience({5: PatienceRule("val/loss", 1)}))
    first = halving.leaving([end(lane, 1, VALUES[lane][0]) for lane in range(6)])
    assert [*first] == [0, 1, 2]
    second = halving.leaving([end(3, 2, 5.0), end(4, 2, 4.5), end(5, 2, 5.0)])
    assert second == {5: Ending.stopped, 3: Ending.pruned}  # Its last value is worse than that of lane 4.


def test_any_other_stopper_may_end_lanes_too() -> None:
    class First:
        def leaving(self, ends: Sequence[EpochEnd]) -> Mapping[int, Ending]:
            return {end.lane: Ending.stopped for end in ends if end.lane == 0}

        def state(self) -> dict[str, np.ndarray]:
            return {}

        def restore(self, state: Mapping[str, np.ndarray]) -> None:
            assert not state

    halving, again = (Halving(plan(list(range(6))), First()) for _ in range(2))
    first = halving.leaving([end(lane, 1, VALUES[lane][0]) for lane in range(6)])
    assert first == {0: Ending.stopped, 1: Ending.pruned, 2: Ending.pruned}
    again.restore(halving.state())
    assert again.leaving([end(lane, 2, VALUES[lane][1]) for lane in (3, 4, 5)]) == dict.fromkeys((3, 4), Ending.pruned)


def test_a_state_of_another_search_is_refused() -> None:
    state = Halving(plan(list(range(6)))).state()
    with pytest.raises(ValueError, match="shape"):
        Halving(BracketPlan("val/loss", 2, (1,), [[0, 1]], [0, 1])).restore(state)
    with pytest.raises(ValueError, match="another search"):
        Halving(plan([0]), Patience({0: PatienceRule("val/loss", 1)})).restore(state)
