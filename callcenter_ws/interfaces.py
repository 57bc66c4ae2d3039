"""The Protocols between the parts, and their value types. No logic."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from callcenter_ws.errors import CloseCode, Refusal
from callcenter_ws.events.audit import AuditAction, AuditValue
from callcenter_ws.events.catalogue import EntityKey
from callcenter_ws.events.commands import CommandKey, CommandRecord
from callcenter_ws.events.entity import Entity
from callcenter_ws.events.event import Event
from callcenter_ws.events.principal import Principal
from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.json import JsonObject


class LoggedConnection(Protocol):
    """What the log lines say of a connection.

    Attributes:
        endpoint: ``ws`` or ``public``.
        ip: the client's address, behind trusted proxies the real one.
        received: messages from the client.
        dropped: publications that the client was informed it will not be sent.
    """

    principal: Principal
    connection_id: str
    endpoint: str
    ip: str
    received: int
    dropped: int

    @property
    def delivered(self) -> int:
        """The messages that were written to the socket."""

    @property
    def seconds(self) -> float:
        """For how long the session exists."""


class ConnectionLog(Protocol):
    """Writes the log lines about connections. It is never given a token or a payload."""

    def opened(self, client: LoggedConnection) -> None:
        """Log that a client is connected."""

    def ended(self, client: LoggedConnection, code: int, reason: str) -> None:
        """Log that the peer has ended a connection.

        Args:
            code: of the peer's close frame; 1005 if it has none, 1006 if there was no close frame.
            reason: how the connection ended; not the text of a close frame, which may hold anything.
        """

    def closed(self, client: LoggedConnection, code: CloseCode) -> None:
        """Log that the gateway closed a connection."""

    def refused(self, client: LoggedConnection, refusal: Refusal) -> None:
        """Log that a request of a client was refused."""

    def unauthenticated_closed(self, ip: str, code: CloseCode) -> None:
        """Log that the gateway closed the connection of a peer at an address that has not authenticated."""

    def unhandled_error(self, where: str) -> None:
        """Log the exception being handled, which is a bug; ``where`` names the operation that raised it."""


Send = Callable[[bytes], int]
"""Sends bytes at once and returns how many were sent; raises ``OSError`` when none were."""


class Transport(Protocol):
    """The sending side of one WebSocket. Frames are complete RFC 6455 frames."""

    def write(self, data: bytes, /) -> object:
        """Send bytes, after everything that was written before."""

    def write_frames(self, frames: Sequence[bytes]) -> None:
        """Send many bytes, after everything that was written before; for more than ``MAX_DIRECT_BYTES``.

        The frames are held as they are and handed to the socket in pieces, as it accepts them. The client is paused
        until then; control frames may be sent between the frames.
        """

    def direct(self) -> Send | None:
        """Return a function that sends bytes at once; None while written bytes still wait to be sent.

        The function returns how many bytes were sent, and raises ``OSError`` when none were. What was not sent must be
        given to ``write`` before anything else. The function must not be used after any other write.
        """

    def ping(self, payload: bytes) -> None:
        """Send a WebSocket ping with ``payload``, after everything that was written before.

        The peer's pong has the same payload. Has no effect on a closed socket.
        """

    def probe(self) -> None:
        """Send a ping, and close with 4002 unless the peer sends anything in ``delivery.user_probes``' time.

        Has no effect on a closed socket, nor while an earlier probe is unanswered.
        """

    def close(self, code: CloseCode) -> None:
        """Start the closing handshake with ``code`` and its text. Has no effect on a closed socket."""

    def unsent_bytes(self) -> int:
        """Return the bytes that the peer has not received: buffered in this process or in the socket's send queue."""

    def buffered_bytes(self) -> int:
        """Return the bytes that are copied into the transport's buffers in this process."""

    def unsent_frames(self) -> Iterable[bytes]:
        """Return the frames of ``write_frames`` that have not been handed to the socket."""


class Authenticator(Protocol):
    """Verifies tokens."""

    def verify(self, token: str) -> Principal:
        """Return the principal that the token authenticates.

        Synchronous by contract: keys are fetched beforehand, never in the request path.

        Raises:
            Refusal: ``unauthorized``, with a text that names the reason and never holds the token;
                ``try_later`` if it may be accepted later, as while its key is being fetched.
        """


