"""The broker in a SQLite file: the contract of every store, and what is its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_twisted
from contract import Bench, BrokerContract, DurableContract, MailContract
from twisted.internet import reactor

from callcenter_ws.broker.sqlite.broker import SqliteBroker
from callcenter_ws.interfaces import Broker


class SqliteBench(Bench):
    """A SqliteBroker on a fake clock, and the reactor's real threads."""

    options: dict[str, Any]

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.options = {}

    def make(self, *, history_events: int, history_seconds: float) -> Broker:
        limits = {"history_events": history_events, "history_seconds": history_seconds}
        return SqliteBroker(reactor, self.clock, self.path, **{**limits, **self.options})


@pytest_twisted.async_yield_fixture
async def bench(tmp_path: Path) -> AsyncIterator[SqliteBench]:
    bench = SqliteBench(tmp_path / "events.sqlite")
    await bench.open()
    yield bench
    await bench.close()


class TestSqliteBroker(BrokerContract, MailContract, DurableContract):
    """Keeps the contract."""
