"""A sweep's report: one page that needs nothing else, and its figures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analysis.comparison import comparisons, objective
from harness.analysis.tables import against_columns, conclusion, in_a_line, ranked, run_columns, shared_scan, verdict
from harness.tracking.frames import Sweep

PAGE = "report.html"
TABLE_ROWS = 100
"""Runs in the page's table, the best ones."""

CAPTIONS = {
    "losses": "A line a run; the best run of each chunksize is drawn strong, full-sample runs are dashed. Left, all "
    "have seen the same rows at the same place; right, they have taken the same number of steps.",
    "heat_map": "The darker, the worse; grey: no run, or none that finished (div.: diverged). Means over seeds.",
    "costs": "The best place is at the lower left: a small loss for little.",
    "fit": "Grey: a sample of the training rows, in their own units.",
}
TITLES = {
    "losses": "Loss, epoch by epoch and update by update",
    "heat_map": "Chunksize and learning rate",
    "costs": "What it costs",
    "fit": "The fit",
}


def write(sweep: Sweep, folder: Path) -> Path:
    """Write the page and its figures into `folder`, made if it is not there, and return the page's path."""
    from harness.analysis.figures import FIGURES

    images = {}
    for name, draw in FIGURES.items():
        figure = draw(sweep)
        if figure is not None:
            image = io.BytesIO()
            figure.savefig(image, format="png")
            images[name] = image.getvalue()
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        (folder / f"{name}.png").write_bytes(image)
    page = folder / PAGE
    page.write_text(render(sweep, images), encoding="utf-8")
    return page


def render(sweep: Sweep, images: Mapping[str, bytes]) -> str:
    """Return the page, with `images` (PNG, by the figure's name) inside."""
    from jinja2 import Environment

    rows, key = ranked(sweep), objective(sweep.runs)
    shown, found = rows[:TABLE_ROWS], comparisons(sweep)
    lines = verdict(found)
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        Path(__file__).with_name("report.html.jinja").read_text(encoding="utf-8")
    )
    return template.render(
        sweep=sweep,
        facts=facts(sweep),
        conclusion=[conclusion(rows, key), "; ".join(lines[:2]).replace(".; At", "; at")],
        notes=[*lines[2:], *shared_scan(rows)],
        figures=[
            {"title": TITLES[name], "caption": CAPTIONS[name], "source": base64.b64encode(image).decode()}
            for name, image in images.items()
        ],
        against=_table(against_columns(found) if any(each.better for each in found) else []),
        table=_table(run_columns(sweep, shown)),
        samples=[row["sample"] for row in shown],
        more=len(rows) - len(shown),
    )


def facts(sweep: Sweep) -> list[tuple[str, str]]:
    """Return what a reader has to know of a sweep: its data, its runs and how they ended."""
    facts = [("Data", f"{data['name']}: {_rows(data)}") for data in sweep.data]
    for title, key in (("Features", "data.features"), ("Target", "data.target"), ("Loss", "loss")):
        facts += [(title, ", ".join(_values(sweep.runs, key)))]
    facts += [("Model", ", ".join(value.rpartition(".")[-1] for value in _values(sweep.runs, "model._target_")))]
    facts += [("Optimizer", ", ".join(_values(sweep.runs, "optimizer.name")))]
    endings = sweep.runs["status"].str.lower().where(sweep.runs["diverged_at"].isna(), "diverged").value_counts()
    facts += [("Runs", ", ".join(f"{count:,} {ending}" for ending, count in endings.items()))]
    facts += [("Command", sweep.tags.get("command", ""))]
    return [(title, text) for title, text in facts if text]


def _rows(data: Mapping[str, Any]) -> str:
    rows = {"training": 0, "holdout": 0} | data["rows"]
    whole = sum(rows.values())
    held_out = f"{rows['holdout']:,} ({rows['holdout'] / whole:.0%})" if rows["holdout"] else "none"
    return f"{whole:,} rows, {rows['training']:,} trained on, {held_out} held out"


def _values(runs: pd.DataFrame, key: str) -> list[str]:
    values = runs[key].dropna().unique() if key in runs else []
    return [str(value).strip("[]").replace(",", ", ") for value in values]


def _table(columns: list[list[str]]) -> dict[str, Any]:
    return {
        "titles": [in_a_line(title) for title, *_ in columns],
        "rows": list(zip(*(column[1:] for column in columns), strict=True)),
    }
