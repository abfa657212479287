"""Publishes a data sample, class counts and saved views when a sweep starts, and a report when it ends."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.analysis import report
from harness.analysis.objective import objective, settings
from harness.config.naming import sweep_name, varying
from harness.data import class_tables, mistakes, sample
from harness.data.class_tables import class_counts_csv
from harness.data.mistakes import mistakes_json
from harness.data.tables.pages import DamagedTable
from harness.runtime.secrets import masked
from harness.sweep.display import Display
from harness.sweep.plan import Run
from harness.tracking._compat_views import saved_views
from harness.tracking.reader import RunReader
from harness.tracking.run_tags import METRIC
from harness.tracking.store import primary_metric
from harness.tracking.tracker import Tracker

FOLDER = "report"
"""The report's folder among a summary run's artifacts."""


def publish_start(tracker: Tracker, sweep_id: str, command: str, runs: Sequence[Run]) -> None:
    """Log a sample of the data for figures, log the class counts, and save views for watching the sweep."""
    first = runs[0]
    texts: dict[str, str] = {}
    with contextlib.suppress(DamagedTable):  # A damaged table is replaced when it is trained on.
        texts = {sample.FILE: sample.sample_csv(first.table), class_tables.COUNTS_FILE: class_counts_csv(first.table)}
    for file, text in texts.items():
        if text:
            tracker.log_text(sweep_id, text, file)
    swept = varying([run.config.flat() for run in runs])
    recorded = ["train/loss", *(("val/loss", *first.objective.metrics) if first.table.holdout_rows else ())]
    name = first.config.tracking.name or sweep_name(command)
    tracker.tag_experiment(dict(saved_views(sweep_id, masked(name), swept, recorded, first.metric)))
    tracker.tag(sweep_id, {METRIC: first.config.objective.metric or ""})


def publish_mistakes(tracker: Tracker, sweep_id: str, run: Run, model: Any) -> None:
    """Log the most confident mistakes of a run's exported model on held-out images; failures only print a message."""
    if model is None or not run.table.features[0].shape:
        return
    name = run.table.features[0].name
    try:
        found = mistakes_json(run.table, lambda pixels: np.asarray(model({name: pixels}, training=False)))
    except Exception as error:
        tracker.say(f"report: the most confident mistakes are missing ({type(error).__name__}: {error}).")
        return
    if found:
        tracker.log_text(sweep_id, found, mistakes.FILE)


def has_report(reader: RunReader, sweep_id: str) -> bool:
    """Return True if a sweep's report has been logged and can be read."""
    try:
        return any(artifact.path.endswith(report.PAGE) for artifact in reader.client.list_artifacts(sweep_id, FOLDER))
    except Exception:
        return False


def publish_report(tracker: Tracker, sweep_id: str, display: Display) -> None:
    """Log the report, and add all settings that vary to the views; failures only print a message."""
    try:
        tracker.flush()
        sweep = RunReader(tracker.uri).load([sweep_id], with_sample=True)
        metric = objective(sweep.runs).metric
        views = saved_views(sweep_id, masked(sweep.name), settings(sweep), list(sweep.runs), metric)
        tracker.tag_experiment(views | primary_metric(metric))
        with tempfile.TemporaryDirectory() as folder:
            report.write(sweep, Path(folder))
            for path in sorted(Path(folder).iterdir()):
                tracker.log_artifact(sweep_id, path, FOLDER)
            tracker.flush()
    except Exception as error:
        display.say(f"report: could not be created ({type(error).__name__}: {error}). Try `harness report`.")
