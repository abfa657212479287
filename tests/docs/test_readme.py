"""The README's commands work, and print the values that it shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.conftest import ROOT
from tests.warm import Warm

README = (ROOT / "README.md").read_text(encoding="utf-8")
OUTPUTS = re.findall(r"^```text\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
GENERATE = "harness data generate homes.csv --rows 20000"
SWEEP, DESCRIBE, TRAIN, COMPARE = (
    line for line in "".join(BLOCKS).replace("\\\n", "").splitlines() if line.startswith("harness ")
)
RUNS = r"^( +train/.*\n *(?:run )?chunk .*)\n((?: *(?:[0-9a-f]{8} +)?(?:full|\d+) .*\n|\.\.\.\n)+)"
RUN_ID = r"^ *(run|[0-9a-f]{8}) (?= *(chunk|full|\d))"
TIME = -3
"""Position of the word that is a measured time in a row of that table; memory and its unit follow."""


def run(warm: Warm, lines: list[str], folder: Path) -> list[str]:
    """Run commands one after another in a process that imports TensorFlow only once, and return what they print."""
    logs = [folder / f"log{index}" for index in range(len(lines))]
    statuses = [
        warm.run(folder, *shlex.split(line)[1:], log=log, seconds=200) for log, line in zip(logs, lines, strict=True)
    ]
    printed = [log.read_text() for log in logs]
    assert statuses == [0] * len(lines), "\n".join(printed)
    return printed


def values(line: str) -> list[object]:
    """Return a row's cells without the measured time, with numbers to be compared approximately."""
    cells = line.split()
    del cells[TIME]
    return [pytest.approx(float(cell.replace(",", "")), rel=2e-3) if cell[-1].isdigit() else cell for cell in cells]


def check_runs(shown: str, printed: str) -> None:
    """Check that the README's table of runs has the printed values, without ids; `...` stands for omitted rows."""
    printed = re.sub(RUN_ID, "", printed, flags=re.MULTILINE)
    (header, rows), (found_header, found) = (re.search(RUNS, text, re.MULTILINE).groups() for text in (shown, printed))
    assert header.split() == found_header.split()
    rows, found = rows.splitlines(), found.splitlines()
    if "..." in rows:
        cut = rows.index("...")
        left_out = len(found) - len(rows) + 1
        found[cut : cut + left_out] = ["..."]
    assert len(rows) == len(found)
    for row, other in zip(rows, found, strict=True):
        assert row == other or values(row) == values(other)


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 150


def test_the_answer_quotes_the_table() -> None:
    losses = {line.split()[5] for line in OUTPUTS[0].splitlines()[2:]}
    answer = README.partition("**Is the full sample better?**")[2].partition("\n\n")[0]
    quoted = set(re.findall(r"0\.\d{4}", answer))
    assert len(quoted) == 3
    assert quoted <= losses


@pytest.mark.slow
def test_the_sweep_of_the_first_screen(king_county: Path, warm: Warm, tmp_path: Path) -> None:
    (tmp_path / "kc_house_data.csv").symlink_to(king_county)
    check_runs(OUTPUTS[0], run(warm, [SWEEP], tmp_path)[0])


@pytest.mark.slow
def test_a_users_own_csv(warm: Warm, tmp_path: Path) -> None:
    _, described, trained, compared = run(warm, [GENERATE, DESCRIBE, TRAIN, COMPARE], tmp_path)
    printed = [line.split() for line in described.splitlines()]
    # The length of the rule depends on the width of the terminal.
    shown = [line.split() for line in OUTPUTS[1].splitlines() if line.strip("─") not in ("", "...")]
    assert not [words for words in shown if words not in printed]
    runs, heading, target = OUTPUTS[2].partition("To reach")
    check_runs(runs, trained)
    found = [line.split()[:-1] for line in compared.partition(heading)[2].splitlines()]
    assert all(line.split()[:-1] in found for line in target.splitlines() if line != "...")


@pytest.mark.slow
def test_the_table_of_commands(warm: Warm, tmp_path: Path) -> None:
    lines = re.findall(r"^\| `(harness [^`]+)` \|", README, re.MULTILINE)
    assert len(lines) == 15
    first = [line for line in lines if " RUN" not in line and line != "harness ui"]
    run(warm, [GENERATE, *first], tmp_path)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiments = [each.experiment_id for each in client.search_experiments()]
    best = client.search_runs(experiments, "tags.kind = 'run'", order_by=["metrics.`val/loss`"])[0].info.run_id
    run(warm, [line.replace("RUN", best) for line in lines if " RUN" in line], tmp_path)