class PresenceClient(Protocol):
    """A connected client, as presence tracking sees it."""

    @property
    def connection_id(self) -> str:
        """The identifier of the connection, which sorts by the time of its opening at this node."""

    @property
    def principal(self) -> Principal:
        """The principal of the client's token."""

    def refuse(self, refusal: Refusal) -> None:
        """Send an ``error`` message."""

    def probe(self) -> None:
        """Ping the peer; close the connection with 4002 unless it answers soon."""

    def close(self, code: CloseCode) -> None:
        """End the connection with a close code."""


@dataclass(frozen=True, slots=True)
class Position:
    """A position in a tenant's stream: ``epoch`` names the history, ``seq`` an event in it (0: before the first)."""

    epoch: str
    seq: int


class PublishResult(msgspec.Struct, frozen=True):
    """The position that a published event was given. A Struct, because one is made for each event.

    ``duplicate`` is True when the same ``event_id`` was published before and nothing was published now.
    """

    epoch: str
    seq: int
    event_id: str
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Consecutive publications of a tenant's history.

    Attributes:
        epoch: the epoch that the publications belong to.
        publications: in ``seq`` order, without gaps.
        reachable: False when the history no longer reaches back to the requested position; then no publications.
        head: ``seq`` of the tenant's newest publication.
    """

    epoch: str
    publications: Sequence[Publication]
    reachable: bool
    head: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a tenant at ``seq``: the last publication of each snapshot slot, by ``seq``.

    The slots are described in ``docs/events.rst``.
    """

    epoch: str
    seq: int
    publications: Sequence[Publication]


@dataclass(frozen=True, slots=True)
class MailboxItem:
    """A publication in a user's mailbox; ``sent``: it was written to a socket before."""

    publication: Publication
    sent: bool


@dataclass(frozen=True, slots=True)
class MailboxGap:
    """The positions, both included, between which publications were removed from a mailbox undelivered."""

    from_seq: int
    to_seq: int


@dataclass(frozen=True, slots=True)
class MailboxPage:
    """Items of a user's mailbox, oldest first, and what was removed undelivered since the user last acknowledged."""

    items: Sequence[MailboxItem]
    gap: MailboxGap | None


Deliver = Callable[[Sequence[Publication]], None]
"""Delivers durable publications of one tenant, in ``seq`` order, each exactly once per node. Never raises."""


Interrupted = Callable[[str, Position], None]
"""Reports that the deliveries of a tenant continue after a position other than that of the last delivery.

This node misses what lies between, because the store has lost history (then the epoch differs) or has trimmed it.
Arguments: the tenant, and the position after which deliveries continue. Never raises.
"""


def ignore_interruption(tenant_id: str, position: Position) -> None:
    """Do nothing: an ``Interrupted`` for stores whose deliveries are never interrupted."""


