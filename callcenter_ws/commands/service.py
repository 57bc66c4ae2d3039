"""CommandService: what clients ask for, from the request to the outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from callcenter_ws.commands.audit import CommandAudit, NoAudit
from callcenter_ws.commands.closing import CommandCloser
from callcenter_ws.commands.counters import CommandCounters
from callcenter_ws.commands.decoding import CommandRequest, decode_request, stored_request
from callcenter_ws.commands.dispatching import CommandDispatcher
from callcenter_ws.commands.gateway_commands import GatewayCommands
from callcenter_ws.commands.outcome_waiters import OutcomeWaiters
from callcenter_ws.commands.policy import CommandPolicy, Destination
from callcenter_ws.commands.recent_calls import RecentCalls
from callcenter_ws.commands.rights import check_rights
from callcenter_ws.commands.routing import route
from callcenter_ws.commands.source_outcomes import SourceOutcomes
from callcenter_ws.commands.subjects import Subject, Subjects
from callcenter_ws.commands.sweep import CommandSweep
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import COMMANDS, CommandKey, CommandRecord
from callcenter_ws.events.identifiers import identifier_problem
from callcenter_ws.events.principal import Principal
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import Broker, CommandSource, SourceCapabilities
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock, unix_ms
from callcenter_ws.runtime.json import JsonObject, decode_trusted_json, rfc3339

DRAINING_RETRY_AFTER_SECONDS = 5.0

_BY_GATEWAY = CommandSource("", "", (), connected=True)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to a request: the command that is stored now, or was stored before with the same identifier."""

    record: CommandRecord
    is_repeated: bool = False

    def payload(self) -> JsonObject:
        """Return the payload of ``accepted``: where the command stands, with its outcome if it has one."""
        record = self.record
        fields: JsonObject = {
            "command_id": record.key.command_id,
            "source": record.source or None,
            "deadline": rfc3339(record.deadline_ms / 1_000),
            "state": record.state,
        }
        return fields if record.state.is_open else {**fields, **outcome_fields(record)}


def outcome_fields(record: CommandRecord) -> JsonObject:
    """Return the fields of the outcome of a closed command, those that it has."""
    fields: JsonObject = {
        "code": record.code,
        "message": record.message,
        "data": None if record.data is None else decode_trusted_json(record.data),
    }
    return {name: value for name, value in fields.items() if value is not None}


