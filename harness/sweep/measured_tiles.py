"""Keeps the tiles that `harness tune` has measured to be the fastest, by device, versions and kind of updates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict

import harness.training
from harness.config import RuntimeConfig
from harness.runtime.cores import cores, processor
from harness.runtime.gpu_facts import gpu_facts
from harness.runtime.state_files import StateError, read_json, write_json
from harness.sweep.code_version import source_digest
from harness.sweep.identity import hash_json, rounding
from harness.training.tile_length import LONGEST_EVER

_KIND = "tile 1"


class _Measurement(TypedDict):
    """The content of a file.

    Attributes:
        tile: The tile to use.
        seconds: Seconds per lane and update, by tile.
        device: The device that was measured.
        updates: The kind of updates; see `harness.training.tile_kind`.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    tile: int
    seconds: dict[str, float]
    device: str
    updates: str


_MEASUREMENT = TypeAdapter(_Measurement)


@dataclass(frozen=True)
class MeasuredTiles:
    """The measurements in a cache that apply to a device."""

    folder: Path
    device: str

    @classmethod
    def of(cls, runtime: RuntimeConfig, device: str) -> MeasuredTiles:
        """Return the measurements for these settings and a device, given by its description."""
        facts = [rounding(runtime, device), runtime.workers or len(cores()), len(runtime.devices or [0])]
        facts += [source_digest(Path(*harness.training.__path__))]
        facts += [sorted(gpu_facts().items())] if device.startswith("GPU") else [processor()]
        return cls(Path(runtime.cache).absolute() / "tiles", hash_json(facts))

    def tile(self, kind: str) -> int | None:
        """Return the fastest tile for a kind of updates; None without a measurement, or if it cannot be read."""
        try:
            found = read_json(self._path(kind), _KIND, _MEASUREMENT)
        except (StateError, OSError):
            return None
        holds = (found["device"], found["updates"]) == (self.device, kind)
        return found["tile"] if holds and 0 < found["tile"] <= LONGEST_EVER else None

    def keep(self, kind: str, tile: int, seconds: Mapping[int, float]) -> None:
        """Store the fastest tile, and the seconds per lane and update in each tile that was measured."""
        by_tile = {str(length): value for length, value in seconds.items()}
        content = _Measurement(tile=tile, seconds=by_tile, device=self.device, updates=kind)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self._path(kind), _KIND, content)

    def forget(self, kind: str) -> None:
        """Remove what is stored for a kind of updates."""
        self._path(kind).unlink(missing_ok=True)

    def _path(self, kind: str) -> Path:
        return self.folder / f"{hash_json([self.device, kind])}.json"