class Broker(Protocol):
    """Makes events durable and assigns their positions.

    Methods with a ``tenant_id`` concern that tenant alone. Every broker passes ``tests/broker_contract.py``.
    """

    def start(self, deliver: Deliver, interrupted: Interrupted = ignore_interruption) -> Awaitable[None]:
        """Open the store; from now on pass what was made durable to ``deliver``."""

    def stop(self) -> Awaitable[None]:
        """Finish the accepted events, then close the store."""

    def attach(self, tenant_id: str) -> None:
        """Deliver the tenant's events from now on; ``*``: those of every tenant. Calls do not nest.

        Every event after a ``position`` that was requested after this call is delivered. A store shared with other
        nodes may deliver more.
        """

    def detach(self, tenant_id: str) -> None:
        """Deliver the tenant's events no longer; its memory may be evicted first."""

    def publish(self, events: Sequence[Event]) -> Awaitable[list[PublishResult | Refusal]]:
        """Append events, possibly of several tenants, in the given order.

        Return one outcome per event, in the same order. When the call returns, the events are durable, and have been
        or will be delivered in ``seq`` order. An ``event_id`` that the tenant published within the last 5 minutes
        yields the first position with ``duplicate`` set.

        An event with a ``source_rule`` is appended, and the mark of its source raised, in one transaction, or not at
        all (``broker.source_marks``). One that its source's mark already covers yields a result with ``duplicate`` set,
        whose ``seq`` is 0 if its position is not known any more. One before which an event is missing is refused with
        ``unavailable``. With a ``Reconciliation`` as its rule, the events of the rule are appended in its place, all in
        one transaction, or none; it yields the position of the last of them.
        """

    def position(self, tenant_id: str, known: Position | None = None) -> Awaitable[Position]:
        """Return the head of the tenant's stream; ``seq`` is 0 for a tenant that never published.

        Args:
            known: a position that a client has. When it belongs to this history, the result has its epoch and does not
                lie before it, even if another node delivered it first.
        """

    def read(self, tenant_id: str, after: int, limit: int) -> Awaitable[HistoryPage]:
        """Return at most ``limit`` publications with ``seq`` greater than ``after``."""

    def snapshot(self, tenant_id: str) -> Awaitable[Snapshot]:
        """Return the tenant's state, consistent with its ``seq``."""

    def entities(self, tenant_id: str, kind: str) -> Awaitable[list[tuple[EntityKey, Entity]]]:
        """Return the entities of the tenant's state of one kind, with their owners, for ``events.reconciliation``.

        They change while later events arrive. What was read of one is confirmed by its version.
        """

    def entity(self, tenant_id: str, key: EntityKey) -> Awaitable[Entity | None]:
        """Return one entity of the tenant's state; None if there is none with this key."""

    @property
    def commands(self) -> CommandStore:
        """The commands that the store keeps."""

    def read_mailbox(self, tenant_id: str, user_id: str, after: int, limit: int) -> Awaitable[MailboxPage]:
        """Return at most ``limit`` items of a user's mailbox with ``seq`` greater than ``after``.

        An event with ``is_mail`` is in its user's mailbox from the moment that it is durable until it is acknowledged
        (``acknowledge_mail``), expires, or is displaced by 1,000 newer ones.
        """

    def mark_mail_sent(self, tenant_id: str, user_id: str, event_ids: Sequence[str]) -> None:
        """Record that mailbox items were written to a socket of the user; they may not have arrived."""

    def acknowledge_mail(self, tenant_id: str, user_id: str, event_ids: Sequence[str]) -> None:
        """Remove items that the user has received from the mailbox. Unknown identifiers are ignored."""

    def newest_of(self, tenant_id: str, conflation_key: tuple[str, ...]) -> int:
        """Return the ``seq`` of the newest known publication with this conflation key; 0 when none is known."""

    def state(self) -> JsonObject:
        """Return the broker's part of ``/ws/stats``: JSON-ready, with at least ``kind`` and ``ready``."""

    def not_ready(self) -> str | None:
        """Return why the broker cannot serve now, for ``/readyz``; None when it can."""


class CommandStore(Protocol):
    """Keeps commands, from their acceptance until they are forgotten. Every broker has one, as ``commands``.

    A command is closed by ``Broker.publish`` of an event with a ``StoreCondition`` that ``closes`` it. Every method
    raises ``Refusal``, ``unavailable``, when the store cannot be reached, and is durable when it returns. Times are
    Unix milliseconds. Every store passes ``tests/command_store_contract.py``.
    """

    def accept(self, record: CommandRecord) -> Awaitable[CommandRecord | None]:
        """Add a command, and announce it (``listen``); if there is one with its key, change nothing and return that.

        Closed commands are forgotten ``LIFETIME_SECONDS`` after their acceptance.

        Raises:
            Refusal: ``overloaded``: ``MAX_OPEN`` commands of the tenant are open, or ``MAX_COMMANDS`` are kept.
        """

    def dispatch(self, key: CommandKey, now_ms: int) -> Awaitable[CommandRecord | None]:
        """Record that a command is about to be sent to its source, and return it.

        None, and nothing is changed, unless it is ``accepted`` and its deadline lies after ``now_ms``: to one caller
        at most, over all nodes, is a command returned.
        """

    def command(self, key: CommandKey) -> Awaitable[CommandRecord | None]:
        """Return a command; None if there is none with this key."""

    def waiting(self, source_scope: str, source: str, tenants: Sequence[str]) -> Awaitable[Sequence[CommandRecord]]:
        """Return the commands of a source in these tenants that are ``accepted``; at most 200.

        Those of each tenant are by acceptance, and the tenants take turns: none delays another.
        """

    def overdue(self, before_ms: int, limit: int) -> Awaitable[Sequence[CommandRecord]]:
        """Return at most ``limit`` open commands of any tenant whose deadline lies before ``before_ms``."""

    def listen(self, accepted: Callable[[str, str, str], None]) -> None:
        """Call ``accepted`` with tenant, scope and name of its source after a command was accepted, at any node.

        A call may be missing, as while Redis cannot be reached: ``waiting`` finds what was missed.
        """


