"""The colours of runs, the same in MLflow's charts and in figures."""

from __future__ import annotations

import math

FULL_COLOUR = "#D55E00"
"""Full-sample runs: the vermilion of Okabe and Ito's palette, which colour-blind people can tell from any blue."""

_SHADES = ("A9DDB8", "7ACFC4", "4DB8DC", "1C74C4", "1E469C", "1B2A70", "131549", "07071F")
"""Chunks of 1, 10, 100 and so on up to 10 million rows: from green through blue to black, each darker than the last."""


def colour(chunksize: str) -> str:
    """Return the colour for runs with this chunksize; longer chunks are darker.

    The colour depends only on the chunksize, on a logarithmic scale, so it is the same in all sweeps.
    """
    if chunksize == "full":
        return FULL_COLOUR
    position = min(math.log10(int(chunksize)), len(_SHADES) - 1)
    start = min(int(position), len(_SHADES) - 2)
    mixed = (
        round(low + (position - start) * (high - low))
        for low, high in zip(*(bytes.fromhex(shade) for shade in _SHADES[start : start + 2]), strict=True)
    )
    return "#" + "".join(f"{channel:02X}" for channel in mixed)
