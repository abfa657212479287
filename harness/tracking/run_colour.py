"""The colors of runs, the same in MLflow's charts and in figures."""

from __future__ import annotations

import math

FULL_COLOUR = "#D55E00"
"""Full-sample runs: the vermilion of Okabe and Ito's palette, which color-blind people can distinguish from blues."""

_HUES = ("57A27D", "849391", "8C7DAD", "437AD9", "8657EF", "991FFD", "B305D3", "B200B9")
"""Chunks of 1, 10, 100 and so on up to 10 million rows; the colors of others are mixed.

All colors have a contrast of at least 3 to 1 with MLflow's light and dark pages, each is a little darker than the last,
and color-blind people can tell neighbors apart, as well as chunks of 32 and 256 rows.
"""


def colour(chunksize: str) -> str:
    """Return the color for runs with this chunksize.

    The color depends only on the chunksize, on a logarithmic scale, so it is the same in all sweeps.
    """
    if chunksize == "full":
        return FULL_COLOUR
    position = min(math.log10(int(chunksize)), len(_HUES) - 1)
    start = min(int(position), len(_HUES) - 2)
    mixed = (
        round(low + (position - start) * (high - low))
        for low, high in zip(*(bytes.fromhex(shade) for shade in _HUES[start : start + 2]), strict=True)
    )
    return "#" + "".join(f"{channel:02X}" for channel in mixed)
