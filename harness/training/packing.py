"""Moves the remaining lanes into fewer tiles, since an update of a tile takes the same time however full it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.training.tile import Tile


def pack(tiles: Iterable[Tile], epoch: int) -> None:
    """Move the lanes that train in `epoch` if fewer tiles can hold them; call this just before that epoch.

    Results stay bit-identical, because they do not depend on a lane's tile or its position.
    """
    for cohort in _cohorts(tiles):
        left = {tile: lanes for tile in cohort if (lanes := tile.active(epoch))}
        lanes = sum(map(len, left.values()))
        enough = -(-lanes // cohort[0].length)
        fullest = sorted(left, key=lambda tile: -len(left[tile]))
        moving = [(tile, lane) for tile in fullest[enough:] for lane in left[tile]]
        for tile in fullest[:enough] if moving else ():
            some = moving[: tile.length - len(left[tile])]
            tile.take(some, epoch)
            moving = moving[len(some) :]


def require_one_place(tiles: Iterable[Tile]) -> None:
    """Raise `ValueError` if a lane is in several tiles, where packing would never put it."""
    for cohort in _cohorts(tiles):
        lanes = [lane for tile in cohort for lane in tile.positions]
        if len(lanes) > len(set(lanes)):
            raise ValueError("it contains a lane twice")


def _cohorts(tiles: Iterable[Tile]) -> list[Sequence[Tile]]:
    """Return the tiles of each cohort."""
    found: dict[int, list[Tile]] = {}
    for tile in tiles:
        found.setdefault(tile.spec.cohort, []).append(tile)
    return list(found.values())
