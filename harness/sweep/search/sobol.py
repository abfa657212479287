"""Points of a Sobol sequence, which cover a space more evenly than random points."""

from __future__ import annotations


def sobol(dimensions: int, points: int, seed: int) -> list[list[float]]:
    """Return the first points of a scrambled Sobol sequence, each with a coordinate in [0, 1) per dimension.

    Longer sequences begin with the same points. Source: `scipy.stats.qmc.Sobol`.
    """
    if not dimensions:
        return [[] for _ in range(points)]
    from scipy.stats import qmc  # SciPy takes a second to import.

    # Draw a power of two, because SciPy warns about other sizes.
    drawn = qmc.Sobol(dimensions, rng=seed).random_base2(max(points - 1, 0).bit_length())
    return drawn[:points].tolist()
