"""The seams between the parts, as typing Protocols. No logic lives here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from callcenter_ws.delivery.client import Client
    from callcenter_ws.errors import CloseCode, Refusal
    from callcenter_ws.events.event import Event
    from callcenter_ws.events.principal import Principal
    from callcenter_ws.events.publication import Publication


class ConnectionLog(Protocol):
    """Where the core notes what an operator should know. Never given a token or a payload."""

    def refused(self, who: str, refusal: Refusal) -> None:
        """A client asked for something and was refused."""

    def closed(self, who: str, code: CloseCode) -> None:
        """The gateway closed a connection."""

    def unhandled_error(self, what: str) -> None:
        """The exception being handled is a bug; what met it is told in ``what``."""


class Transport(Protocol):
    """One WebSocket, seen from its Client. Frames are complete RFC 6455 frames."""

    def write(self, data: bytes, /) -> object:
        """Send bytes, behind all that was written before."""

    def direct(self) -> Callable[[bytes], int] | None:
        """What sends bytes at once, good until anything else is written; None while something written waits.

        It returns how many bytes were taken, and raises ``OSError`` when none were: what was not taken is then to be
        written before anything else, which ends its use.
        """

    def close(self, code: CloseCode) -> None:
        """Start the closing handshake with ``code`` and its text. Harmless on a closed socket."""

    def unsent_bytes(self) -> int:
        """Bytes that the operating system has not taken yet."""


class Authenticator(Protocol):
    """Turns a token into a Principal."""

    def verify(self, token: str) -> Principal:
        """Return who the token speaks for.

        Synchronous by contract: keys are fetched beforehand, never in the request path.

        Raises:
            Refusal: ``unauthorized``, with a text that names what is wrong and never holds the token;
                ``unavailable`` while the keys have not been fetched.
        """


@dataclass(frozen=True, slots=True)
class Position:
    """The head of a tenant's stream: ``epoch`` names the history, ``seq`` its last event (0: none yet)."""

    epoch: str
    seq: int


class PublishResult(msgspec.Struct, frozen=True):
    """What a publisher is told: where its event stands in the stream. A Struct, because one is made for each event.

    ``duplicate`` is True when the same ``event_id`` was published before and nothing was published now.
    """

    epoch: str
    seq: int
    event_id: str
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A stretch of a tenant's history.

    Attributes:
        epoch: the epoch that the messages belong to.
        messages: in ``seq`` order without holes.
        reachable: False when the history no longer reaches back to the asked position; then no messages.
        head: ``seq`` of the newest message of the tenant.
    """

    epoch: str
    publications: Sequence[Publication]
    reachable: bool
    head: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a tenant at ``seq``: the last message of each slot (PROTOCOL section 4.2), by ``seq``."""

    epoch: str
    seq: int
    publications: Sequence[Publication]


@dataclass(frozen=True, slots=True)
class MailboxItem:
    """A message that waits in a user's mailbox; ``sent``: it was written to a socket before."""

    publication: Publication
    sent: bool


@dataclass(frozen=True, slots=True)
class MailboxGap:
    """Messages that fell out of a mailbox undelivered: they lie between these positions, both included."""

    from_seq: int
    to_seq: int


@dataclass(frozen=True, slots=True)
class MailboxPage:
    """A stretch of a user's mailbox, oldest first, and what fell out of it since the user last took anything."""

    items: Sequence[MailboxItem]
    gap: MailboxGap | None


Deliver = Callable[[Sequence["Publication"]], None]
"""Takes messages of one tenant, durable, in ``seq`` order, each exactly once per node. Never raises."""


Interrupted = Callable[[str, Position], None]
"""Is told that a tenant's deliveries go on behind a position, and not behind what was delivered last: what came between
is lost to this node, because the store has lost history (then the epoch is another), or has let it go. Never raises."""


def nobody_is_interrupted(tenant_id: str, position: Position) -> None:
    """An ``Interrupted`` for those who have nobody to tell."""


