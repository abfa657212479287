"""Groups lanes into cohorts, which share compiled loops, and divides cohorts into tiles, each updated by one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import pairwise

import numpy as np

from harness.data.blocks import SLICE_ROWS, Blocks
from harness.errors import ConfigError
from harness.training.call_memory import CallMemory
from harness.training.cohort import Cohort, TileOptions
from harness.training.compilations import Compilation, compilation
from harness.training.early import early_updates
from harness.training.encoding import Encoding
from harness.training.events import Failed
from harness.training.lane import Lane
from harness.training.lanes import Recipe, Stack
from harness.training.saved_state import State, numbers
from harness.training.tile import Tile
from harness.training.tile_kind import kind_of_updates
from harness.training.tile_length import LONGEST_EVER, longest_tile, smaller, tile_length
from harness.training.trained_tile import TileSpec
from harness.training.update_memory import UpdateMemory

MeasuredTile = Callable[[str], int | None]
"""Returns the tile that was measured to be the fastest for a kind of updates; None if none was measured."""


def idle_cores(cohorts: Sequence[Cohort], threads: int, cores: int) -> str:
    """Return a sentence if cores are idle while TensorFlow runs tiles operation by operation, else an empty string.

    Tiles are updated in parallel. More threads per operation are never chosen automatically, because they change
    rounding, and results would then depend on the number of lanes and cores.
    """
    tiles = sum(cohort.tiles for cohort in cohorts)
    is_graph = any(cohort.strategy.compiler == "graph" for cohort in cohorts)
    if not is_graph or threads > 1 or tiles > cores // 2:
        return ""
    lanes = "the only lane keeps" if tiles == 1 else f"{tiles} lanes keep"
    return (
        f"{lanes} {tiles} of {cores} cores busy; runtime.threads={cores // tiles} uses all of them, and changes "
        f"rounding"
    )


@dataclass
class Arrangement:
    """The cohorts and tiles of a scan, and the layout of its blocks.

    Attributes:
        cohorts: The cohorts.
        specs: What the tiles of each cohort have in common.
        tiles: The tiles of all cohorts.
        stacks: The stacks, by recipe.
        rejected: Lanes whose models could not be built.
        failures: The same lanes, and those whose state could not be built.
        reach: Rows of the longest chunk computed in one step.
    """

    cohorts: list[Cohort] = field(default_factory=list)
    specs: list[TileSpec] = field(default_factory=list)
    tiles: list[Tile] = field(default_factory=list)
    stacks: dict[Recipe, Stack] = field(default_factory=dict)
    rejected: list[Failed] = field(default_factory=list)
    failures: list[Failed] = field(default_factory=list)
    reach: int = 0

    @property
    def slice_rows(self) -> int:
        """Rows of the longest slice; blocks consist of whole slices."""
        return max([stack.strategy.slice_rows for stack in self.stacks.values()], default=SLICE_ROWS)

    @property
    def overlap(self) -> int:
        """Rows of the previous block to repeat, so that every slice and single-step chunk is complete."""
        return max(self.slice_rows, self.reach)

    def build(self) -> None:
        """Build the tiles of all cohorts: the models and the state of their lanes."""
        self.tiles, self.failures = [], [*self.rejected]
        for cohort, spec in zip(self.cohorts, self.specs, strict=True):
            lanes, length = cohort.lanes, cohort.tile
            try:
                starts = range(0, len(lanes), length)
                self.tiles += [Tile(spec, lanes[start : start + length], length) for start in starts]
            except ConfigError:
                raise
            except Exception as error:
                self.failures += [Failed.of(index, error) for index in lanes]
        for stack in self.stacks.values():
            stack.drop_initial_models()

    def shrink(self, number: int, updates: int | None = None) -> Mapping[Tile, Sequence[Tile]]:
        """Replace the tiles of a cohort with smaller ones; return these, keyed by the tile that they replace.

        `updates` is the number of updates made before this; None means that of the most advanced tile.
        """
        mine = [tile for tile in self.tiles if tile.spec.cohort == number]
        updates = max((tile.updates for tile in mine), default=0) if updates is None else updates
        self.cohorts[number] = self.cohorts[number].shrunk(updates)
        parts = {tile: tile.parts(self.cohorts[number].tile) for tile in mine}
        self.tiles = [part for tile in self.tiles for part in parts.get(tile, [tile])]
        return parts

    def state(self) -> dict[str, np.ndarray]:
        """Return the lengths of the tiles of each cohort so far: `[number, length, updates]`, the current one last."""
        rows = [
            [number, length, updates]
            for number, cohort in enumerate(self.cohorts)
            for length, updates in (*cohort.earlier, (cohort.tile, 0))
        ]
        return {"tiles": np.array(rows, np.int64).reshape(-1, 3)}

    def restore(self, state: State) -> bool:
        """Before any update, divide the lanes as they were divided when the state was saved.

        Returns:
            Whether tiles were replaced.

        Raises:
            ValueError: The state belongs to other lanes.
        """
        rows = numbers(state, "tiles", [None, 3], 0, 1 << 62).tolist()
        found = [[tuple(row[1:]) for row in rows if row[0] == number] for number in range(len(self.cohorts))]
        for cohort, lengths in zip(self.cohorts, found, strict=True):
            chain = [length for length, _ in lengths]
            is_chain = bool(chain) and all(before > 1 and after == smaller(before) for before, after in pairwise(chain))
            if not is_chain or not 0 < chain[0] <= LONGEST_EVER or (cohort.is_fixed and chain != [cohort.tile]):
                raise ValueError("it has tiles of other lanes")
        if sum(map(len, found)) != len(rows):
            raise ValueError("it belongs to other lanes")
        first = [lengths[0][0] for lengths in found]
        if is_new := [cohort.tile for cohort in self.cohorts] != first:
            self.cohorts = [cohort.with_tile(tile) for cohort, tile in zip(self.cohorts, first, strict=True)]
            self.build()
        for number, lengths in enumerate(found):
            for _, updates in lengths[:-1]:
                self.shrink(number, updates)
        return is_new


def form_cohorts(
    lanes: Sequence[Lane],
    train: Blocks,
    holdout: Blocks,
    encoding: Encoding,
    device: str,
    *,
    device_bytes: int,
    tile: int | None,
    measured: MeasuredTile,
    gram: bool,
    curve_points: int,
    early: bool,
) -> Arrangement:
    """Build a model for each recipe, and form cohorts: small chunks first, as they are slowest; no tiles yet.

    The arguments are those of `harness.training.trainer.Scan`.

    Raises:
        ConfigError: A model cannot be trained as configured. Any other error while building one becomes a failure.
    """
    found = Arrangement()

    cohorts: dict[tuple[int, Recipe], list[int]] = {}
    for index, lane in enumerate(lanes):
        cohorts.setdefault((lane.chunk, lane.recipe), []).append(index)

    @cache
    def parts(recipe: Recipe) -> tuple[Compilation, UpdateMemory, int, int]:
        compiled = compilation(recipe, encoding, device, lanes=tile or 1)
        stack = found.stacks[recipe] = compiled.stack
        memory = UpdateMemory.of(stack, train.targets)
        step_rows = min(max(chunk for chunk, other in cohorts if other == recipe), stack.whole_rows)
        longest = longest_tile(stack, memory, device_bytes, step_rows)
        lanes = max(len(members) for (_, other), members in cohorts.items() if other == recipe)
        return compiled, memory, longest, tile_length(stack, device=device, longest=longest, lanes=lanes)

    shares = len(cohorts) > 1
    for (chunk, recipe), members in sorted(cohorts.items(), key=lambda item: item[0][0]):
        try:
            compiled, memory, longest, default = parts(recipe)
            stack, loop = compiled.stack, compiled.loop(chunk, train.rows, gram=gram)
            limit = stack.whole_rows if chunk <= stack.whole_rows else stack.strategy.slice_rows
            found.reach = max(found.reach, min(chunk, limit))
            members.sort(key=lambda index: -lanes[index].stops[-1])
            step_rows = 0 if loop.gram_source else min(chunk, limit)
            call = CallMemory.of(stack, memory, device, is_sliced=chunk > limit)
            how = (stack.strategy, memory, stack.batch_layers(), step_rows, call)
            last = lanes[members[0]].stops[-1]
            pauses = early_updates(last, loop.updates, train.rows, holdout.rows) if early else []
            kind = kind_of_updates(stack, recipe, loop, chunk, len(members), shares_scan=shares)
            length = tile or min(measured(kind) or 0, longest) or default
            cohort = Cohort(
                *(members, length, *how),
                is_fixed=tile is not None,
                is_measured=tile is None and length != default,
                options=TileOptions(kind, default, longest, shares),
            )
            own, evaluations = {index: lanes[index] for index in members}, partial(compiled.evaluation, train.scaler)
            spec = TileSpec(len(found.cohorts), own, cohort.is_fixed, stack, loop, evaluations, pauses, curve_points)
            found.cohorts.append(cohort)
            found.specs.append(spec)
        except ConfigError:
            raise
        except Exception as error:
            found.rejected += [Failed.of(index, error) for index in members]
    return found
