"""An MLflow plugin that closes the connection to a tracking server after each request, and limits how many run at once.

A server with several worker processes sends a response in two segments, and on an open connection the second one waits
for the client's delayed acknowledgement, which costs 44 ms per request.
"""

from __future__ import annotations

from mlflow.tracking.request_header.abstract_request_header_provider import RequestHeaderProvider

REQUESTS_AT_ONCE = 8
"""Maximum number of concurrent requests to a server; MLflow's client keeps ten connections."""

_is_in_use = False


def close_after_requests() -> None:
    """Make MLflow's client in this process close its connections from now on."""
    global _is_in_use
    _is_in_use = True


class ClosedConnections(RequestHeaderProvider):
    """The plugin; other programs in the same environment keep their connections open."""

    def in_context(self) -> bool:  # type: ignore[override]
        """Return True if this process runs the harness."""
        return _is_in_use

    def request_headers(self) -> dict[str, str]:  # type: ignore[override]
        """Return the header that closes a connection."""
        return {"Connection": "close"}