class Broker(Protocol):
    """Makes events durable and gives them their position.

    All methods that take a ``tenant_id`` concern that tenant alone. Every broker passes
    ``tests/broker_contract.py``.
    """

    def start(self, deliver: Deliver, interrupted: Interrupted = nobody_is_interrupted) -> Awaitable[None]:
        """Open the store; from now on hand over what was made durable to ``deliver``."""

    def stop(self) -> Awaitable[None]:
        """Finish what was accepted, then close the store."""

    def attach(self, tenant_id: str) -> None:
        """Somebody on this node wants the tenant's events from now on; ``*``: those of every tenant. Calls do not nest.

        Whatever comes behind a ``position`` that was asked for after this is delivered. What else a store delivers that
        others use, too, is its own affair.
        """

    def detach(self, tenant_id: str) -> None:
        """Nobody on this node wants the tenant's events any more; its memory may go first."""

    def publish(self, events: Sequence[Event]) -> Awaitable[list[PublishResult | Refusal]]:
        """Append events, possibly of several tenants, in the given order.

        One outcome per event, in the same order. When the answer is there the events are durable, and
        have been or will be delivered in ``seq`` order. An ``event_id`` seen for the tenant within the
        last 5 minutes yields the first position with ``duplicate`` set.
        """

    def position(self, tenant_id: str, known: Position | None = None) -> Awaitable[Position]:
        """The head of the tenant's stream. A tenant that never published is at ``seq`` 0.

        Args:
            known: a position that a client has. When it belongs to this history, the answer names its epoch and does
                not lie before it, even if another node delivered it first.
        """

    def read(self, tenant_id: str, after: int, limit: int) -> Awaitable[HistoryPage]:
        """At most ``limit`` messages with ``seq`` greater than ``after``."""

    def snapshot(self, tenant_id: str) -> Awaitable[Snapshot]:
        """The tenant's state, consistent with its ``seq``."""

    def mail(self, tenant_id: str, user_id: str, after: int, limit: int) -> Awaitable[MailboxPage]:
        """At most ``limit`` messages in a user's mailbox with ``seq`` greater than ``after``.

        An event with ``is_mail`` is in its user's mailbox from the moment that it is durable until ``mail_taken``,
        the end of its time, or 1,000 newer ones.
        """

    def mark_mail_sent(self, tenant_id: str, user_id: str, event_ids: Sequence[str]) -> None:
        """Messages were written to a socket of the user; whether they arrived is not known yet."""

    def acknowledge_mail(self, tenant_id: str, user_id: str, event_ids: Sequence[str]) -> None:
        """The user has these messages: strike them off. Unknown identifiers mean nothing."""

    def newest_of(self, tenant_id: str, conflation_key: tuple[str, ...]) -> int:
        """``seq`` of the newest known message with this conflation key; 0 when none is known."""

    def state(self) -> dict[str, Any]:
        """What ``/ws/stats`` shows of the broker: JSON-ready, with at least ``kind`` and ``ready``."""

    def not_ready(self) -> str | None:
        """Why the broker cannot serve now, for ``/readyz``; None when it can."""


class PublicationListener(Protocol):
    """Is shown every delivered message once per node, after the clients' outboxes (AMP ``Subscribe``)."""

    def __call__(self, publication: Publication) -> None:
        """Take note; never raise, never block."""


@dataclass(frozen=True, slots=True)
class UserPresence:
    """Whether a user is connected. Instants are Unix seconds; None when not known."""

    online: bool
    connections: int
    since: float | None
    last_seen: float | None


@dataclass(frozen=True, slots=True)
class PresenceRecord:
    """What a store remembers of a user's presence.

    Attributes:
        visitor: a visitor and an agent with the same id are two people.
        since: since when the user is here, a person of whom others are told; None: gone.
        last_seen: Unix time.
        told: others were told last that the user is here. The store knows by the ``presence.changed`` that the gateway
            published, in one with which it was written down; what a note says of it means nothing.
    """

    tenant_id: str
    user_id: str
    visitor: bool
    since: float | None
    last_seen: float
    told: bool = False


@dataclass(frozen=True, slots=True)
class Revocation:
    """A token that is refused (``jti``), or a user whose tokens are, if they were issued until ``at`` (Unix time)."""

    tenant_id: str
    jti: str | None
    user_id: str | None
    at: float


class PresenceStore(Protocol):
    """Remembers who was here and who may not come, over restarts if it can."""

    def load_presence(self) -> Sequence[PresenceRecord]:
        """What was noted before this process started, the latest of each user, longest ago first."""

    def note(self, attendance: PresenceRecord) -> None:
        """Remember this instead of what was noted of the user before. Never blocks, never fails.

        It is written down no later than what is published after it.
        """

    def load_revocations(self) -> Sequence[Revocation]:
        """What was revoked before this process started."""

    def save_revocation(self, revocation: Revocation) -> None:
        """Remember a revocation. Never blocks, never fails."""


class PresenceTracker(Protocol):
    """Is told by the Hub who comes and goes on this node."""

    def arrived(self, client: Client) -> None:
        """A client has been registered."""

    def left(self, client: Client, code: CloseCode) -> None:
        """A client has been unregistered; why its connection was closed."""


class Directory(Protocol):
    """What the edges may ask about who is connected, and do about it: here, and on all nodes that share the store.

    Every method that returns an Awaitable raises ``Refusal``, ``unavailable``, rather than guess while the other nodes
    cannot be asked.
    """

    def user_presence(self, tenant_id: str, user_id: str) -> Awaitable[UserPresence]:
        """Whether the user has open connections."""

    def disconnect_user(self, tenant_id: str, user_id: str) -> Awaitable[int]:
        """Close all connections of a user with 4503; return how many."""

    def revoke(self, tenant_id: str, *, jti: str | None = None, user_id: str | None = None) -> Awaitable[int]:
        """Refuse a token, or all tokens a user was issued until now; close their connections.

        Returns:
            How many connections were closed.

        Raises:
            Refusal: ``invalid_message`` when neither is given, ``overloaded`` when the list is full.
        """

    def stats(self, tenant_id: str | None = None) -> dict[str, Any]:
        """Connections and messages of one tenant, or of all, on this node: JSON-ready, see ``docs/http.rst``."""

    def listen(self, listener: PublicationListener, tenant_id: str) -> None:
        """Show every delivered message of a tenant, or of all (``*``), to ``listener`` from now on.

        It may be shown others, too.
        """

    def unlisten(self, listener: PublicationListener) -> None:
        """Stop showing messages to ``listener``."""
