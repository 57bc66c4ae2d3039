"""Publishes the events of the parts of a fold in the background; the parts repeat what was not published."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from callcenter_ws.errors import Refusal
from callcenter_ws.events.event import Event, Origin, StoreCondition, make_event
from callcenter_ws.interfaces import Broker
from callcenter_ws.runtime.background import Spawn, spawn
from callcenter_ws.runtime.json import JsonValue
from callcenter_ws.runtime.log_fields import Name

MAX_IN_FLIGHT = 100
"""Events of a tenant that are being published; others wait for a later second, when their part sends them again."""

PublishEvent = Callable[[Event], Awaitable[object]]
"""Publishes one event; raises ``Refusal``. Success includes a repetition of an event that was published before."""

_log = Logger("callcenter_ws")


def publishing_to(broker: Broker) -> PublishEvent:
    """Return a ``PublishEvent`` of a store."""

    async def publish(event: Event) -> None:
        (outcome,) = await broker.publish([event])
        if isinstance(outcome, Refusal):
            raise outcome

    return publish


class Publishing:
    """Publishes events of one tenant under the fence of its claim, each id at most once at a time.

    Args:
        what: what the events are about, for the log.
    """

    def __init__(
        self,
        tenant_id: str,
        what: str,
        publish: PublishEvent,
        *,
        spawn: Spawn = spawn,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tenant_id, self._what = tenant_id, what
        self._publish, self._spawn, self._monotonic = publish, spawn, monotonic
        self._in_flight: set[str] = set()
        self._all_done: list[Deferred[None]] = []
        self._fence: int | None = None
        self._has_failed = False

    def start(self, fence: int) -> None:
        """Publish from now on, under a fence."""
        self._fence = fence

    def takes(self, event_id: str) -> bool:
        """Return whether an event would be published now: started, not in flight, and there is room."""
        return self._fence is not None and len(self._in_flight) < MAX_IN_FLIGHT and event_id not in self._in_flight

    def send(self, type_: str, payload: JsonValue, event_id: str, now_ms: int) -> None:
        """Publish an event that ``takes`` has allowed; a failure is logged, once until one succeeds."""
        event = make_event(
            tenant_id=self._tenant_id,
            type_=type_,
            payload=payload,
            event_id=event_id,
            now=now_ms / 1000,
            received_at=self._monotonic(),
            origin=Origin.GATEWAY,
        )
        event.condition = StoreCondition(fence=self._fence)
        self._in_flight.add(event_id)
        self._spawn(self._send(event))

    async def _send(self, event: Event) -> None:
        try:
            await self._publish(event)
            self._has_failed = False
        except Refusal as refusal:
            self._log_once(f"{refusal.code}, {refusal.message}")
        except Exception as error:
            self._log_once(repr(error))
        finally:
            self._in_flight.discard(event.event_id)
            if not self._in_flight:
                waiting, self._all_done = self._all_done, []
                for done in waiting:
                    done.callback(None)

    def _log_once(self, reason: str) -> None:
        if self._has_failed:
            return
        self._has_failed = True
        _log.warn(
            "{what} of tenant {tenant} cannot be published, and are tried again each second: {reason}",
            what=self._what,
            tenant=Name(self._tenant_id),
            reason=reason,
        )

    def stop(self) -> Awaitable[None]:
        """Publish no more, and wait for what is in flight."""
        self._fence = None
        done: Deferred[None] = Deferred()
        if self._in_flight:
            self._all_done.append(done)
        else:
            done.callback(None)
        return done
