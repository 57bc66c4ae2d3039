"""Autobahn's log, reduced to what an operator needs."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

_log = Logger("callcenter_ws.autobahn")


class QuietLog:
    """Stands in for the ``log`` of Autobahn's protocol classes.

    Its lines for debugging cost time on every frame, and its warnings on what peers do wrong would say a
    second time, with the peer's words, what the gateway's own journal says once. Errors are passed on.
    """

    def trace(self, *args: Any, **kwargs: Any) -> None:
        """Say nothing."""

    debug = info = warn = trace

    def error(self, format: str | None = None, **kwargs: Any) -> None:  # noqa: A002 - the name that Autobahn uses
        """Log an error of Autobahn's own."""
        _log.error(format, **kwargs)

    def failure(self, format: str | None = None, **kwargs: Any) -> None:  # noqa: A002 - the name that Autobahn uses
        """Log an exception that Autobahn caught."""
        _log.failure(format or "autobahn caught an exception", **kwargs)
