"""Live figures in a gateway without a network: their store, and switching statistics on and off."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sample_events import ACME
from twisted.internet.defer import Deferred
from world import Message, World

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.figures.plan import CurrentPlan, Plan, TenantPlan
from callcenter_ws.statistics.store import LiveFigure

ON = Plan(default=TenantPlan())
OFF = Plan()


def figure(key: str, seq: int, *, epoch: str = "01B", **payload: Any) -> LiveFigure:
    """Return a live figure of the tenant ``ACME``, with a payload of some hundred bytes."""
    type_, _, name = key.partition(":")
    about = {"queue.stats": {"queue_name": name}, "agent.stats": {"user_id": name}}.get(type_, {})
    head = {"epoch": epoch, "as_of_seq": seq, "generated_at": "2026-11-23T09:00:00.000Z", "time_zone": "U" * 300}
    message = {"type": type_, "tenant_id": ACME, "payload": {**head, **about, **payload}}
    return LiveFigure(key, json.dumps(message, separators=(",", ":")).encode())


def key_of(message: Message) -> str:
    """Return the key of a message with a live figure."""
    assert not {"seq", "id"} & message.keys()
    payload = message["payload"]
    return f"{message['type']}:{payload.get('queue_name') or payload.get('user_id') or ''}"


def newest_of(messages: Iterable[Message]) -> dict[str, int]:
    """Return, by key, ``as_of_seq`` of the last figure of each key among some messages."""
    return {key_of(one): one["payload"]["as_of_seq"] for one in messages if "as_of_seq" in one["payload"]}


class StoredFigures:
    """The live figures of ``ACME`` in a store; the part of ``FigureStore`` that the Hub uses.

    Attributes:
        figures: by key.
        reads: how often they were read.
        is_down: whether reading is refused.
        is_slow: whether readings wait, in ``waiting``, for their answer, which is made before.
    """

    def __init__(self) -> None:
        self.figures: dict[str, LiveFigure] = {}
        self.reads = 0
        self.is_down = self.is_slow = False
        self.waiting: list[Deferred[None]] = []

    async def live(self, tenant_id: str) -> list[LiveFigure]:
        """Return the figures."""
        self.reads += 1
        if self.is_down:
            raise Refusal(ErrorCode.UNAVAILABLE, "the store is not available")
        found = list(self.figures.values()) if tenant_id == ACME else []
        if self.is_slow:
            self.waiting.append(Deferred())
            await self.waiting[-1]
        return found


class FigureWorld(World):
    """A World with statistics.

    Attributes:
        stored: the figures in the store.
    """

    def __init__(self, plan: Plan = ON, **options: Any) -> None:
        super().__init__(**options)
        self.stored = StoredFigures()
        self._plan = CurrentPlan(plan)
        self.use(plan)

    def use(self, plan: Plan) -> None:
        """Reload the settings of statistics."""
        self._plan.use(plan)
        self.hub.use_figures(self.stored, self._plan)  # type: ignore[arg-type]

    def store(self, *figures: LiveFigure) -> None:
        """Have figures in the store that are not announced."""
        for one in figures:
            if one.message:
                self.stored.figures[one.key] = one
            else:
                self.stored.figures.pop(one.key, None)

    def announce_figures(self, *figures: LiveFigure) -> None:
        """Have figures in the store, and announce them; they are delivered in the next turn."""
        self.store(*figures)
        self.hub.announce_figures(ACME, figures)

    def change(self, *figures: LiveFigure) -> None:
        """Have figures in the store, announced and delivered."""
        self.announce_figures(*figures)
        self.turn()
