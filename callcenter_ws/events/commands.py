"""The catalogue of commands: what a client may ask to be done (``docs/agent-commands.rst``).

Each command has a name, a declared payload, a deadline, and the roles that may issue it unless the settings say
otherwise. Commands are carried out by a source, or by the gateway itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from callcenter_ws.events.principal import Role

COMMAND = "command"
"""The entry of ``kinds`` with which a source subscribes to commands."""

GRACE_SECONDS = 2.0
"""Time after the deadline of a command in which its outcome may arrive; then it is closed without one."""

LIFETIME_SECONDS = 86_400
"""For how long a command, and with it its id, is remembered."""

MAX_MESSAGE_LENGTH = 500
"""Characters of the message of an outcome; the rest is cut."""

MAX_DATA_BYTES = 4_096
"""Bytes of the data of an outcome, as JSON."""

MAX_DATA_CONTAINERS = 1_000
"""Objects and arrays in the data of an outcome."""

Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*\Z")]
"""An identifier; control characters, line breaks among them, are refused here already."""

Text = Annotated[str, Meta(max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*\Z")]
Destination = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*\Z")]


class CommandState(StrEnum):
    """Where a command stands.

    ``accepted``: stored. ``dispatched``: stored as about to be sent to its source. ``done``, ``failed``: closed.
    """

    ACCEPTED = "accepted"
    DISPATCHED = "dispatched"
    DONE = "done"
    FAILED = "failed"

    @property
    def is_open(self) -> bool:
        """Whether the command has no outcome yet."""
        return self in (CommandState.ACCEPTED, CommandState.DISPATCHED)


class OutcomeCode(StrEnum):
    """Why a command failed: ``code`` of ``command.failed``."""

    NO_SOURCE = "no_source"
    SOURCE_DOWN = "source_down"
    UNSUPPORTED = "unsupported"
    NOT_FOUND = "not_found"
    NOT_ALLOWED = "not_allowed"
    BUSY = "busy"
    REJECTED = "rejected"
    TIMEOUT = "timeout"
    OUTCOME_UNKNOWN = "outcome_unknown"
    FAILED = "failed"


class CommandPayload(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of the payloads. Unknown fields are refused: a misspelled one must not change what is done."""


class Scope(StrEnum):
    """Whom a role may issue a command for, unless the settings say otherwise.

    ``own``: the user's own agent state, memberships, or calls and chats that it handles. ``any``: everything that the
    user sees, by its ``queues`` claim.
    """

    OWN = "own"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class CommandType:
    """One declared command.

    Attributes:
        payload: the declaration of its payload.
        deadline: seconds from its acceptance in which it may be started and carried out.
        subject: the field that names what it is about: ``call_id``, ``session_id``, ``user_id`` (default: the asker) or
            ``queue_name``; None: nothing that exists already.
        agents: for whom an agent may issue it by default; None: agents may not.
        supervisors: the same for supervisors. Admins and services may issue every command for everything.
        by_gateway: ``always``: the gateway carries it out. ``unless_owned``: where no source owns chats. None: a
            source does.
    """

    name: str
    payload: type[CommandPayload]
    deadline: float
    subject: Literal["call_id", "session_id", "user_id", "queue_name"] | None
    agents: Scope | None
    supervisors: Scope | None = Scope.ANY
    by_gateway: Literal["always", "unless_owned"] | None = None

    def scope_of(self, role: Role) -> Scope | None:
        """Return for whom a role may issue it by default; None if it may not."""
        if role in (Role.ADMIN, Role.SERVICE):
            return Scope.ANY
        return {Role.AGENT: self.agents, Role.SUPERVISOR: self.supervisors}.get(role)


COMMANDS: dict[str, CommandType] = {}

C = TypeVar("C", bound=CommandPayload)


def _declare(
    *names: str,
    deadline: float,
    subject: Literal["call_id", "session_id", "user_id", "queue_name"] | None,
    agents: Scope | None = Scope.OWN,
    supervisors: Scope | None = Scope.ANY,
    by_gateway: Literal["always", "unless_owned"] | None = None,
) -> Callable[[type[C]], type[C]]:
    def declare(payload: type[C]) -> type[C]:
        for name in names:
            COMMANDS[name] = CommandType(name, payload, deadline, subject, agents, supervisors, by_gateway)
        return payload

    return declare


@_declare("agent.state.set", deadline=5, subject="user_id")
class SetAgentState(CommandPayload, kw_only=True):
    """``user_id`` is the asker unless it is given; ``extension`` binds that device to the user."""

    state: Literal["available", "break", "away", "offline"]
    reason: Text | None = None
    extension: Annotated[str, Meta(pattern=r"^[0-9A-Za-z_.-]{1,64}\Z")] | None = None
    user_id: Name | None = None


@_declare("queue.member.pause", "queue.member.unpause", deadline=5, subject="user_id")
class PauseMember(CommandPayload, kw_only=True):
    """``user_id`` is the asker unless it is given."""

    queue_name: Name
    user_id: Name | None = None
    reason: Text | None = None


@_declare("queue.member.add", deadline=5, subject="user_id", agents=None)
class AddMember(CommandPayload, kw_only=True):
    """``user_id`` is the asker unless it is given; a lower ``penalty`` is called first."""

    queue_name: Name
    user_id: Name | None = None
    penalty: Annotated[int, Meta(ge=0, le=1_000)] | None = None


