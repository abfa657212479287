"""A sweep's report: a self-contained HTML page and its figures."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.analysis.comparison import compare_full_to_batch
from harness.analysis.figure_svg import STYLE, standalone, svg
from harness.analysis.objective import chunksize, objective
from harness.analysis.replicates import averaged
from harness.analysis.sentences import choice, conclusion, shared_scan, tuned, verdict
from harness.analysis.tables import comparison_columns, one_line, run_columns
from harness.analysis.whole_sample import whole_sample
from harness.config.naming import sweep_name
from harness.runtime.secrets import shown
from harness.tracking.frames import Sweep, states
from harness.tracking.pages import run_page
from harness.tracking.ranking import Objective, ranked

PAGE = "report.html"
SERVER = "http://127.0.0.1:5000"
TABLE_ROWS = 100
"""Number of best runs in the page's table."""

MOST_CLASSES = 50
"""Maximum number of classes in the page's table."""

CAPTIONS = {
    "search": (
        "The search",
        "Trials in the order in which they were proposed. Dots were trained to completion; crosses were pruned and "
        "show their last result; lines are the best so far. On the right are the settings that were retrained with "
        "other seeds: their spread shows how much depends on the seed alone.",
    ),
    "losses": (
        "By epoch and by update",
        "One line per run. The best run of each chunksize is bold (for repeated settings, the first "
        "run of the setting with the best mean); full-sample runs are dashed. At the same horizontal position, runs "
        "have seen the same number of rows (left) or have made the same number of updates (right).",
    ),
    "accuracy": ("Accuracy by epoch and by update", "Fraction of the holdout's rows that are predicted correctly."),
    "confusion": (
        "Confusion matrices",
        "Holdout rows by label and prediction, for the best batch run and the best full-sample run. Darker cells hold "
        "a larger share of the label's rows.",
    ),
    "heat_map": (
        "Chunksize and learning rate",
        "Darker is worse; results beyond the end of the color scale are as dark as its end. Values are means over "
        "seeds and splits; gray cells have no finished run (div.: diverged).",
    ),
    "importance": (
        "What matters",
        "How much worse a random forest predicts the order of the finished runs when the values of one key are "
        "shuffled (scikit-learn's permutation importance), as a share of the total over all keys. Runs that did not "
        "finish are left out; repetitions are averaged.",
    ),
    "parallel": (
        "Settings and results",
        "One line per setting, from its values to its result, for finished runs only, averaged over seeds and splits. "
        "The better the result, the stronger the line; lines that share a value are ordered by their results.",
    ),
    "costs": ("Cost", "The best runs are at the {} left: the best results at the lowest cost."),
    "fit": ("Fit", "In gray, a sample of the training rows in original units."),
}
"""Title and caption of each figure."""


def write(sweep: Sweep, folder: Path) -> Path:
    """Write the page and its figures into `folder`, which is created if needed, and return the page's path."""
    from harness.analysis.figures import FIGURES

    figures = {name: figure for name, draw in FIGURES.items() if (figure := draw(sweep)) is not None}
    folder.mkdir(parents=True, exist_ok=True)
    images: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # It is drawn as a box.
        for name, figure in figures.items():
            (folder / f"{name}.svg").write_text(standalone(drawn := svg(figure, name)), encoding="utf-8")
            images[name] = drawn
    page = folder / PAGE
    page.write_text(render(sweep, images), encoding="utf-8")
    return page


