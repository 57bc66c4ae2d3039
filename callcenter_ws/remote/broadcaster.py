"""EventBroadcaster: the public API of ``callcenter_ws.remote``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, cast, get_args

from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import clientFromString
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger

from callcenter_ws.amp.commands import DisconnectUser, GatewayCommand, Ping, RevokeToken, UserOnline
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.methods import EventMethods
from callcenter_ws.events.ulid import UlidFactory
from callcenter_ws.interfaces import PublishResult, UserPresence
from callcenter_ws.remote.buffer import Buffer, WhenFull
from callcenter_ws.remote.callbacks import Callback, CallbackRegistry
from callcenter_ws.remote.command_runner import CommandFunction, CommandRunner
from callcenter_ws.remote.connector import GatewayConnector
from callcenter_ws.remote.link_state import LinkState, LinkStatus, StateChanged
from callcenter_ws.remote.pending_event import EventRefused, PendingEvent
from callcenter_ws.remote.persistence import MemoryOnly, Persistence
from callcenter_ws.remote.reasons import endpoint_text
from callcenter_ws.remote.records import RecordChanges
from callcenter_ws.remote.recovered import SpoolRefused, UnwaitedEvents
from callcenter_ws.remote.sender import Sender
from callcenter_ws.remote.source import SourceIdentity, SourceNumbers
from callcenter_ws.remote.spool import Spool
from callcenter_ws.remote.spool_thread import SpoolThread
from callcenter_ws.remote.state_sync import encode_state
from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.runtime.json import JsonObject, rfc3339

_BUFFER_BYTES = 67_108_864
_NO_CHANGES: RecordChanges = {}

_log = Logger()


class Pong(NamedTuple):
    """The answer to a ping: the gateway's version, the id of its node, and its Unix time in milliseconds."""

    version: str
    node: str
    server_time_ms: int


class UnitEvent(NamedTuple):
    """An event of a unit; the attributes are the arguments of ``EventBroadcaster.publish``."""

    tenant_id: str
    type: str
    payload: JsonObject
    user_id: str | None = None
    event_id: str | None = None
    timestamp: str | None = None
    persist: bool = False


