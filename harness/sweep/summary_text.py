"""The note on a sweep's page in MLflow, in Markdown."""

from __future__ import annotations

from harness.runtime.secrets import masked
from harness.sweep.plan import Run
from harness.sweep.summary_state import RunResult, SummaryState

MAX_FAILURES = 20  # Failed runs listed by name.


def describe_data(run: Run) -> str:
    """Return a sentence on the data that a run is trained on."""
    *features, target = (column.name for column in run.table.columns)
    some = ", ".join(features[:5]) + (f" and {len(features) - 5} more" if len(features) > 5 else "")
    return (
        f"`{run.table.name}`: {target} from {some}; "
        f"{run.table.train_rows:,} training rows, {run.table.holdout_rows:,} holdout rows."
    )


def summary_text(state: SummaryState, command: str, experiment_id: str) -> str:
    """Return the best runs, the data, the failures and the command; MLflow shows the first lines unless expanded."""

    def link(run: RunResult) -> str:
        return f"[{run.name}](#/experiments/{experiment_id}/runs/{run.run_id})"

    parts = []
    rows = []
    finished = sorted((run for run in state.runs if run.score is not None), key=lambda run: run.score or 0.0)
    for sample, title in (("batch", "chunks"), ("full", "the full sample")):
        if run := next((run for run in finished if run.sample == sample), None):
            rmse = "" if run.rmse is None else f"{run.rmse:,.6g}"
            rows.append(f"| {title} | {link(run)} | {run.loss:.4g} | {rmse} | {run.updates:,} |")
    if rows:
        parts.append(
            "\n".join(["| best of | run | loss | rmse | updates |", "| --- | --- | ---: | ---: | ---: |", *rows])
        )
    parts += state.data
    failed = [f"- {link(run)}: {run.reason.splitlines()[0]}" for run in state.runs if run.reason]
    if failed:
        more = [f"- and {len(failed) - MAX_FAILURES} more"] if len(failed) > MAX_FAILURES else []
        title = f"{len(failed)} of {len(state.runs)} runs failed:\n"
        parts.append("\n".join([title, *failed[:MAX_FAILURES], *more]))
    return "\n\n".join([*parts, f"```\n{masked(command)}\n```"])
