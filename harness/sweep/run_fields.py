"""The names and values of a run's params, tags, configuration file and final metrics in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from enum import Enum
from typing import Any

import keras
import yaml

from harness.config import Config, Precision
from harness.config.keys import fitted, key_of
from harness.config.naming import PRECISION
from harness.data.blocks import SLICE_ROWS
from harness.data.classes import class_names
from harness.runtime.gpu_facts import gpu_facts
from harness.runtime.instruction_set import INSTRUCTION_SET, instruction_set
from harness.runtime.onednn import ONEDNN, onednn
from harness.sweep.identity import ROUNDING, TILE, rounding
from harness.sweep.plan import Run
from harness.tracking.run_colour import colour
from harness.training.linear_models import kernel_and_bias

ALONE = "time/alone_s"
"""The metric for the time that a run would take if trained alone; recorded after the run has ended."""

MAX_WEIGHTS = 200  # Maximum number of inputs for which a linear model's weights are recorded as metrics.


def run_params(config: Config) -> dict[str, Any]:
    """Return the flat configuration without unset keys and with lists in Hydra's notation."""
    left_out = ["tracking.name", "tracking.note", "tracking.tags"]  # These become the run's name, description and tags.
    if config.runtime.precision is Precision.float32:
        left_out.append(PRECISION)  # As in records from before this key existed.
    flat = config.flat().items()
    flat = {key: value for key, value in flat if value is not None and not key.startswith(tuple(left_out))}
    return {fitted(key): f"[{','.join(map(str, v))}]" if isinstance(v, list) else v for key, v in flat.items()}


def run_tags(run: Run, command: str, device: str) -> dict[str, str]:
    """Return the tags of a run; `command`, the sweep's command, is used if the run has no command of its own."""
    tags = {
        "kind": "run",
        "sample": "full" if run.config.is_full else "batch",
        "signature": run.signature,
        "command": run.command or command,
        "device": device,
        ROUNDING: rounding(run.config.runtime, device),
        INSTRUCTION_SET: instruction_set(),
        "mlflow.runColor": colour(str(run.config.flat()["chunksize"])),
    }
    if len(labels := class_names(run.table.targets[0])) == 2:
        tags["labels"] = f"{labels[0]}: 0, {labels[1]}: 1"
    if run.table.dropped or run.table.filled:
        tags |= {"rows_dropped": str(run.table.dropped), "fields_filled": str(run.table.filled)}
    if run.cohort and run.cohort.strategy.compiler != "xla":
        tags |= {"compiler": run.cohort.strategy.compiler, ONEDNN: onednn()}
    if run.cohort and run.cohort.strategy.slice_rows != SLICE_ROWS:
        tags["slice_rows"] = str(run.cohort.strategy.slice_rows)
    tags |= tile_tag(run) | (gpu_facts() if device.startswith("GPU") else {})
    if run.sweeps:
        tags["sweep"] = ",".join(run.sweeps)
    elif run.config.tracking.note:
        tags["mlflow.note.content"] = run.config.tracking.note
    return run.config.tracking.tags | tags


def tile_tag(run: Run) -> dict[str, str]:
    """Return the tag with the number of lanes per call, which affects rounding; none if it is unknown."""
    return {TILE: run.cohort.tile_history} if run.cohort else {}


def config_yaml(config: Config) -> str:
    """Return the configuration as YAML."""
    values = dict(asdict(config, dict_factory=_plain))
    del values["search"]  # This belongs to the sweep.
    return yaml.dump(values, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)


def final_metrics(run: Run, model: keras.Model, epochs: int, train_seconds: float, shared_by: int) -> dict[str, float]:
    """Return the metrics to record at the end of a run whose scan has trained for `train_seconds`."""
    return {
        "rows_per_second": epochs * run.table.train_rows / max(train_seconds, 1e-9),
        "memory/update_mb": run.update_bytes / 1e6,
        **{
            f"memory/{name}_mb": size / 1e6
            for name, size in (("scan", run.scan_bytes), ("device", run.device_bytes))
            if size
        },
        "time/shared_by": shared_by,
        **_coefficients(run, model),
    }


def _coefficients(run: Run, model: keras.Model) -> dict[str, float]:
    """Return the intercepts and slopes of a linear model in unscaled units; empty for other models.

    With several targets or classes, each has its own: `weight/TARGET/FEATURE`. Outputs of `data.embed` have no names.
    """
    found, inputs = kernel_and_bias(model), run.table.inputs
    if found is None or found[0].size > MAX_WEIGHTS or run.table.features[0].shape:
        return {}
    intercepts, slopes = run.scaler.coefficients(*found, [column.inputs for column in run.table.features])
    values: dict[str, float] = {}
    for output, intercept, weights in zip(_outputs(run), intercepts, slopes.T, strict=True):
        names = [f"slope{output}"] if len(inputs) == 1 else [f"weight{output}/{key}" for key in inputs]
        values |= {f"intercept{output}": intercept, **dict(zip(names, weights, strict=True))}
    return {fitted(name): float(value) for name, value in values.items()}


def _outputs(run: Run) -> list[str]:
    """Return the part of a metric's name for each of the model's outputs; empty if there is only one."""
    names = run.objective.output_names
    return [f"/{key_of(name, reserved='/')}" for name in names] if len(names) > 1 else [""]


def _plain(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    return {key: value.name if isinstance(value, Enum) else value for key, value in pairs}