class Audit(Protocol):
    """Records who has done what, for ``[audit] file``."""

    def record(self, action: AuditAction, **fields: AuditValue) -> None:
        """Add a line. Never raises and never waits: the line is on disk within moments, or counted as lost.

        No field contains a token, a password, or a text that a person has written to another one.
        """


class PublicationListener(Protocol):
    """Receives every delivered publication once per node, after the clients' outboxes (AMP ``Subscribe``)."""

    def __call__(self, publication: Publication) -> None:
        """Accept a publication; must neither raise nor block."""


@dataclass(frozen=True, slots=True)
class UserPresence:
    """Whether a user is connected. Instants are Unix seconds; None when not known."""

    online: bool
    connections: int
    since: float | None
    last_seen: float | None


@dataclass(frozen=True, slots=True)
class PresenceRecord:
    """The presence of a user, as a store keeps it over a restart.

    Attributes:
        visitor: whether the user is a visitor; a visitor and an agent with the same id are different users.
        since: arrival time (Unix seconds); None if the user is offline or is not announced.
        last_seen: Unix time in seconds.
        announced: whether the last ``presence.changed`` of the user said ``online``. The store derives it from that
            event, in the same transaction; the value in a record passed to ``save_presence`` is ignored.
    """

    tenant_id: str
    user_id: str
    visitor: bool
    since: float | None
    last_seen: float
    announced: bool = False


REVOCATION_LIFETIME_SECONDS = 30 * 86_400
"""Time after which a revocation may be forgotten: no token should be valid for longer.

A revoked user's tokens were issued before the revocation, and the expiry of a token that was revoked by its ``jti`` is
not known, so a revocation must be kept for as long as any token may be valid. Tokens are usually valid for hours. If
tokens are issued that are valid for more than 30 days, and none of them was presented since the start, a revoked one
may be accepted again after that time.
"""


@dataclass(frozen=True, slots=True)
class Revocation:
    """A refused token (``jti``), or a user whose tokens with an ``iat`` until ``at`` (Unix seconds) are refused.

    ``at`` is the cutoff of ``auth.revocation`` at the time of the revocation.
    """

    tenant_id: str
    jti: str | None
    user_id: str | None
    at: float


class PresenceStore(Protocol):
    """Keeps presence and revocations, over restarts where the store is durable."""

    def load_presence(self) -> Sequence[PresenceRecord]:
        """Return the records from before this process started, the latest of each user, oldest first."""

    def save_presence(self, record: PresenceRecord) -> None:
        """Replace the user's record. Never blocks and never fails.

        The record is durable no later than events that are published after it.
        """

    def load_revocations(self) -> Sequence[Revocation]:
        """Return the revocations from before this process started."""

    def save_revocation(self, revocation: Revocation) -> None:
        """Add a revocation. Never blocks and never fails."""


class SourceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A registered source, as a store keeps it over a restart.

    Attributes:
        scope: the tenant that its name belongs to; ``*``: the installation.
        subject: ``sub`` of the tenant's token that registered it; empty for the installation.
        instance: the process that may connect; empty once its lease has ended.
        generation: the highest that a ``Hello`` gave or was given.
        lease: the number of its lease; see ``events.source_rules.Announcement``.
        tenants: those that it sends events of; ``claimed``: also those that it sent events of before.
        announced_at: Unix time at which the gateway last published that it is up.
    """

    scope: str
    subject: str
    name: str
    kind: str
    version: str
    instance: str
    generation: int
    lease: int
    tenants: tuple[str, ...]
    claimed: tuple[str, ...]
    capabilities: tuple[str, ...]
    announced_at: float = 0.0


class SourceStore(Protocol):
    """Keeps the registered sources of a store that one process uses, over restarts where the store is durable.

    The methods that return an Awaitable raise ``Refusal``, ``unavailable``, when the store does not accept writes.
    """

    def load_sources(self) -> Sequence[SourceRecord]:
        """Return the sources from before this process started."""

    def save_source(self, record: SourceRecord) -> Awaitable[None]:
        """Replace a source's record, which is durable when this returns."""

    def delete_source(self, scope: str, name: str) -> Awaitable[None]:
        """Remove a source's record. The marks of the source stay."""

    def highest_number(self, source: str, tenants: Sequence[str]) -> Awaitable[tuple[int, int]]:
        """Return the highest generation and ``source_seq`` that is stored of a source in these tenants; else zeros."""


class CommandSource(msgspec.Struct, frozen=True):
    """A registered source of a tenant, as a command is routed to it; see ``SourceRecord``.

    Attributes:
        connected: whether it is connected to any node.
    """

    scope: str
    name: str
    capabilities: tuple[str, ...]
    connected: bool


class SourceCapabilities(Protocol):
    """Tells what the registered sources of a tenant can do."""

    def command_sources(self, tenant_id: str) -> Awaitable[Sequence[CommandSource]]:
        """Return the sources that send events of the tenant.

        Raises:
            Refusal: ``unavailable``: the store that the nodes share cannot be reached.
        """

    def chats_are_owned(self, tenant_id: str) -> Awaitable[bool]:
        """Return whether a source with the capability ``chats`` is registered for the tenant.

        Raises:
            Refusal: ``unavailable``: the store that the nodes share cannot be reached.
        """


class UserRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A user who signs in at the pages that the gateway serves.

    Attributes:
        name: what the user types; unique in the installation.
        tenant_id, user_id, role, display_name, queues: the claims of the user's tokens; ``queues`` None: no
            restriction.
        password: how the password is recognized (``auth.passwords``), never the password.
        changed_at: Unix time, which no two changes share; sessions that were opened before the last one have ended.
    """

    name: str
    tenant_id: str
    user_id: str
    role: str
    display_name: str = ""
    queues: tuple[str, ...] | None = None
    password: str
    changed_at: float

    def __repr__(self) -> str:
        return f"UserRecord(name={self.name!r}, tenant_id={self.tenant_id!r}, role={self.role!r})"


SessionKind = Literal["person", "screen", "demo"]
"""Who has signed in: a user with a password, a screen that was paired, or a browser of the demo."""


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A browser that has signed in.

    Attributes:
        id: the digest of the cookie, which only the browser has.
        public_id: names the session in commands and in the claim ``sid``; it authorizes nothing.
        name: the name of the user; empty for a screen and for the demo.
        created_at, used_at, expires_at: Unix times; ``used_at`` is exact to a twentieth of the lifetime.
        user_changed_at: the ``changed_at`` of the user when the password was checked; with another one the session has
            ended. It is compared for equality, as the clocks of nodes differ. 0 for a screen and for the demo.
    """

    id: str
    public_id: str
    kind: SessionKind
    name: str
    tenant_id: str
    user_id: str
    role: str
    display_name: str
    queues: tuple[str, ...] | None
    created_at: float
    used_at: float
    expires_at: float
    user_changed_at: float = 0.0


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator has approved for a screen."""

    tenant_id: str
    role: str
    queues: tuple[str, ...] | None = None
    display_name: str = ""


class PairingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A screen that shows a code and waits until an operator approves it.

    Attributes:
        code, poll: digests of the code that the screen shows, and of the secret with which it asks.
        network: where the screen is, for the operator: an attacker may have asked for the code (RFC 8628, section 5.4).
        expires_at: Unix time.
        grant: None until an operator has approved it.
    """

    code: str
    poll: str
    network: str
    expires_at: float
    grant: Grant | None = None