def render(sweep: Sweep, images: Mapping[str, str]) -> str:
    """Return the page with `images`, SVG elements by figure name, embedded."""
    from jinja2 import Environment
    from markupsafe import Markup

    def finalize(value: object) -> object:
        return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    means, comparisons = averaged(sweep), compare_full_to_batch(sweep)
    runs, all_runs = ranked(means.runs), sweep.rows
    found = objective(sweep.runs)
    best, sentences = runs[:TABLE_ROWS], verdict(comparisons)
    environment = Environment(autoescape=True, finalize=finalize, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(Path(__file__).with_name("report.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        sweep=sweep,
        facts=facts(sweep),
        conclusion=[conclusion(runs, found), *choice(runs, found), *sentences[:2]],
        notes=[*sentences[2:], *tuned(sweep.tags), *whole_sample(all_runs), *shared_scan(all_runs)],
        title=title(sweep),
        server=SERVER,
        style=Markup(STYLE),
        figures=[(*_caption(name, found), Markup(image)) for name, image in images.items()],
        comparison=_table(comparison_columns(comparisons) if any(each.better for each in comparisons) else []),
        table=_table(run_columns(means, best)),
        samples=[run["sample"] for run in best],
        links=[_link(sweep, run) for run in best],
        classes=_class_table(sweep),
        mistakes=sweep.mistakes,
        more=len(runs) - len(best),
    )


def _caption(name: str, objective: Objective) -> tuple[str, str]:
    title, caption = CAPTIONS[name]
    return title, caption.format("lower" if objective.sign > 0 else "upper")


def _class_table(sweep: Sweep) -> dict[str, Any]:
    """Return the number of rows of each class by part; if there are many classes, only those of the largest."""
    if sweep.classes is None or not {"class", "train", "holdout"} <= {*sweep.classes}:
        return {"rows": [], "more": 0}
    counts = sweep.classes
    if len(counts) > MOST_CLASSES:
        counts = counts.sort_values("train", ascending=False, kind="stable")
    values = zip(counts["class"], counts["train"], counts["holdout"], strict=True)
    rows = [(str(name), f"{train:,}", f"{holdout:,}") for name, train, holdout in values]
    return {"rows": rows[:MOST_CLASSES], "more": max(len(rows) - MOST_CLASSES, 0)}


def title(sweep: Sweep) -> str:
    """Return the sweep's name or, if it has none, a description of what was compared, and on which data."""
    if sweep.name and sweep.name != sweep_name(sweep.tags.get("command", "")):
        return sweep.name
    sizes = [size for size in dict.fromkeys(map(chunksize, sweep.rows)) if size != "full"]
    chunks = f"chunks of {', '.join(f'{size:,}' for size in sorted(map(int, sizes)))} rows" if sizes else ""
    has_full = bool((sweep.runs["sample"] == "full").any()) if len(sweep.runs) else False
    kinds = [kind for kind in ("full sample" if has_full else "", chunks) if kind]
    compared = " vs. ".join(kinds) or "Runs"
    targets = sweep.runs["data.target"].dropna().unique() if "data.target" in sweep.runs else []
    target = ", ".join(str(name).strip("[]") for name in targets)
    data = ", ".join(dict.fromkeys(data["name"] for data in sweep.data))
    about = f"{target} in {data}" if target and data else target or data
    return f"{compared[0].upper()}{compared[1:]}" + (f": {about}" if about else "")


def _link(sweep: Sweep, run: Mapping[str, Any]) -> tuple[str, str]:
    """Return a run's short id, and the address of its page where `harness ui` serves MLflow by default."""
    run_id = str(run["run_id"])
    address = f"{SERVER}/{run_page(sweep.experiment_id, run_id)}" if sweep.experiment_id else ""
    return run_id[:8], address


def facts(sweep: Sweep) -> list[tuple[str, str]]:
    """Describe a sweep by its data, model, runs and command, as pairs of title and text."""
    facts = [("Data", f"{data['name']}: {_rows(data)}") for data in sweep.data]
    for key in ("data.features", "data.target", "loss", "model._target_", "optimizer.name"):
        title = key.removesuffix("._target_").removesuffix(".name").removeprefix("data.").capitalize()
        values = sweep.runs[key].dropna().unique() if key in sweep.runs else []
        texts = [str(value).strip("[]").replace(",", ", ") for value in values]
        facts += [(title, ", ".join(text.rpartition(".")[-1] if title == "Model" else text for text in texts))]
    endings = Counter(states(sweep.runs)).most_common()
    facts += [("Runs", ", ".join(f"{count:,} {ending}" for ending, count in endings))]
    facts += [("Command", sweep.tags.get("command", ""))]
    return [(title, text) for title, text in facts if text]


def _rows(data: Mapping[str, Any]) -> str:
    rows = {"training": 0, "holdout": 0, "test": 0} | data["rows"]
    total = sum(rows.values())
    holdout = f"{rows['holdout']:,} ({rows['holdout'] / total:.0%}) held out" if rows["holdout"] else "no holdout"
    test = f", {rows['test']:,} ({rows['test'] / total:.0%}) for testing" if rows["test"] else ""
    return f"{total:,} rows, {rows['training']:,} for training, {holdout}{test}"


def _table(columns: list[list[str]]) -> dict[str, Any]:
    return {
        "titles": [one_line(title) for title, *_ in columns],
        "rows": list(zip(*(column[1:] for column in columns), strict=True)),
    }
