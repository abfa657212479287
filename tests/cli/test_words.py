"""Names in data and records that contain control sequences or markup, in every command that shows them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from mlflow.tracking import MlflowClient

from tests.cli.test_main import stored
from tests.warm import Warm

NASTY = "=cmd|x\x1b[31m[red]$a$<script>\u202ee_^%`|*\x9b2J"
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


Run = Callable[..., tuple[str, str, int]]


@pytest.fixture(scope="module")
def run(warm: Warm, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a command; return its output, its messages and its exit code."""

    def run(*words: str) -> tuple[str, str, int]:
        out, err = (tmp_path_factory.mktemp("output") / name for name in ("out", "err"))
        code = warm.run(folder, *words, log=out, errors=str(err))
        return out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"), code

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data whose columns have such names."""
    folder = tmp_path_factory.mktemp("words")
    with (folder / "nasty[red].csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[NASTY, "-y$t"], *([row, 2 * row + 1] for row in range(20))])
    (folder / "conf" / "data").mkdir(parents=True)
    data = {"defaults": ["csv"], "path": "nasty[red].csv", "features": [NASTY], "target": "-y$t"}
    (folder / "conf" / "data" / "nasty.yaml").write_text(yaml.safe_dump(data, allow_unicode=True))
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path, run: Run) -> Path:
    """The folder after a sweep on the data, whose runs then get such names, too."""
    out, err, code = run("train", "-m", "data=nasty", "chunksize=full,4", "runtime.workers=1", "epochs=1")
    assert (code, err) == (0, "")
    assert not CONTROLS.search(out)
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    for each in stored(folder):
        client.set_tag(each.info.run_id, "mlflow.runName", f"{NASTY}\n\x1b]0;title\x07")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        *(["compare"], ["compare", "--csv"], ["compare", "--json"], ["compare", "--markdown"], ["sweeps"], ["clean"]),
        *(["plan", "data=nasty", "chunksize=3"], ["data", "list"], ["data", "describe", "nasty[red].csv"]),
        *(["compare", "\x1b[31m"], ["compare", "--\x1b[31m"], ["train", "data.path=\x1b[31m.csv", "data=csv"]),
    ],
    ids=lambda words: repr(" ".join(words)),
)
def test_no_name_reaches_the_terminal_as_it_is(trained: Path, run: Run, words: list[str]) -> None:
    out, err, code = run(*words)
    assert not CONTROLS.search(out + err)
    assert (code, err) == (0, "") or (code == 2 and err.startswith(("harness: ", "Usage: ")))


@pytest.mark.slow
def test_every_name_is_shown_in_full(trained: Path, run: Run) -> None:
    shown = NASTY.replace("\x1b", r"\x1b").replace("\u202e", r"\u202e").replace("\x9b", r"\x9b")
    sweeps = run("sweeps")[0]
    assert sweeps.count(rf"{shown}\n\x1b]0;title\x07") == 2  # The best run and the sweep.
    rows = list(csv.DictReader(io.StringIO(run("compare", "--csv")[0])))
    assert {row["name"] for row in rows} == {rf"'{shown}\n\x1b]0;title\x07"}
    assert {row["data.target"] for row in rows} == {"'-y$t"}
    assert {float(row["val/loss"]) > 0 for row in rows} == {True}
    runs = json.loads(run("compare", "--json")[0])["runs"]
    assert {row["name"] for row in runs} == {f"{NASTY}\n\x1b]0;title\x07"}


@pytest.mark.slow
def test_a_report_shows_names_as_text(trained: Path, run: Run) -> None:
    assert run("report", "--output", "page")[1:] == ("", 0)
    page = (trained / "page" / "report.html").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert r"=cmd|x\x1b[31m[red]$a$&lt;script&gt;\u202ee_^%`|*\x9b2J" in page
    assert not CONTROLS.search(page)
    assert (trained / "page" / "fit.svg").stat().st_size > 10_000


@pytest.mark.slow
def test_the_note_shows_names_as_text(trained: Path) -> None:
    summary = next(each for each in stored(trained) if each.data.tags["kind"] == "sweep")
    note = summary.data.tags["mlflow.note.content"]
    assert r"-y\$t from =cmd\|x\\x1b\[31m\[red\]\$a\$\<script\>\\u202ee\_^%\`\|\*\\x9b2J;" in note
    assert not CONTROLS.search(note)
