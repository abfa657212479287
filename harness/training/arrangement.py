"""Groups lanes into cohorts, which share compiled loops, and divides cohorts into tiles, each updated by one call."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.data.blocks import SLICE_ROWS, Blocks
from harness.errors import ConfigError
from harness.training.compilations import Compilation, compilation
from harness.training.early import early_updates
from harness.training.encoding import Encoding
from harness.training.events import Failed
from harness.training.lane import Lane
from harness.training.lanes import Recipe, Stack
from harness.training.metrics import Evaluation
from harness.training.strategy import Strategy
from harness.training.tile import Tile
from harness.training.tile_length import tile_length
from harness.training.update_memory import UpdateMemory


@dataclass(frozen=True)
class Cohort:
    """Lanes that share compiled loops.

    Attributes:
        lanes: Lanes by index.
        tile: Lanes updated by one call.
        strategy: How their updates are compiled and divided into slices.
        memory: The memory that an update of one lane needs in a plain implementation.
        batch_layers: Layers that normalize over a whole chunk, which is then never divided into slices.
        step_rows: Rows that are computed at once; 0 if updates are computed from Gram matrices.
    """

    lanes: list[int]
    tile: int
    strategy: Strategy
    memory: UpdateMemory
    batch_layers: list[str]
    step_rows: int


def idle_cores(cohorts: Sequence[Cohort], threads: int, cores: int) -> str:
    """Return a sentence if cores are idle while TensorFlow runs tiles operation by operation, else an empty string.

    Tiles are updated in parallel. More threads per operation are never chosen automatically, because they change
    rounding, and results would then depend on the number of lanes and cores.
    """
    tiles = sum(-(-len(cohort.lanes) // cohort.tile) for cohort in cohorts)
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
        stacks: The stacks by recipe.
        failures: Lanes whose models could not be built.
        reach: Rows of the longest chunk computed in one step.
    """

    cohorts: list[Cohort] = field(default_factory=list)
    tiles: list[Tile] = field(default_factory=list)
    stacks: dict[Recipe, Stack] = field(default_factory=dict)
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


def arrange(
    lanes: Sequence[Lane],
    train: Blocks,
    holdout: Blocks,
    encoding: Encoding,
    device: str,
    *,
    device_bytes: int,
    tile: int | None,
    gram: bool,
    curve_points: int,
    early: bool,
) -> Arrangement:
    """Build the models: small chunks come first, since they are slowest, and long-lived lanes share tiles.

    The arguments are those of `harness.training.trainer.Scan`.

    Raises:
        ConfigError: A model cannot be trained as configured. Any other error while building one becomes a failure.
    """
    found = Arrangement()

    cohorts: dict[tuple[int, Recipe], list[int]] = {}
    for index, lane in enumerate(lanes):
        cohorts.setdefault((lane.chunk, lane.recipe), []).append(index)

    @functools.cache
    def parts(recipe: Recipe) -> tuple[Compilation, Evaluation, UpdateMemory, int]:
        compiled = compilation(recipe, encoding, device, lanes=tile or 1)
        stack = found.stacks[recipe] = compiled.stack
        memory = UpdateMemory.of(stack, train.targets)
        length = tile or tile_length(
            stack,
            memory,
            device=device,
            device_bytes=device_bytes,
            lanes=max(len(members) for (_, other), members in cohorts.items() if other == recipe),
            step_rows=min(max(chunk for chunk, other in cohorts if other == recipe), stack.whole_rows),
        )
        return compiled, compiled.evaluation(train.scaler, length), memory, length

    for (chunk, recipe), members in sorted(cohorts.items(), key=lambda item: item[0][0]):
        try:
            compiled, evaluation, memory, length = parts(recipe)
            stack, loop = compiled.stack, compiled.loop(chunk, train.rows, gram=gram)
            limit = stack.whole_rows if chunk <= stack.whole_rows else stack.strategy.slice_rows
            found.reach = max(found.reach, min(chunk, limit))
            members.sort(key=lambda index: -lanes[index].stops[-1])
            step_rows = 0 if loop.gram_source else min(chunk, limit)
            found.cohorts.append(Cohort(members, length, stack.strategy, memory, stack.batch_layers(), step_rows))
            cohort = {index: lanes[index] for index in members}
            last = lanes[members[0]].stops[-1]
            measured = early_updates(last, loop.updates, train.rows, holdout.rows) if early else []
            for start in range(0, len(members), length):
                some = {index: lanes[index] for index in members[start : start + length]}
                found.tiles.append(Tile(some, length, stack, loop, evaluation, curve_points, measured, cohort))
        except ConfigError:
            raise
        except Exception as error:
            found.failures += [Failed.of(index, error) for index in members]
    for stack in found.stacks.values():
        stack.drop_initial_models()
    return found