class CommandService:
    """Accepts commands, has them carried out, and knows their outcomes.

    Args:
        sources: the registry of sources.
        charge: takes one command from the budget of its asker; returns the seconds to wait if there is none left.
        new_id: makes the identifiers of commands without one.
        follow: has this node deliver the events of a tenant from now on; returns what ends that.

    Attributes:
        policy: what the settings say; may be replaced.
        draining: whether commands are refused, because the node stops.
        dispatcher: sends commands to the sources of this node.
        outcomes: takes the outcomes of these sources.
    """

    def __init__(
        self,
        broker: Broker,
        sources: SourceCapabilities,
        clock: Clock,
        spawn: Spawn,
        policy: CommandPolicy,
        *,
        charge: Callable[[Principal], float],
        new_id: Callable[[], str],
        follow: Callable[[str], Callable[[], None]] = lambda tenant_id: lambda: None,
        audit: CommandAudit | None = None,
        counters: CommandCounters | None = None,
    ) -> None:
        self._store = broker.commands
        self._sources = sources
        self._clock = clock
        self.policy = policy
        self._charge = charge
        self._new_id = new_id
        self._audit = audit or NoAudit()
        self.counters = counters or CommandCounters()
        self.draining = False
        self._recent_calls = RecentCalls(clock)
        self._subjects = Subjects(broker, self._recent_calls, clock)
        self._waiters = OutcomeWaiters(self._store, clock)
        closer = CommandCloser(broker, clock, self.counters, self._audit)
        self._sweep = CommandSweep(self._store, closer, clock, spawn)
        self._by_gateway = GatewayCommands(self._store, closer, clock, spawn, self.check_again, lambda: self.policy)
        self.dispatcher = CommandDispatcher(
            self._store, closer, clock, spawn, self.check_again, self.counters, follow=follow
        )
        self.outcomes = SourceOutcomes(broker, closer, clock, self.dispatcher, self.counters)

    # Life

    def start(self) -> None:
        """Dispatch commands, and close those that are overdue, from now on; the store must be open."""
        self._store.listen(self.dispatcher.accepted)
        self.dispatcher.start()
        self._sweep.start()

    def drain(self) -> None:
        """Accept no more commands, and send none: another node does, or this one after its restart.

        Requests that wait for an outcome are answered.
        """
        self.draining = True
        self.dispatcher.stop()
        self._waiters.stop()

    async def stop(self) -> None:
        """Stop; return when nothing is under way. The store may be closed then."""
        self.drain()
        await self._sweep.stop()

    def delivered(self, publications: Sequence[Publication]) -> None:
        """Learn from delivered publications. Implements ``interfaces.Deliver``."""
        if self.policy.enabled:
            self._recent_calls.delivered(publications)
            self._waiters.delivered(publications)

    # Requests

    def offered_to(self, principal: Principal) -> JsonObject | None:
        """Return the part of ``welcome`` about commands; None for those who may issue none."""
        names = self.policy.names_for(principal.role) if self.policy.enabled else []
        if not names:
            return None
        choices = self.policy.choices_of(principal.tenant_id)
        return {
            "names": names,
            "pause_reasons": list(choices.pause_reasons),
            "dispositions": [one._asdict() for one in choices.dispositions],
            "destinations": [_offered(one, principal) for one in choices.destinations],
        }

    async def issue(self, asker: Principal, fields: JsonObject) -> Accepted:
        """Accept a command, or return what became of it if it was accepted before.

        Args:
            asker: of one tenant.
            fields: ``name``, the fields of that command, and perhaps ``command_id`` and ``expires_at``.

        Raises:
            Refusal: nothing is stored.
        """
        self._check_open(asker)
        try:
            request = decode_request(fields, self.policy, asker.tenant_id, self._new_id)
        except Refusal as refusal:
            # It counts as a command: each has its line in the audit log, which has no room for any number.
            self._check_rate(asker, fields)
            self._refused(asker, *_named(fields), refusal.code)
            raise
        self._check_rate(asker, fields)
        key = CommandKey(asker.tenant_id, asker.user_id, request.command_id)
        with self._waiters.watch(key) as watch:
            try:
                accepted = await self._accept(asker, key, request)
            except Refusal as refusal:
                self._refused(asker, request.type.name, request.command_id, refusal.code)
                raise
            if watch.is_delivered and accepted.record.state.is_open:
                # The answer of the store came after the outcome: the asker must not be told that it is open now.
                closed = await self._store.command(key)
                accepted = accepted if closed is None else Accepted(closed, accepted.is_repeated)
        return accepted

    def _check_open(self, asker: Principal) -> None:
        if not self.policy.enabled:
            raise Refusal(ErrorCode.COMMANDS_OFF)
        if self.draining:
            raise Refusal(ErrorCode.DRAINING, retry_after=DRAINING_RETRY_AFTER_SECONDS)
        if asker.every_tenant:
            raise Refusal(ErrorCode.INVALID_MESSAGE, "tenant_id: the token is for all tenants; name one")

    def _check_rate(self, asker: Principal, fields: JsonObject) -> None:
        wait = self._charge(asker)
        if wait > 0:
            self._refused(asker, *_named(fields), ErrorCode.RATE_LIMITED)
            raise Refusal(ErrorCode.RATE_LIMITED, "too many commands", retry_after=wait)

    def _refused(self, asker: Principal, name: str, command_id: str | None, code: ErrorCode) -> None:
        self.counters.refused[code] = self.counters.refused.get(code, 0) + 1
        self._audit.command_refused(asker, name, command_id, code)

    async def _accept(self, asker: Principal, key: CommandKey, request: CommandRequest) -> Accepted:
        known = await self._store.command(key)
        if known is not None:
            return _repeated(known, request)
        if request.expires_at is not None and request.expires_at < self._clock.time():
            raise Refusal(ErrorCode.EXPIRED)
        subject = await self._subjects.find(asker, request.type, request.fields, self.policy)
        check_rights(asker, request.type, request.fields, subject, self.policy)
        record = self._record(asker, request, key, subject, await self._route(asker, request, subject))
        # It may have begun to drain meanwhile.
        self._check_open(asker)
        known = await self._store.accept(record)
        if known is not None:
            return _repeated(known, request)
        self.counters.accepted[record.name] += 1
        self._audit.command_accepted(record)
        if not record.source:
            # Not within this call: the answer to the request comes before the outcome.
            self._clock.call_later(0, self._by_gateway.execute, record)
        return Accepted(record)

    async def _route(self, asker: Principal, request: CommandRequest, subject: Subject) -> CommandSource:
        by_gateway = request.type.by_gateway
        if by_gateway == "always":
            return _BY_GATEWAY
        if by_gateway == "unless_owned" and not await self._sources.chats_are_owned(asker.tenant_id):
            return _BY_GATEWAY
        sources = await self._sources.command_sources(asker.tenant_id)
        return route(request.type, sources, subject.owners, self.policy.choices_of(asker.tenant_id).route)

    def _record(
        self, asker: Principal, request: CommandRequest, key: CommandKey, subject: Subject, source: CommandSource
    ) -> CommandRecord:
        now_ms = unix_ms(self._clock)
        return CommandRecord(
            key=key,
            role=asker.role,
            name=request.type.name,
            payload=request.payload,
            source=source.name,
            source_scope=source.scope,
            queues=None if asker.queues is None else tuple(sorted(asker.queues)),
            extension=asker.extension,
            queue_name=subject.queue_name,
            accepted_ms=now_ms,
            deadline_ms=now_ms + int(request.type.deadline * 1_000),
        )

    async def check_again(self, record: CommandRecord) -> Subject:
        """Check the rights of an accepted command against the present state; return what it is about.

        Raises:
            Refusal: ``not_allowed``, ``not_found``; ``unavailable``: the store cannot be reached.
        """
        asker, type_, fields = stored_request(record)
        subject = await self._subjects.find(asker, type_, fields, self.policy)
        check_rights(asker, type_, fields, subject, self.policy, again=True)
        return subject

    # What became of it

    async def command(self, asker: Principal, command_id: str) -> CommandRecord | None:
        """Return a command that the asker has issued; None if there is none with this identifier.

        Raises:
            Refusal: ``unavailable``: the store cannot be reached.
        """
        return await self._store.command(CommandKey(asker.tenant_id, asker.user_id, command_id))

    async def outcome(self, key: CommandKey, seconds: float) -> CommandRecord:
        """Return a command when it is closed, or as it is after so many seconds.

        Raises:
            Refusal: ``unknown_command``, ``overloaded``, ``unavailable``.
        """
        return await self._waiters.wait(key, seconds)


def _offered(destination: Destination, principal: Principal) -> JsonObject:
    """Return what ``welcome`` has of a destination: a queue that the client does not see is only a number."""
    fields, queues = destination._asdict(), principal.queues
    is_hidden = queues is not None and destination.queue_name not in queues
    return {**fields, "queue_name": None} if is_hidden else fields


def _named(fields: JsonObject) -> tuple[str, str | None]:
    """Return the name and the identifier of a request that cannot be decoded, as far as it has valid ones."""
    name, command_id = fields.get("name"), fields.get("command_id")
    return (
        name if isinstance(name, str) and name in COMMANDS else "",
        command_id if isinstance(command_id, str) and not identifier_problem(command_id) else None,
    )


def _repeated(known: CommandRecord, request: CommandRequest) -> Accepted:
    if (known.name, known.payload) != (request.type.name, request.payload):
        raise Refusal(ErrorCode.CONFLICT)
    return Accepted(known, is_repeated=True)
