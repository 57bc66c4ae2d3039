"""What is known of commands at the end of a run: what was asked, answered, carried out and stored."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

DONE, FAILED, EXECUTED = "command.done", "command.failed", "command.executed"
EFFECT = "effect of "
"""The title of an alert that a source publishes before it answers that a command is done; the id follows."""

DISPOSITION = "call.disposition"
"""The command that the gateway carries out itself, and the event that it publishes. ``note`` is the id."""


class Key(NamedTuple):
    """Identifies a command; the id begins with the name of its user, and a colon."""

    tenant: str
    command_id: str

    @property
    def user(self) -> str:
        return self.command_id.partition(":")[0]


class Request(NamedTuple):
    """What is to be done: the name of the command, and its fields as JSON text with sorted keys."""

    name: str
    fields: str


@dataclass(frozen=True)
class Answer:
    """The answer to a request: ``accepted`` with a state, or an error with a code.

    Attributes:
        state: where the command stood; None: it was refused.
        code: why it was refused, or why it failed.
        source: that is to carry it out; None or empty: the gateway.
        deadline: Unix time in seconds.
    """

    request: Request
    state: str | None
    code: str | None = None
    source: str | None = None
    deadline: float = 0.0


@dataclass(frozen=True)
class Execution:
    """A line that a source wrote when it carried a command out.

    Attributes:
        at, deadline: Unix times in seconds.
    """

    key: Key
    request: Request
    source: str
    at: float
    deadline: float


@dataclass(frozen=True)
class StreamEvent:
    """An event of a tenant at its position."""

    tenant: str
    seq: int
    event_id: str
    type: str
    payload: dict[str, Any]

    @property
    def key(self) -> Key:
        """The command that it is about."""
        return Key(self.tenant, self.payload["command_id"])


@dataclass
class View:
    """What one client received, in the order in which it arrived, over all connections between which it resumed.

    Attributes:
        user: whose client it is; None: a service, whose outcomes do not wait for it.
        arrived: events, and answers to commands.
        mail: events from the mailbox of the user, which may precede or repeat those of the stream.
    """

    tenant: str
    user: str | None = None
    arrived: list[StreamEvent | tuple[Key, Answer]] = field(default_factory=list)
    mail: list[StreamEvent] = field(default_factory=list)

    @property
    def events(self) -> list[StreamEvent]:
        return [one for one in self.arrived if isinstance(one, StreamEvent)]

    @property
    def answers(self) -> list[tuple[Key, Answer]]:
        return [one for one in self.arrived if not isinstance(one, StreamEvent)]


@dataclass
class CommandEvidence:
    """All that is known of a run.

    Attributes:
        asked: the requests that were sent with a command id.
        forbidden: those of them that the user may not have done.
        final: the answers to the same requests at the end, when the store can be reached: what the store says.
        views: by client.
        stored: the streams of all tenants.
    """

    asked: dict[Key, list[Request]] = field(default_factory=lambda: defaultdict(list))
    final: dict[Key, Answer] = field(default_factory=dict)
    forbidden: set[tuple[Key, Request]] = field(default_factory=set)
    views: dict[str, View] = field(default_factory=dict)
    executions: list[Execution] = field(default_factory=list)
    stored: list[StreamEvent] = field(default_factory=list)

    @property
    def answers(self) -> dict[Key, list[Answer]]:
        """All answers, by command."""
        found: dict[Key, list[Answer]] = defaultdict(list)
        for view in self.views.values():
            for key, answer in view.answers:
                found[key].append(answer)
        return found
