"""CommandRunner: takes the commands of the gateway, and has the functions of the daemon carry them out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Self

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import COMMANDS, CommandKey, CommandOutcome, OutcomeCode
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.remote.command_outcome import done, encode_outcome, failed
from callcenter_ws.remote.gateway_clock import GatewayClock
from callcenter_ws.remote.pending_event import PendingEvent
from callcenter_ws.remote.taken_commands import TakenCommand, TakenCommands, TakenStore
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import MAX_INTEGER, JsonObject, decode_json, rfc3339
from callcenter_ws.runtime.suggestions import closest_name

MAX_UNANSWERED = 1_000
"""Outcomes that wait for the gateway's answer, beyond which no command is taken."""

_KEPT = (ErrorCode.UNAVAILABLE, ErrorCode.STALE_GENERATION)
"""The daemon is stopped, or another one has taken over: what the outcome is refused with concerns all events."""

_LATE = "the time for it had passed before it was begun; it was not done"
_STOPPING = "the source is being stopped; it was not done"
_RESTARTED = "the source was restarted meanwhile; it is not known whether this was done: look at it"
_FAILED = "the source could not carry it out because of an internal error"
_UNKNOWN = "the source cannot do this"

_log = Logger()


class CommandFailed(Exception):
    """Raised by the function of a command: it was not carried out.

    Args:
        code: why: ``rejected``, ``busy``, ``not_found``, ``not_allowed``, ``unsupported``, ``source_down`` (what the
            daemon is connected to is gone), ``timeout``, ``failed``, or, if that is not known, ``outcome_unknown``.
        message: for the person who asked; it is cut to 500 characters.

    Raises:
        ValueError: there is no such code.
    """

    def __init__(self, code: OutcomeCode | str, message: str = "") -> None:
        super().__init__(code, message)
        self.code = OutcomeCode(code)
        self.message = message


@dataclass(frozen=True, slots=True)
class Command:
    """What the gateway wants to be carried out.

    Attributes:
        tenant_id: the tenant of the person or service that asks.
        name: as ``call.hangup``.
        payload: the fields of the command; ``docs/agent-commands.rst`` lists them.
        user_id, role: of the person or service that asks. The gateway has checked its rights.
        extension: of the asker's token; None if it has none.
        command_id: unique among the commands of the user.
        deadline: Unix time of the gateway, in seconds, until when it may be begun and should be carried out.
    """

    tenant_id: str
    name: str
    payload: JsonObject
    user_id: str
    role: str
    extension: str | None
    command_id: str
    deadline: float
    _gateway_clock: GatewayClock = field(repr=False, compare=False)

    @classmethod
    def decode(
        cls,
        gateway_clock: GatewayClock,
        payload: bytes,
        deadline_ms: int,
        **texts: Any,  # strings, of which only ``extension`` may be None
    ) -> Self:
        """Return the arguments of the AMP command with the payload decoded.

        Raises:
            Refusal: ``invalid_event``: the payload is not a JSON object, or the deadline no time.
        """
        if not 0 <= deadline_ms <= MAX_INTEGER:
            raise Refusal(ErrorCode.INVALID_EVENT, "deadline_ms: expected Unix time in milliseconds")
        fields = decode_json(payload)
        if not isinstance(fields, dict):
            raise Refusal(ErrorCode.INVALID_EVENT, "payload: expected an object")
        return cls(payload=fields, deadline=deadline_ms / 1_000, _gateway_clock=gateway_clock, **texts)

    @property
    def key(self) -> CommandKey:
        """Identifies the command."""
        return CommandKey(self.tenant_id, self.user_id, self.command_id)

    @property
    def seconds_left(self) -> float:
        """The time until the deadline; negative when it has passed."""
        now = self._gateway_clock.time()
        return -1.0 if now is None else self.deadline - now


CommandFunction = Callable[[Command], object]
"""Carries out a command; may return an awaitable. Its result is None or a dict, which the asker gets as ``data``."""


class _State(Enum):
    OPEN = auto()
    STOPPING = auto()
    CLOSED = auto()