class AccountStore(Protocol):
    """Keeps users, their sessions, and screens that wait to be paired. It never holds what authorizes a browser.

    Times are passed in; what has ended by then is as if it were not there. Every method raises ``Refusal``,
    ``unavailable``, when the store cannot be reached, and is durable when it returns. Every store passes
    ``tests/account_store_contract.py``.
    """

    def user(self, name: str) -> Awaitable[UserRecord | None]:
        """Return a user; None if there is none with this name."""

    def users(self, tenant_id: str | None, after: str, limit: int) -> Awaitable[Sequence[UserRecord]]:
        """Return at most ``limit`` users, by name, whose names follow ``after``; of one tenant, or of all."""

    def save_user(self, record: UserRecord, *, create: bool) -> Awaitable[bool]:
        """Add a user, or replace one. Return False if there is one (``create``), or none.

        Raises:
            Refusal: ``overloaded`` at the largest number of users.
        """

    def remove_user(self, name: str) -> Awaitable[UserRecord | None]:
        """Remove a user with all sessions; return what was removed."""

    def session(self, session_id: str, now: float) -> Awaitable[SessionRecord | None]:
        """Return a session that has not ended."""

    def save_session(self, record: SessionRecord, now: float, *, create: bool) -> Awaitable[bool]:
        """Add a session, or replace one. Return False if there is none to replace: an ended one is not revived.

        Of a user with too many sessions the one that was used least recently ends.

        Raises:
            Refusal: ``overloaded`` at the largest number of sessions.
        """

    def sessions(
        self, tenant_id: str | None, name: str | None, after: str, limit: int, now: float
    ) -> Awaitable[Sequence[SessionRecord]]:
        """Return at most ``limit`` sessions, by their public id, that follow ``after``; of one tenant or user, or all.

        Args:
            name: of a user; None: of all, screens included.
        """

    def end_sessions(
        self, now: float, *, name: str | None = None, public_id: str | None = None
    ) -> Awaitable[Sequence[SessionRecord]]:
        """End the sessions of a user, or one session; return those that were ended."""

    def save_pairing(self, record: PairingRecord, now: float) -> Awaitable[bool]:
        """Add a screen that waits. Return False if too many wait, or the code is in use."""

    def approve_pairing(self, code: str, grant: Grant, now: float) -> Awaitable[str | None]:
        """Record what a screen is granted, and return its network; None if none waits, or it was approved before."""

    def claim_pairing(self, poll: str, now: float) -> Awaitable[Grant | Literal["waiting"] | None]:
        """Return what a screen was granted, to one caller once; None if it does not wait any more."""


class PresenceTracker(Protocol):
    """Follows which users have clients at this node; the Hub calls it."""

    def client_registered(self, client: PresenceClient) -> None:
        """Count a client that was registered with the Hub; must not close it within this call."""

    def client_unregistered(self, client: PresenceClient, code: CloseCode) -> None:
        """Count a client that was removed from the Hub, and the close code of its connection."""


class Directory(Protocol):
    """Queries and actions on connected users: of this node, or of all nodes that share the store.

    Every method that returns an Awaitable raises ``Refusal`` with ``unavailable`` when the other nodes cannot be
    reached, instead of answering for a part of them.
    """

    def user_presence(self, tenant_id: str, user_id: str) -> Awaitable[UserPresence]:
        """Return whether the user has open connections."""

    def disconnect_user(self, tenant_id: str, user_id: str) -> Awaitable[int]:
        """Close all connections of a user with 4503; return how many."""

    def revoke(
        self, tenant_id: str, *, jti: str | None = None, user_id: str | None = None, for_all: bool = False
    ) -> Awaitable[int]:
        """Refuse a token, or all tokens that were issued to a user until now, and close their connections.

        Args:
            for_all: whether the credential that revokes is for all tenants: it may use the room that is reserved.

        Returns:
            The number of connections that were closed.

        Raises:
            Refusal: ``invalid_message`` when neither is given, ``overloaded`` when the list, or the part of
                the tenant, is full.
        """

    def stats(self, tenant_id: str | None = None) -> JsonObject:
        """Return connections and messages of one tenant, or of all, at this node: JSON-ready, see ``docs/http.rst``."""

    def listen(self, listener: PublicationListener, tenant_id: str) -> None:
        """Pass every delivered publication of a tenant, or of all (``*``), to ``listener`` from now on.

        The listener may also receive publications of other tenants.
        """

    def unlisten(self, listener: PublicationListener) -> None:
        """Stop passing publications to ``listener``."""
