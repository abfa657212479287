"""`harness diff`: what differs between two recorded runs, and how their results differ."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.config.metrics import final_values
from harness.formatting import count
from harness.runtime.secrets import shown
from harness.sweep.code_version import versions
from harness.tracking import artifacts
from harness.tracking.frames import SHORT, datasets, run_state
from harness.tracking.reader import RunReader

if TYPE_CHECKING:
    from mlflow.entities import Run

Difference = tuple[str, str, str]
"""What differs, and its value in each run."""

NONE = "-"
_NOT_RESULTS = ("time/", "system/", "rows_per_second")
"""Metrics of the machine, not of the model."""


def diff(records: RunReader, ids: Sequence[str], console: Console) -> None:
    """Print how two runs differ: configuration, data, code, packages and results."""
    first, second = (records.run(run_id) for run_id in ids)
    console.print(Text(f"{_title(first)}\n{_title(second)}"), soft_wrap=True)
    sections = [
        ("configuration", [*_differences(first.data.params, second.data.params)]),
        ("data", [*_differences(_data(first), _data(second))]),
        *_code(records, first, second),
        ("results", [*_results(first, second)]),
    ]
    same = [name for name, found in sections if not found]
    for name, found in sections:
        if found:
            console.print()
            console.print(_table(name, found, (first, second)))
    if same:
        console.print()
        console.print(Text(f"No differences: {', '.join(same)}."))


def _title(run: Run) -> str:
    return f"{run.info.run_id[:SHORT]}  {shown(run.info.run_name or '')}, {run_state(run)}"


def _differences(first: Mapping[str, str], second: Mapping[str, str]) -> Iterator[Difference]:
    for key in {**first, **second}:
        if first.get(key) != second.get(key):
            yield key, first.get(key, NONE), second.get(key, NONE)


def _data(run: Run) -> dict[str, str]:
    """Return the name, content digest and rows of a run's data."""
    values: dict[str, str] = {}
    for data in datasets([run]):
        rows = {f"{context} rows": f"{number:,}" for context, number in data["rows"].items()}
        values |= {"file": data["name"], "digest": data["digest"][:12], **rows}
    return values


def _code(records: RunReader, *runs: Run) -> Iterator[tuple[str, list[Difference]]]:
    """Yield the differences in code and in packages."""
    texts = []
    for run in runs:
        with tempfile.TemporaryDirectory() as folder:
            texts.append(artifacts.code(records, run, Path(folder)))
    devices = ({"device": run.data.tags.get("device", NONE)} for run in runs)
    code = [device | versions(text.get("commits.txt", "")) for device, text in zip(devices, texts, strict=True)]
    patches = [{name: text for name, text in each.items() if name.endswith(".patch")} for each in texts]
    changed = [(name, _lines(one), _lines(other)) for name, one, other in _differences(*patches)]
    yield "code", [*_differences(*code), *changed]
    packages = (versions(text.get("packages.txt", "")) for text in texts)
    yield "packages", [*_differences(*packages)]


def _lines(patch: str) -> str:
    """Return a patch's size and digest; the digest distinguishes patches of the same size."""
    if patch == NONE:
        return NONE
    return f"{count(len(patch.splitlines()), 'line')}, {hashlib.blake2b(patch.encode(), digest_size=3).hexdigest()}"


def _results(*runs: Run) -> Iterator[Difference]:
    first, second = (final_values(run.data.metrics) for run in runs)
    for key in sorted(key for key in {**first, **second} if not key.startswith(_NOT_RESULTS)):
        one, other = first.get(key), second.get(key)
        if one != other and not (one != one and other != other):  # NaN is not equal to itself.
            yield (key, *_apart(one, other))


def _apart(first: float | None, second: float | None) -> tuple[str, str]:
    """Return two numbers with six digits, or with as many as are needed to tell them apart."""

    def text(value: float | None, digits: int) -> str:
        return NONE if value is None else f"{value:.{digits}g}"

    digits = 6 if text(first, 6) != text(second, 6) else 17
    return text(first, digits), text(second, digits)


def _table(name: str, found: Sequence[Difference], runs: Sequence[Run]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    table.add_column(name, overflow="fold")
    for run in runs:
        table.add_column(run.info.run_id[:SHORT], overflow="fold", justify="right" if name == "results" else "left")
    for row in found:
        table.add_row(*(Text(shown(cell)) for cell in row))
    return table