class CommandRunner:
    """Takes commands, calls their functions, and makes their outcomes.

    A command is taken when its id is stored. Then it is answered, and its function is called, unless the deadline has
    passed. So each command is carried out once at most: if the process ends in between, the next one tells the gateway
    that its outcome is not known.

    Args:
        at_once: commands that are carried out at the same time, at most; others are refused as ``busy``.
        publish: sends an outcome, in order with the events.
        ended: called after each command.
    """

    def __init__(
        self,
        clock: Clock,
        store: TakenStore,
        at_once: int,
        publish: Callable[[PendingEvent], None],
        ended: Callable[[], None],
    ) -> None:
        self.gateway_clock = GatewayClock(clock)
        self._clock = clock
        self._taken = TakenCommands(store)
        self._at_once = at_once
        self._publish = publish
        self._ended = ended
        self._functions: dict[str, CommandFunction] = {}
        self._running: set[CommandKey] = set()
        self._unanswered = 0
        self._state = _State.CLOSED

    @property
    def names(self) -> Sequence[str]:
        """The commands that are carried out."""
        return tuple(self._functions)

    @property
    def running(self) -> int:
        """The number of commands that are being carried out."""
        return len(self._running)

    def register(self, name: str, function: CommandFunction | None) -> bool:
        """Set or remove the function of a command; return whether ``names`` have changed.

        Raises:
            ValueError: no source carries out such a command.
        """
        declared = COMMANDS.get(name)
        if declared is None:
            meant = closest_name(name, COMMANDS)
            raise ValueError(f"there is no command {name!r}" + (f"; did you mean {meant}?" if meant else ""))
        if declared.by_gateway == "always":
            raise ValueError(f"{name} is carried out by the gateway itself")
        before = self.names
        if function is None:
            self._functions.pop(name, None)
        else:
            self._functions[name] = function
        return self.names != before

    # The service

    def open(self, stored: Iterable[TakenCommand]) -> None:
        """Take commands from now on; tell that the outcome of those is unknown that an earlier process left."""
        self._state = _State.OPEN
        for left in self._taken.open(stored, self._running):
            _log.warn(
                "{name} {command_id} of {tenant_id} was taken by an earlier process, which ended before its outcome",
                name=left.name,
                command_id=left.key.command_id,
                tenant_id=left.key.tenant_id,
            )
            self._tell(left.key, left.name, failed(OutcomeCode.OUTCOME_UNKNOWN, _RESTARTED))

    def stop(self) -> None:
        """Take no further command."""
        self._state = _State.STOPPING

    def close(self) -> None:
        """Send no further outcome: the spool is closed. What still runs has an unknown outcome."""
        self._state = _State.CLOSED

    # Commands

    async def take(self, command: Command) -> None:
        """Store a command, and carry it out later; do nothing if it was taken before.

        Raises:
            Refusal: ``overloaded``: it is not carried out.
        """
        if self._state is not _State.OPEN:
            raise Refusal(ErrorCode.OVERLOADED, _STOPPING)
        key = command.key
        if key in self._taken:
            # Its answer, too, says that it is stored.
            await self._taken.stored(key)
            return
        now = self.gateway_clock.time()
        if now is None or len(self._running) >= self._at_once or self._unanswered >= MAX_UNANSWERED:
            raise Refusal(ErrorCode.OVERLOADED, f"the source carries out {len(self._running)} commands already")
        self._running.add(key)
        try:
            await self._taken.take(TakenCommand(key, command.name, int(command.deadline * 1_000)), now * 1_000)
        except BaseException:
            self._end(key)
            raise
        # Later, so that it is answered before.
        self._clock.call_later(0, lambda: spawn(self._run(command)))

    async def _run(self, command: Command) -> None:
        """Carry out a command that was taken, and send its outcome."""
        try:
            outcome = await self._outcome(command)
        finally:
            self._running.discard(command.key)
        self._tell(command.key, command.name, outcome)
        self._ended()

    async def _outcome(self, command: Command) -> CommandOutcome:
        function = self._functions.get(command.name)
        if function is None:
            return failed(OutcomeCode.UNSUPPORTED, _UNKNOWN)
        if self._state is not _State.OPEN:
            return failed(OutcomeCode.BUSY, _STOPPING)
        if command.seconds_left <= 0:
            return failed(OutcomeCode.TIMEOUT, _LATE)
        try:
            result = await maybeDeferred(function, command)
        except CommandFailed as failure:
            return failed(failure.code, failure.message)
        except Exception:
            _log.failure("unhandled error in the function for {name}", name=command.name)
            return failed(OutcomeCode.FAILED, _FAILED)
        try:
            return done(result)
        except ValueError as error:
            _log.error("the result of the function for {name} is not sent: {reason}", name=command.name, reason=error)
            return done()

    def _tell(self, key: CommandKey, name: str, outcome: CommandOutcome) -> None:
        if self._state is _State.CLOSED:
            return
        self._taken.closed(key)
        event = encode_outcome(key, name, outcome, rfc3339(self._clock.time()))
        self._unanswered += 1
        event.answer.addCallbacks(self._answered, self._refused, errbackArgs=(event,))
        self._publish(event)

    def _answered(self, result: PublishResult) -> None:
        self._unanswered -= 1

    def _refused(self, failure: Failure, event: PendingEvent) -> None:
        self._unanswered -= 1
        refusal = failure.value
        if isinstance(refusal, Refusal) and refusal.code not in _KEPT:
            _log.error(
                "the gateway refused the outcome of {name} {command_id} of {tenant_id}: {code}: {reason}",
                name=event.fields["type"],
                command_id=event.fields["event_id"],
                tenant_id=event.tenant_id,
                code=refusal.code.value,
                reason=refusal.message,
            )

    def _end(self, key: CommandKey) -> None:
        self._running.discard(key)
        self._ended()