@_declare("queue.member.remove", deadline=5, subject="user_id", agents=None)
class RemoveMember(CommandPayload, kw_only=True):
    """``user_id`` is the asker unless it is given."""

    queue_name: Name
    user_id: Name | None = None


@_declare("call.originate", deadline=60, subject=None, supervisors=Scope.OWN)
class Originate(CommandPayload, kw_only=True):
    """Rings the asker's own device first."""

    destination: Destination


@_declare("call.answer", "call.hold", "call.unhold", deadline=5, subject="call_id", supervisors=Scope.OWN)
class OfCall(CommandPayload, kw_only=True):
    """Answers, holds or retrieves a call, where the exchange can."""

    call_id: Name


@_declare("call.hangup", deadline=5, subject="call_id")
class HangUp(CommandPayload, kw_only=True):
    """Ends a call."""

    call_id: Name


@_declare("call.transfer", deadline=10, subject="call_id")
class Transfer(CommandPayload, kw_only=True):
    """Transfers a call without asking its new destination (blind)."""

    call_id: Name
    destination: Destination


@_declare("call.consult", deadline=60, subject="call_id", supervisors=Scope.OWN)
class Consult(CommandPayload, kw_only=True):
    """Calls a third party while the call is held."""

    call_id: Name
    destination: Destination


@_declare("call.consult.complete", "call.consult.cancel", deadline=10, subject="call_id", supervisors=Scope.OWN)
class EndConsultation(CommandPayload, kw_only=True):
    """Transfers the held call to the third party, or returns to it."""

    call_id: Name


@_declare("call.monitor", deadline=10, subject="call_id", agents=None)
class Monitor(CommandPayload, kw_only=True):
    """Listens to a call without being heard."""

    call_id: Name
    mode: Literal["listen"]


@_declare("call.record", deadline=5, subject="call_id")
class Record(CommandPayload, kw_only=True):
    """Controls the recording of a call."""

    call_id: Name
    action: Literal["start", "stop", "pause", "resume"]


@_declare("call.disposition", deadline=5, subject="call_id", by_gateway="always")
class Disposition(CommandPayload, kw_only=True):
    """Records what a call was about; ``code`` is one of the configured."""

    call_id: Name
    code: Annotated[str, Meta(min_length=1, max_length=64)]
    note: Text | None = None


@_declare("chat.accept", deadline=5, subject="session_id", by_gateway="unless_owned")
class AcceptChat(CommandPayload, kw_only=True):
    """Assigns a chat to the asker."""

    session_id: Name


@_declare("chat.transfer", deadline=5, subject="session_id", by_gateway="unless_owned")
class TransferChat(CommandPayload, kw_only=True):
    """Assigns a chat to another agent."""

    session_id: Name
    to_agent_id: Name


@_declare("chat.close", deadline=5, subject="session_id", by_gateway="unless_owned")
class CloseChat(CommandPayload, kw_only=True):
    """Ends a chat."""

    session_id: Name
    reason: Text | None = None


class CommandKey(msgspec.Struct, frozen=True):
    """Identifies a command: its id is unique among those of one user of one tenant."""

    tenant_id: str
    user_id: str
    command_id: str


class CommandRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A command as the store keeps it, from its acceptance until it is forgotten.

    Times are Unix milliseconds of the gateway.

    Attributes:
        key: whose command it is.
        role: of the asker; ``queues``: its claim; both for the check at dispatch.
        extension: the claim of the asker's token; the asker's own device, which needs no hot desk.
        payload: the declared fields as JSON text; equal payloads have equal texts.
        source: the name of the source that is to carry it out; empty: the gateway.
        source_scope: the scope of that source (``interfaces.SourceRecord``).
        queue_name: the queue of what it is about when it was accepted, for ``command.executed``.
        closed_ms: when it was closed; 0 while it is open.
        code, message, data: the outcome; ``data`` is JSON text.
    """

    key: CommandKey
    role: Role
    name: str
    payload: bytes
    source: str = ""
    source_scope: str = ""
    queues: tuple[str, ...] | None = None
    extension: str | None = None
    queue_name: str | None = None
    accepted_ms: int
    deadline_ms: int
    state: CommandState = CommandState.ACCEPTED
    closed_ms: int = 0
    code: OutcomeCode | None = None
    message: str | None = None
    data: bytes | None = None


class CommandOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended. ``data`` is JSON text of at most 4,096 bytes."""

    state: Literal[CommandState.DONE, CommandState.FAILED]
    code: OutcomeCode | None = None
    message: str | None = None
    data: bytes | None = None


class CommandClosing(msgspec.Struct, frozen=True):
    """What the store checks before it appends ``command.done`` or ``command.failed``, and writes in the same step.

    The event is refused (``unknown_command``) unless the command is open; then the command is closed with the outcome.

    Attributes:
        source: refuse it unless this source is to carry the command out; None: closed by the gateway.
        state: refuse it unless the command is in this state; None: in any open one.
    """

    key: CommandKey
    outcome: CommandOutcome
    closed_ms: int
    source: str | None = None
    state: CommandState | None = None
