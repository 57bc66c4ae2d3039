"""A CommandService with the memory store, a clock that tests advance, and sources without a network."""

from __future__ import annotations

import itertools
from typing import Any

from doubles import FixedCapabilities, SteppingClock
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.commands.policy import CommandChoices, CommandPolicy, Destination, Disposition
from callcenter_ws.commands.service import CommandService
from callcenter_ws.commands.source_outcomes import ToldOutcome
from callcenter_ws.errors import Refusal
from callcenter_ws.events.commands import COMMANDS, CommandKey, CommandRecord
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import CommandSource, SourceRecord
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.json import decode_trusted_json
from callcenter_ws.sources.link import SourceLink

CHOICES = CommandChoices(
    pause_reasons=("lunch",),
    dispositions=(Disposition("sold", "Sold"),),
    destinations=(Destination("Night desk", "0", None), Destination("Sales", "600", "sales")),
)
POLICY = CommandPolicy(enabled=True, choices=CHOICES)


def person(user: str = "alice", role: Role = Role.AGENT, **claims: Any) -> Principal:
    return Principal("acme", user, role, **claims)


def result_of(awaitable: Any) -> Any:
    """Return the result of what waits for nothing, or raise its exception."""
    results: list[Any] = []
    Deferred.fromCoroutine(_coroutine(awaitable)).addBoth(results.append)
    assert results, "it waits"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


async def _coroutine(awaitable: Any) -> Any:
    return await awaitable


class Source:
    """A source, and the connection over which it is called.

    Attributes:
        calls: the commands that it was sent, with what answers each call.
        reasons: why the gateway has closed the connection.
    """

    def __init__(self, world: CommandWorld, name: str = "pbx1", generation: int = 1) -> None:
        self.world = world
        self.name = name
        record = SourceRecord(
            scope="*", subject="", name=name, kind="test", version="", instance="i", generation=generation, lease=1,
            tenants=("acme",), claimed=("acme",), capabilities=tuple(COMMANDS),
        )  # fmt: skip
        self.reasons: list[str] = []
        self.link = SourceLink(record, name, self.reasons.append)
        self.calls: list[tuple[CommandRecord, Deferred[None]]] = []
        self.writable = True
        self.is_ended = False
        self._seq = itertools.count(1)

    def subscribe(self) -> Source:
        self.world.service.dispatcher.attach(self.link, self)
        return self

    def command(self, record: CommandRecord) -> Deferred[None]:
        answer: Deferred[None] = Deferred()
        self.calls.append((record, answer))
        return answer

    def disconnect(self, reason: str) -> None:
        self.reasons.append(reason)

    @property
    def sent(self) -> list[str]:
        """The ids of the commands that it was sent."""
        return [record.key.command_id for record, _ in self.calls]

    def take(self, count: int | None = None) -> None:
        """Answer calls, the oldest first."""
        for _, answer in self.calls[:count]:
            if not answer.called:
                answer.callback(None)

    def told(self, command_id: str, state: str = "done", user: str = "alice", **fields: Any) -> ToldOutcome:
        """Return an outcome with the next number, unless another one is given."""
        seq = fields.pop("source_seq", -1)
        return ToldOutcome(
            key=CommandKey("acme", user, command_id),
            source_seq=next(self._seq) if seq == -1 else seq,
            state=state,
            **{"code": None, "message": None, "data": None, "timestamp": None, **fields},
        )

    async def give(self, told: ToldOutcome) -> bool:
        """Give an outcome to the gateway, as the responder of ``CommandOutcome`` does."""
        outcomes = self.world.service.outcomes
        return await outcomes.take(self.link, told, await outcomes.find(self.link, told))

    def tell(self, command_id: str, state: str = "done", **fields: Any) -> bool:
        """Tell an outcome; return whether it closed the command."""
        return bool(result_of(self.give(self.told(command_id, state, **fields))))


class CommandWorld:
    """The parts between the edges.

    Attributes:
        waits: seconds for which users must wait until they may issue a command.
    """

    def __init__(self, policy: CommandPolicy = POLICY) -> None:
        self.clock = SteppingClock()
        self.broker = MemoryBroker(self.clock)
        self.delivered: list[Publication] = []
        self.sources = FixedCapabilities()
        self.waits = 0.0
        self.followed: list[str] = []
        self._ids = itertools.count(1)
        self.service = CommandService(
            self.broker,
            self.sources,
            self.clock,
            spawn,
            policy,
            charge=lambda asker: self.waits,
            new_id=lambda: f"made-{next(self._ids)}",
            follow=self._follow,
        )
        result_of(self.broker.start(self._deliver))
        self.broker.attach("acme")
        self.broadcaster = EventBroadcaster(self.broker, self.clock)
        self.declare("pbx1", *COMMANDS)
        self.service.start()

    def _deliver(self, publications: Any) -> None:
        self.delivered += publications
        self.service.delivered(publications)

    def _follow(self, tenant_id: str) -> Any:
        self.followed.append(tenant_id)
        return lambda: self.followed.remove(tenant_id)

    def declare(self, name: str, *capabilities: str, connected: bool = True) -> None:
        """Register a source; what it was registered with before is replaced."""
        others = [source for source in self.sources.commands if source.name != name]
        self.sources.commands = [*others, CommandSource("*", name, capabilities, connected)]

    def publish(self, type_: str, **payload: Any) -> None:
        result_of(self.broadcaster.publish("acme", type_, payload))

    def call(self, call_id: str, agent: str | None = "alice", **fields: Any) -> None:
        """Have a call begin, and be answered by an agent."""
        call = {"unique_id": call_id, "caller_id": "+49301", "destination": "100", **fields}
        self.publish("call.incoming", **call)
        if agent is not None:
            self.publish("call.answered", agent_id=agent, **call)

    def issue(self, name: str, asker: Principal | None = None, **fields: Any) -> Any:
        """Issue a command; return what is answered."""
        return result_of(self.service.issue(asker or person(), {"name": name, **fields})).payload()

    def code(self, name: str, asker: Principal | None = None, **fields: Any) -> str:
        """Issue a command; return the code with which it is refused, ``accepted`` if it is not."""
        try:
            self.issue(name, asker, **fields)
        except Refusal as refusal:
            return refusal.code.value
        return "accepted"

    def dial(self, *ids: str, asker: Principal | None = None) -> None:
        """Issue commands to dial a number."""
        for command_id in ids:
            self.issue("call.originate", asker, destination="100", command_id=command_id)

    def outcomes(self) -> dict[str, str]:
        """Return the outcome of each command, ``done`` or its code, by its id; each has one at most."""
        found: dict[str, str] = {}
        for publication in self.delivered:
            event = publication.event
            if event.type.name in ("command.done", "command.failed"):
                payload = decode_trusted_json(event.payload)
                assert payload["command_id"] not in found
                found[payload["command_id"]] = payload.get("code", "done")
        return found
