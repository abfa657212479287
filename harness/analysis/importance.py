"""Which of several swept keys matter: permutation importance, computed by scikit-learn over the finished runs."""

# pandas declares wider types than these calls return.
# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from harness.analysis import figure_style as style
from harness.analysis.swept import LEAST_KEYS, key_name, ordered_levels, swept
from harness.formatting import count
from harness.tracking.frames import Sweep

LEAST_RUNS = 8
"""With fewer settings, the importance of three keys cannot be estimated."""

TREES, SHUFFLES = 64, 10


@dataclass(frozen=True)
class Importance:
    """The importance of the swept keys.

    Attributes:
        shares: The share of each key in the sum of all importances, the most important key first.
        explained: Coefficient of determination of the predicted ranks of runs that the forest was not fitted to.
        settings: Number of settings.
    """

    shares: dict[str, float]
    explained: float
    settings: int


def importance(sweep: Sweep, least_keys: int = LEAST_KEYS) -> Importance | None:
    """Measure how much worse the ranks of settings are predicted if the values of one key are shuffled.

    A random forest predicts the rank of each setting by the deciding metric; it predicts ranks rather than values so
    that a few bad runs do not dominate. The importance of a key is the decrease in the coefficient of determination.

    Args:
        sweep: The sweep, of which only finished runs count.
        least_keys: Minimum number of swept keys.

    Returns:
        None if there are too few keys or settings, or if the keys do not explain the results better than their mean
        does.
    """
    data = swept(sweep)
    levels = data.levels
    if len(levels.columns) < least_keys or len(levels) < LEAST_RUNS or data.values.nunique() < 2:
        return None
    # These take almost a second to import, and only a few sweeps need them.
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    codes = np.array([levels[key].map(ordered_levels(levels[key]).index) for key in levels]).T
    ranks = data.costs.rank().to_numpy()
    forest = RandomForestRegressor(TREES, oob_score=True, random_state=0).fit(codes, ranks)
    drops = permutation_importance(forest, codes, ranks, n_repeats=SHUFFLES, random_state=0)["importances_mean"]
    drops = np.maximum(drops, 0)
    if forest.oob_score_ <= 0 or not drops.any():
        return None
    shares = dict(zip(levels, (drops / drops.sum()).tolist(), strict=True))
    ordered = dict(sorted(shares.items(), key=lambda item: -item[1]))
    return Importance(ordered, float(forest.oob_score_), len(levels))


def importance_bars(sweep: Sweep, least_keys: int = LEAST_KEYS) -> Figure | None:
    """Draw a bar chart of the importance of each swept key; see `importance`."""
    found = importance(sweep, least_keys)
    if found is None:
        return None
    names = [key_name(key) for key in found.shares]
    shares = list(found.shares.values())
    longest = max(map(len, names)) * 0.075 + 0.3
    width, height = 7.5, 1.0 + 0.3 * len(names)
    figure, (axis,) = style.panels(1, width, height)
    figure.subplots_adjust(left=longest / width)
    bars = axis.barh(range(len(names)), shares, height=0.62, color=style.ACCENT)
    axis.bar_label(bars, [f"{share:.0%}" for share in shares], padding=3, fontsize=8)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set_xlim(0, max(shares) * 1.12)
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("share of the total importance")
    title = f"{count(found.settings, 'setting')}; the keys explain {found.explained:.0%} of their ranking"
    axis.set_title(title, fontsize=10)
    return figure