class EventBroadcaster(Service, EventMethods[Deferred[PublishResult]]):
    """Publishes events to a gateway in another process.

    It is a Twisted service: ``startService`` connects, authenticates and reconnects, with growing delays of up to
    30 seconds, until ``stopService``. ``state`` and ``state_reason`` say whether it is connected, and why not; each
    new reason is logged once, and again after 5 minutes.

    **Delivery.** Each event is given its ``event_id`` and its timestamp when it is published, and is kept until the
    gateway has acknowledged it: over reconnects, in order, with the same id.

    With ``source``, the events are numbered, and the gateway publishes each of them exactly once, however long the
    daemon, the gateway or the network between them was gone. With ``spool``, too, that holds over restarts of the
    daemon. Without a spool it holds for the events of one process.

    Without ``source`` the gateway recognizes an event by its id, for 5 minutes. So an event arrives once, with one
    exception: if the gateway took the event, the connection was lost before the answer arrived, and the event can be
    sent again only after 5 minutes or more, then it may be published twice, with the same id.

    **Results.** ``publish`` and every method for an event type return a Deferred. It fires with ``PublishResult``
    (``epoch``, ``seq``, ``event_id``) when the event is durable; ``duplicate`` is always False, because AMP does not
    carry it. It fails with ``Refusal`` if

    * the gateway refuses the event (``invalid_event``, ``forbidden``, ``too_large``);
    * the buffer is full (``overloaded``), and ``when_full`` selected this event;
    * the gateway refuses this daemon itself, three times in a row: its token (``unauthorized``, ``forbidden``) or its
      source. Without a spool all events are refused from then on, until an attempt succeeds; with a spool they are
      kept. ``state`` is ``refused`` from the first time on;
    * another instance has taken over the source, with a newer spool (``stale_generation``). That is final for this
      process: it does not connect any more. Events that are in its spool stay there;
    * the service was stopped before the gateway answered (``unavailable``). With a spool, the text says whether the
      event is kept in it and will be sent at the next start; do not publish such an event again.

    Cancelling the Deferred does not withdraw the event.

    **Spool.** With ``spool``, an event is written to a file before it is sent, and deleted from it when the gateway has
    answered. Events in the file survive the end of the process, ``SIGKILL`` included; after power loss the last ones
    may be missing. The events found in the file at the start are sent first, in order, with their ids and timestamps,
    and count towards ``buffer``. Their publishers no longer exist: an event of these that is refused is logged, without
    its payload, and passed to ``spool_refused``. If a process is killed after an answer, but before the event is
    deleted from the file, the next process sends the event again, and the gateway recognizes it as above.

    With ``source``, the file also keeps the generation of the numbers and the numbers that may have been given to
    events. They are reserved in blocks, which are synced to disk before any of them is used, so that no number is given
    twice, even if a power loss undoes the last events. The spool identifies the daemon: a new process that uses it
    takes over at once. A new or lost spool is given the next generation by the gateway, after the lease of the previous
    instance has ended. One spool belongs to one source.

    **Units.** ``publish_unit`` publishes several events together with changes of ``records``, a daemon's own small
    values. The spool keeps them in one transaction. So a daemon that continues from its records after a restart neither
    forgets nor repeats what it had published.

    A thread of its own writes the file, many events in one transaction: a slow disk delays events, but does not block
    the reactor. While the disk is full or fails, events are sent from memory: refusing them would lose them for
    certain, although the gateway may be able to take them. The error is logged once per outage, and ``unspooled``
    counts the events that would be lost with the process. When the disk works again, the events that are still
    unacknowledged are written.

    Args:
        endpoint: a Twisted client endpoint, or the description of one (``unix:/run/x.sock``,
            ``tcp:gateway:8081``, ``tls:gateway:8082``).
        reactor: the Twisted reactor.
        token: the shared secret of the gateway's ``amp.token_file`` or a JWT of role ``service``; or a function that
            returns one, called for each connection. Not needed on a unix socket.
        buffer: the maximum number of events that are kept. Their total size is limited to 64 MiB in any case.
        stop_timeout: seconds that ``stopService`` waits for answers. It waits for the spool's disk without a limit.
        spool: the path of the spool: a SQLite database, with ``-lock``, ``-wal`` and ``-shm`` files beside it. It is
            created if it does not exist, readable by its owner only. One broadcaster uses it at a time. It must be on
            a local disk.
        when_full: which event is refused when the buffer is full: ``refuse_newest`` (the one being published), or
            ``refuse_oldest`` (the oldest ones that are not being sent; one that was sent over a connection that was
            lost may have arrived nevertheless).
        spool_refused: called with the ``SpooledEvent`` and the ``Refusal`` for each event of an earlier process, or of
            a unit, that is refused. May return an awaitable.
        source: the name of the source of the events, unique within a tenant: that of this daemon, or of the exchange
            that it is connected to. A daemon for several sources has a broadcaster, and a spool, for each.
        kind: what the source is, for people, as ``asterisk``.
        instance: identifies this process; two instances cannot be the same source at the same time. By default the
            spool is the instance, and without a spool, each process.
        tenants: the tenants of the source; required with a credential that is valid for all tenants.
        capabilities: what the source does itself. ``health``: it publishes ``source.up`` on each new connection (see
            ``state_changed``) and ``source.down``, which the gateway does for others. The commands that it carries out
            are added; see ``on_command``.
        version: of the daemon's software, for people.
        max_commands: the number of commands that are carried out at the same time; see ``on_command``.
        state_changed: called with the ``LinkState`` and its reason, whenever one of them changes.

    Raises:
        ValueError: an argument is invalid.
    """

    def __init__(
        self,
        endpoint: str | IStreamClientEndpoint,
        reactor: IReactorTime,
        *,
        token: str | Callable[[], str] | None = None,
        buffer: int = 10_000,
        stop_timeout: float = 5.0,
        spool: str | os.PathLike[str] | None = None,
        when_full: WhenFull = "refuse_newest",
        spool_refused: SpoolRefused | None = None,
        source: str | None = None,
        kind: str = "daemon",
        instance: str = "",
        tenants: Sequence[str] | None = None,
        capabilities: Sequence[str] = (),
        version: str | None = None,
        max_commands: int = 256,
        state_changed: StateChanged | None = None,
    ) -> None:
        if max_commands < 1:
            raise ValueError(f"max_commands: expected a number of commands, not {max_commands!r}")
        if when_full not in get_args(WhenFull):
            raise ValueError(f"when_full: expected one of {', '.join(get_args(WhenFull))}, not {when_full!r}")
        if buffer < 1:
            raise ValueError(f"buffer: expected a number of events, not {buffer!r}")
        self._reactor = reactor
        self._clock = ReactorClock(reactor)
        self._stop_timeout = stop_timeout
        self._new_id = UlidFactory(reactor.seconds)
        self._is_kept = spool is not None
        self._is_source = source is not None
        self._when_full = when_full
        self._persistence = self._create_persistence(spool, source)
        numbers = None
        if source is not None:
            identity = SourceIdentity.create(source, kind, instance, tenants, capabilities, version)
            numbers = SourceNumbers(identity, self._persistence, self._drop_known, lambda: self._commands.names)
        self._unwaited = UnwaitedEvents(spool_refused)
        self._buffer = Buffer(buffer, _BUFFER_BYTES, self._persistence, when_full, numbers)
        self._sender = Sender(self._buffer, self._clock, self._check_idle)
        self._callbacks = CallbackRegistry()
        self._commands = CommandRunner(
            self._clock, self._persistence, max_commands, self._publish_outcome, self._check_idle
        )
        self._status = LinkStatus(endpoint_text(endpoint), self._clock, state_changed, self._refused_by_gateway)
        client_endpoint = clientFromString(reactor, endpoint) if isinstance(endpoint, str) else endpoint
        introduce = None if numbers is None else numbers.introduce
        self._connector = GatewayConnector(
            client_endpoint,
            reactor,
            self._clock,
            token,
            introduce,
            self._sender,
            self._callbacks,
            self._commands,
            self._status,
        )
        self._idle: Deferred[None] | None = None
        self._is_stopped = False

    def _create_persistence(self, spool: str | os.PathLike[str] | None, source: str | None) -> Persistence:
        if spool is None:
            return MemoryOnly()
        if not os.fspath(spool):
            raise ValueError("spool: expected the path of a file")
        # Made absolute now: a daemon may change its working directory before it starts the service.
        path = Path(spool).absolute()
        # Twisted does not declare this interface for ``twisted.internet.reactor``, but all reactors implement it.
        thread = SpoolThread(cast(IReactorFromThreads, self._reactor))
        return Spool(path, self._clock, thread, lambda: self._sender.wake(), source)

    @property
    def state(self) -> LinkState:
        """Whether there is a connection to the gateway, or why there is none."""
        return self._status.state

    @property
    def state_reason(self) -> str:
        """Why ``state`` is not ``connected``, for people; empty if it is, or if nothing has failed yet."""
        return self._status.reason

    @property
    def unacknowledged(self) -> int:
        """The number of events that the gateway has not acknowledged."""
        return len(self._buffer)

    @property
    def unspooled(self) -> int:
        """The number of unacknowledged events that would be lost with this process; without a spool, all of them."""
        return self._buffer.unspooled

    # Service

    def startService(self) -> None:
        """Read the spool, then connect and stay connected.

        Raises:
            SpoolUnusable: the spool belongs to another program, is damaged, has a newer version, is in use, or cannot
                be written. Nothing was started.
        """
        # The spool is opened here and not in __init__: by now the daemon has forked and switched its user.
        recovered = self._buffer.open()
        for event in recovered:
            self._unwaited.track(event)
        if recovered:
            _log.info("{count} events of the spool are sent first", count=len(recovered))
        super().startService()
        self._is_stopped = False
        self._commands.open(self._persistence.stored_commands)
        self._connector.start()

    def stopService(self) -> Deferred[None]:
        """Refuse new events, wait for the answers of those kept, then refuse the remaining ones and disconnect.

        With a spool, the remaining ones stay in it. Commands that are being carried out are waited for as well. The
        service can be started again.
        """
        super().stopService()
        self._is_stopped = True
        self._commands.stop()
        return Deferred.fromCoroutine(self._stop())

    def stop_now(self) -> None:
        """Do not wait for answers any more, in a stop that has begun or begins later."""
        self._stop_timeout = 0.0
        self._end_waiting()

    async def _stop(self) -> None:
        if len(self._buffer) or self._commands.running:
            self._idle = Deferred()
            try:
                await self._idle.addTimeout(self._stop_timeout, self._reactor)
            except defer.TimeoutError:
                pass
            finally:
                self._idle = None
        self._commands.close()
        await self._persistence.flush()
        if lost := self.unspooled:
            _log.warn("{count} events are lost: the gateway did not answer", count=lost)
        if kept := self.unacknowledged - lost:
            _log.info("{count} events stay in the spool: the gateway did not answer", count=kept)
        self._buffer.refuse_all()
        await self._persistence.close()
        await self._connector.stop(
            Refusal(ErrorCode.UNAVAILABLE, "stopped before the gateway answered"), self._stop_timeout
        )

    def _drop_known(self, number: int) -> None:
        self._buffer.drop_known(number)

    def _refused_by_gateway(self, refusal: Refusal) -> None:
        """Refuse what waits for an answer that will not come. A spool keeps its events for a better configuration."""
        self._connector.refuse_waiters(refusal)
        self._callbacks.refuse_pending(refusal)
        if not self._is_kept or self._status.is_final:
            self._buffer.refuse_all(refusal)

    def _check_accepted(self) -> None:
        """Raise Refusal if a new event would not be sent, or not for a long time and without being kept."""
        if self._is_stopped:
            raise Refusal(ErrorCode.UNAVAILABLE, "this broadcaster is stopped")
        refusal = self._status.refusal
        if refusal is not None and (not self._is_kept or self._status.is_final):
            raise refusal.copy()

    def _check_idle(self) -> None:
        if not len(self._buffer) and not self._commands.running:
            self._end_waiting()

    def _end_waiting(self) -> None:
        if self._idle is not None and not self._idle.called:
            self._idle.callback(None)

    # Publishing

    def publish(
        self,
        tenant_id: str,
        type: str,  # noqa: A002 - the name on the wire
        payload: JsonObject,
        *,
        user_id: str | None = None,
        event_id: str | None = None,
        timestamp: str | None = None,
        persist: bool = False,
    ) -> Deferred[PublishResult]:
        """Publish one event; see ``EventMethods.publish`` for the arguments and the class for the result."""
        unencoded = UnitEvent(tenant_id, type, payload, user_id, event_id, timestamp, persist)
        try:
            event = self._encode(unencoded)
            self._check_accepted()
            self._buffer.append(event)
        except Refusal as refusal:
            return fail(refusal)
        self._sender.wake()
        return event.answer

    def _encode(self, event: UnitEvent, refused: EventRefused | None = None) -> PendingEvent:
        fields = {
            "tenant_id": event.tenant_id,
            "type": event.type,
            "user_id": event.user_id,
            "event_id": self._new_id() if event.event_id is None else event.event_id,
            "timestamp": rfc3339(self._reactor.seconds()) if event.timestamp is None else event.timestamp,
        }
        return PendingEvent.encoded(fields, event.persist, event.payload, refused)

    def publish_unit(self, events: Iterable[UnitEvent], records: RecordChanges = _NO_CHANGES) -> None:
        """Publish events, and change records, together or not at all.

        With a spool, the events and the changed records of a unit are written in one transaction; units are written in
        order. So after the end of the process, ``SIGKILL`` included, ``records`` says which units were published: all
        up to one of them. See "Records" in the manual (``docs/senders.rst``) for a failing disk.

        No Deferred is returned: an event of a unit that the gateway refuses is logged, and passed to ``spool_refused``.

        Args:
            events: in the order in which they are sent.
            records: the new values by key; None: the record is deleted. A key has up to 255 bytes, a value up to
                1 MiB; up to 200,000 records with 64 MiB are kept.

        Raises:
            Refusal: nothing was published, and no record has changed. ``overloaded``: the buffer has no room for all
                events (see ``when_room``), or there are too many records; ``invalid_event``, ``too_large``: an event
                or a record is invalid; ``unavailable``, ``stale_generation`` and so on: as with ``publish``.
            ValueError: with ``when_full="refuse_oldest"``, events of a unit could be refused later.
        """
        if self._when_full != "refuse_newest":
            raise ValueError("units need when_full='refuse_newest'")
        self._check_accepted()
        self._buffer.append_unit([self._encode(event, self._unwaited.refused) for event in events], records)
        self._sender.wake()

    def sync_state(
        self, tenant_id: str, scope: str, entities: Iterable[JsonObject], *, timestamp: str | None = None
    ) -> Deferred[PublishResult]:
        """Tell all entities of the source in a tenant; the gateway publishes the events that make up the difference.

        For a daemon that does not know what it has published before. The list is kept, numbered and sent like an event:
        after everything that was published before, and before anything that is published later. With a spool it
        survives the end of the process. Entities of other sources are not changed. See "Telling the whole state" in
        the manual (``docs/senders.rst``) for the fields.

        Args:
            scope: ``agents``, ``calls``, ``queues``, ``members`` or ``chats``.
            entities: all that exist now; those of the source that are not listed have ended.
            timestamp: when that was true (RFC 3339), the timestamp of the events; by default now.

        Returns:
            Fires with ``PublishResult`` when the events are durable: the position of the last event, 0 if there was
            none. Fails with ``Refusal``, as ``publish`` does; ``forbidden`` without a ``source``.
        """
        given_at = rfc3339(self._reactor.seconds()) if timestamp is None else timestamp
        try:
            if not self._is_source:
                raise Refusal(ErrorCode.FORBIDDEN, "sync_state is for sources: give the broadcaster a source")
            state = encode_state(tenant_id, scope, entities, self._new_id(), given_at)
            self._check_accepted()
            self._buffer.append(state)
        except Refusal as refusal:
            return fail(refusal)
        self._sender.wake()
        return state.answer

    # Commands

    def on_command(self, name: str, function: CommandFunction | None) -> None:
        """Have ``function`` carry out a command; None: the source does not carry it out any more.

        The names are the capabilities by which the gateway selects this source. Call it before ``startService``: if
        the names change later, the broadcaster connects again to tell the new ones.

        The function is called with a ``Command``, once for each, and never after its deadline. It may be async. It
        returns None, or a dict that the asker gets; then the outcome is ``done``. It raises ``CommandFailed`` with a
        code and a message for the asker; any other exception is logged, and the outcome is ``failed``. The outcome is
        sent in order with the events: after those that were published before the function returned.

        With a spool, the id of the command is on the disk before the function is called. If the process ends before
        the outcome is in the spool, the next one tells the gateway that the outcome is not known. Without a spool that
        is lost, and the gateway says so after the deadline. See "Commands" in the manual (``docs/senders.rst``).

        Raises:
            ValueError: there is no such command, or the broadcaster has no ``source``.
        """
        if not self._is_source:
            raise ValueError("commands are for sources: give the broadcaster a source")
        if self._commands.register(name, function):
            self._callbacks.takes_commands = bool(self._commands.names)
            self._connector.reconnect("the source says which commands it carries out now")

    def _publish_outcome(self, event: PendingEvent) -> None:
        self._buffer.append_outcome(event)
        self._sender.wake()

    def gateway_time(self) -> float | None:
        """Return the Unix time of the gateway in seconds; None before the first answer.

        It is estimated by the last answer that told it, of those to ``Hello`` and to the pings of each 30 seconds.
        """
        return self._commands.gateway_clock.time()

    @property
    def records(self) -> Mapping[str, bytes]:
        """The records as the published units have changed them; those of earlier processes after ``startService``."""
        return MappingProxyType(self._buffer.records.values)

    def when_room(self) -> Deferred[None]:
        """Return a Deferred that fires when the buffer is at most half full."""
        return self._buffer.room()

    # Other commands. Each waits up to 10 seconds for a connection and 30 seconds for the answer; the Deferred fails
    # with ``Refusal`` (``unavailable``) without one.

    def user_online(self, tenant_id: str, user_id: str) -> Deferred[UserPresence]:
        """Return whether a user has open connections, at any node, and how many.

        Returns:
            Fires with ``UserPresence``; its ``since`` and ``last_seen`` are None, because AMP does not carry them.
            Fails with ``Refusal``; ``unavailable`` means that the gateway does not know, or did not answer.
        """

        async def call() -> UserPresence:
            answer = await self._connector.call(UserOnline, tenant_id=tenant_id, user_id=user_id)
            return UserPresence(answer["online"], answer["connections"], None, None)

        return Deferred.fromCoroutine(call())

    def disconnect_user(self, tenant_id: str, user_id: str, reason: str | None = None) -> Deferred[int]:
        """Close all connections of a user with code 4503; their tokens stay valid.

        Args:
            reason: goes to the gateway's log.

        Returns:
            Fires with the number of connections closed; fails with ``Refusal``.
        """
        return self._closed_count(DisconnectUser, tenant_id=tenant_id, user_id=user_id, reason=reason)

    def revoke_token(self, tenant_id: str, *, jti: str | None = None, user_id: str | None = None) -> Deferred[int]:
        """Refuse a token (``jti``), or all tokens issued to a user until now, and close their connections.

        Returns:
            Fires with the number of connections closed; fails with ``Refusal``.
        """
        return self._closed_count(RevokeToken, tenant_id=tenant_id, jti=jti, user_id=user_id)

    def ping(self) -> Deferred[Pong]:
        """Ask for the version, the node id and the time of the gateway.

        Returns:
            Fires with ``Pong``; fails with ``Refusal``.
        """

        async def call() -> Pong:
            answer = await self._connector.call(Ping)
            return Pong(answer["version"], answer["node"], answer["server_time_ms"])

        return Deferred.fromCoroutine(call())

    def subscribe(self, kinds: Sequence[str], callback: Callback) -> Deferred[None]:
        """Call ``callback`` with each event of clients that matches ``kinds``, now and after every reconnect.

        These events are messages of visitors and agents and changes of presence; events of daemons are not included.
        An event may be delivered twice, with the same ``event_id``. It is acknowledged when all matching callbacks have
        returned and the awaitables that they returned have fired. A callback that raises is logged, and the event is
        not delivered again.

        Args:
            kinds: event names, prefixes as ``chat.*``, or ``*``.
            callback: called with a ``ClientMessage``; may return an awaitable.

        Returns:
            Fires when the gateway has accepted the subscription; fails with ``Refusal`` for unknown kinds, and if the
            gateway keeps refusing this daemon; in that case it is accepted later, if the gateway accepts the daemon.
        """
        subscribed = self._callbacks.add(kinds, callback)
        self._connector.subscribe()
        return subscribed

    def _closed_count(self, command: type[GatewayCommand], **arguments: object) -> Deferred[int]:
        async def call() -> int:
            closed: int = (await self._connector.call(command, **arguments))["closed"]
            return closed

        return Deferred.fromCoroutine(call())
