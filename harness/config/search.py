"""How a sweep with intervals searches; these settings are not part of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from harness.config.limits import MOST_EPOCHS, SEEDS, require_number, require_whole, shown
from harness.errors import require


class Prior(Enum):
    """The results that a search learns from when it starts."""

    experiment = "experiment"


class Sampler(Enum):
    """Where trials come from, and whether poor trials end early."""

    sobol = "sobol"
    halving = "halving"
    tpe = "tpe"


@dataclass
class SearchConfig:
    """How a sweep with an interval, such as `learning_rate=tag(log,interval(1e-4,1))`, chooses its trials.

    Attributes:
        name: `sobol` spreads trials evenly over the intervals and trains all of them to completion; `halving` starts
            from the same trials, and trains the better ones for longer; `tpe` proposes trials in four generations, each
            from the results of those before, and trains all of them to completion. `tpe` needs the extra of the same
            name (`pip install 'harness[tpe]'`).
        trials: Number of trials, divided equally among the choices of `each` and rounded down. None means 27 for each
            choice, or as many as `lane_epochs` allows.
        lane_epochs: Limit on the total number of epochs of all trials, not counting `confirm`.
        minutes: Limit on the total time of all trials, not counting `confirm`. Trials then come in generations of 27
            for each choice (`tpe`: 7), as long as another generation is expected to fit; the first is always trained.
            The decisions are recorded, so that a repeated or resumed search arrives at the same trials.
        eta: `halving` keeps the best `1/eta` of the trials at each rung.
        rungs: Epochs after which `halving` compares the trials; None means `epochs` divided by `eta`, `eta`², and so
            on, as long as trials remain to be dropped.
        seed: Seed of the trials.
        each: Keys for which each value gets its own trials and rungs.
        prior: `experiment` lets `tpe` also learn from the finished runs of the experiment that differ from the trials
            only in what is searched; these are recorded when the search starts. None ignores such runs.
        confirm: How many of the best trials of each choice to retrain (`top`), and with how many other seeds (`seeds`);
            null skips this step.
    """

    name: Sampler = Sampler.halving
    trials: int | None = None
    minutes: float | None = None
    lane_epochs: int | None = None
    eta: int = 3
    rungs: list[int] | None = None
    seed: int = 0
    each: Any = "chunksize"
    prior: Prior | None = None
    confirm: dict[str, int] | None = field(default_factory=lambda: {"top": 2, "seeds": 5})

    def __post_init__(self) -> None:
        require_whole("search.trials", self.trials, 1, 10**6, optional=True)
        if self.minutes is not None:
            require_number("search.minutes", self.minutes, 0, 10**6)
            is_only = self.lane_epochs is None
            require(is_only, "search.minutes and search.lane_epochs both limit the effort; set only one of them.")
        require_whole("search.lane_epochs", self.lane_epochs, 1, 10**12, optional=True)
        require_whole("search.eta", self.eta, 2, 1000)
        require_whole("search.seed", self.seed, *SEEDS)
        for rung in self.rungs or []:
            require_whole("search.rungs", rung, 1, MOST_EPOCHS)
        ascends = self.rungs is None or (bool(self.rungs) and self.rungs == sorted(set(self.rungs)))
        require(ascends, f"search.rungs must be epochs in ascending order, such as [1,3,9], not {shown(self.rungs)}.")
        can_prune = self.rungs is None or self.name is Sampler.halving
        require(can_prune, f"search.rungs has no effect with search={self.name.value}; use search=halving.")
        learns = self.prior is None or self.name is Sampler.tpe
        require(learns, f"search.prior has no effect with search={self.name.value}; use search=tpe.")
        is_keys = isinstance(self.each, str) or (
            isinstance(self.each, list) and all(isinstance(key, str) for key in self.each)
        )
        require(is_keys, f"search.each must be a key or a list of keys, not {shown(self.each)}.")
        if self.confirm is not None:
            odd = sorted({"top", "seeds"} ^ self.confirm.keys())
            require(not odd, f"search.confirm must be null or have the keys top and seeds; check {', '.join(odd)}.")
            for key, value in self.confirm.items():
                require_whole(f"search.confirm.{key}", value, 1, 1000)
