"""RedisBroker for the broker contract: a fake clock gives the times of events, the reactor runs the timers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker_contract import A, B, Bench
from twisted.internet import reactor

from callcenter_ws.broker.redis.broker import RedisBroker
from callcenter_ws.interfaces import Broker, Position
from callcenter_ws.redis.address import redis_address
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.clock import ReactorClock, Timer
from callcenter_ws.testing import FakeClock


class ShiftedClock:
    """The time of a fake clock, and the timers of the reactor."""

    def __init__(self, fake: FakeClock) -> None:
        self.time = fake.time
        self.monotonic = fake.monotonic
        self._real = ReactorClock(reactor)

    def call_later(self, delay: float, call: Callable[..., object], *args: object) -> Timer:
        return self._real.call_later(delay, call, *args)


class RedisBench(Bench):
    """A broker under one prefix of a server, with the contract's tenants attached.

    Attributes:
        options: further arguments for the next broker that is made.
        interruptions: the interruptions that were reported: tenant and position.
    """

    def __init__(self, url: str, prefix: str) -> None:
        super().__init__()
        self.url = url
        self.prefix = prefix
        self.options: dict[str, Any] = {}
        self.interruptions: list[tuple[str, Position]] = []

    def make(self, *, history_events: int, history_seconds: float, history_bytes: int = 2**40) -> Broker:
        limits = {
            "history_events": history_events,
            "history_seconds": history_seconds,
            "history_bytes": history_bytes,
        }
        options = {"prefix": self.prefix, **limits, **self.unfolded, **self.options}
        return RedisBroker(reactor, ShiftedClock(self.clock), spawn, redis_address(self.url), **options)

    async def open(self, **limits: Any) -> Broker:
        if hasattr(self, "broker"):
            await self.broker.stop()
        self.broker = self.make(**{"history_events": 1_000, "history_seconds": 86_400.0, **limits})
        for tenant in (A, B):
            self.broker.attach(tenant)
        await self.broker.start(self.delivered.extend, lambda *reported: self.interruptions.append(reported))
        await self.until(lambda: self.broker.not_ready() is None)
        for tenant in (A, B):
            await self.broker.position(tenant)
        return self.broker

    @property
    def store(self) -> RedisBroker:
        """The broker that runs."""
        assert isinstance(self.broker, RedisBroker)
        return self.broker
