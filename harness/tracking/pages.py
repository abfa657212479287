"""Addresses of pages in MLflow's UI, relative to its server."""

from __future__ import annotations

_KIND = "workflowType=machine_learning"
"""Without this, MLflow opens pages for language models, which show no runs."""


def experiments_page() -> str:
    """Return the page with all experiments."""
    return f"#/experiments?{_KIND}"


def view_page(experiment_id: str, view_id: str) -> str:
    """Return the page of an experiment's runs in a saved view."""
    return f"#/experiments/{experiment_id}/runs?{_KIND}&viewStateShareKey={view_id}"


def run_page(experiment_id: str, run_id: str, part: str = "") -> str:
    """Return the page of a run, or a `part` of it, such as `model-metrics` or `artifacts/FILE`."""
    return f"#/experiments/{experiment_id}/runs/{run_id}{f'/{part}' if part else ''}?{_KIND}"
