"""A SqliteBroker with a fake clock and real threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from broker_contract import Bench
from twisted.internet import reactor

from callcenter_ws.broker.sqlite.broker import SqliteBroker
from callcenter_ws.interfaces import Broker


class SqliteBench(Bench):
    """A store in one file.

    Attributes:
        options: additional arguments of the stores made from now on.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.options: dict[str, Any] = {}

    def make(self, *, history_events: int, history_seconds: float, history_bytes: int = 2**40) -> Broker:
        limits = {
            "history_events": history_events,
            "history_seconds": history_seconds,
            "history_bytes": history_bytes,
        }
        return SqliteBroker(reactor, self.clock, self.path, **{**limits, **self.unfolded, **self.options})

    @property
    def store(self) -> SqliteBroker:
        """The running store."""
        assert isinstance(self.broker, SqliteBroker)
        return self.broker
