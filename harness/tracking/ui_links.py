"""Links to the newest sweep in MLflow's UI."""

from __future__ import annotations

from harness.tracking._compat_views import addresses
from harness.tracking.run_search import RunSearch


def newest_sweep_links(uri: str, server: str) -> list[str]:
    """Return a line for each view of the store's newest sweep, with its address on `server`."""
    newest = RunSearch(uri).newest_sweeps(1)
    if not newest:
        return ["No sweeps yet. Run `harness train -m ...` to train one."]
    info = newest[0].info
    links = addresses(server, info.experiment_id, info.run_id)
    return [f"newest sweep's {view}: {address}" for view, address in links.items()]
