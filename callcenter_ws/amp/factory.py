"""The protocol factory behind every endpoint of ``amp.listen``: admission of connections, draining, revocation."""

from __future__ import annotations

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ServerFactory

from callcenter_ws.amp.account_responders import AccountResponders
from callcenter_ws.amp.authentication_throttle import AuthenticationThrottle
from callcenter_ws.amp.authenticator import PeerAuthenticator, is_revoked
from callcenter_ws.amp.command_responders import CommandExchange
from callcenter_ws.amp.connection_log import DaemonLog
from callcenter_ws.amp.daemon_subscription import DaemonSubscriptions
from callcenter_ws.amp.protocol import GatewayAMP
from callcenter_ws.amp.responders import CommandResponders
from callcenter_ws.amp.session import PeerSession
from callcenter_ws.amp.source_responders import SourceResponders
from callcenter_ws.auth.account_operations import AccountOperations
from callcenter_ws.auth.revocation import Revocations
from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.commands.service import CommandService
from callcenter_ws.errors import ErrorCode
from callcenter_ws.events.audit import NO_AUDIT
from callcenter_ws.interfaces import Audit, Authenticator, Directory
from callcenter_ws.runtime.client_address import UNIX_SOCKET
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.network import network_of
from callcenter_ws.runtime.peer_limits import PeerLimits
from callcenter_ws.sources.publishing import SourcePublisher
from callcenter_ws.sources.registry import SourceRegistry
from callcenter_ws.sources.syncing import StateSync

MAX_CONNECTIONS = 1_000
"""Network connections are refused while so many authenticated peers are connected, those on unix sockets included."""

_TOO_MANY = ErrorCode.CONNECTION_LIMIT


class AmpServerFactory(ServerFactory):
    """Creates the protocol and the session of each AMP connection; one factory serves unix sockets and TCP alike.

    A peer on a unix socket is trusted, because the mode of the socket's file has admitted it (give the endpoint
    ``mode=660``; Twisted's default is 666). Any other peer has to authenticate first.

    Args:
        secret: the shared secret of ``amp.token_file``, without surrounding white space.
        sources: the registry of sources; ``source_publisher`` publishes their events, ``state_sync`` reconciles their
            state.
        accounts: what operators do with the users of the pages.
        commands: what sources are to carry out.
        authenticate: verifies JWTs. Without this and without ``secret`` only unix sockets are usable.
        limits: the limits of peers that have not authenticated; None for limits of this factory alone.
        revocations: after ``RevokeToken``, the sessions whose own token is in it are disconnected.
        node_id: the ``node`` that ``Ping`` returns.
        audit: where it is recorded what operators do.

    Attributes:
        authenticator: verifies the tokens of peers.
        limits: the limits of peers that have not authenticated.
        log: logs the connections of daemons.
        sessions: the sessions of the peers that are connected now, with their protocols.
        refused: commands that were answered with an error, and connections that were refused, by error code.
    """

    noisy = False

    def __init__(
        self,
        broadcaster: EventBroadcaster,
        directory: Directory,
        clock: Clock,
        *,
        node_id: str,
        sources: SourceRegistry,
        source_publisher: SourcePublisher,
        state_sync: StateSync,
        accounts: AccountOperations,
        commands: CommandService,
        secret: bytes | None = None,
        authenticate: Authenticator | None = None,
        revocations: Revocations | None = None,
        limits: PeerLimits | None = None,
        audit: Audit = NO_AUDIT,
    ) -> None:
        self._clock = clock
        self.limits = limits or PeerLimits.create(clock)
        self._subscriptions = DaemonSubscriptions(directory, clock)
        self.authenticator = PeerAuthenticator(secret, authenticate)
        self._sources = sources
        self._exchange = CommandExchange(commands)
        self._responders = CommandResponders(
            broadcaster,
            directory,
            self.authenticator,
            AuthenticationThrottle(self.limits, clock),
            self._subscriptions,
            SourceResponders(sources, source_publisher, state_sync, clock, audit),
            AccountResponders(accounts, audit),
            self._exchange,
            clock,
            node_id,
            self.disconnect_revoked,
            self.limits.logs.commands,
            audit,
        )
        self._revocations = revocations
        self._drained: Deferred[None] | None = None
        self._connections = 0
        self.log = DaemonLog(self.limits.logs)
        self.sessions: dict[PeerSession, GatewayAMP] = {}
        self._unauthenticated: set[PeerSession] = set()
        self.refused: dict[str, int] = {}

    def buildProtocol(self, addr: object) -> GatewayAMP | None:
        """Return the protocol of a new connection, or None to close it: while draining, or at a connection limit.

        The limit does not apply to unix sockets: peers on the network must not be able to lock out the daemons of this
        machine. Peers that have not authenticated do not count towards it; ``limits`` bounds them.
        """
        if self._drained is not None:
            return None
        is_local = isinstance(addr, UNIXAddress)
        if not is_local and len(self.sessions) - len(self._unauthenticated) >= MAX_CONNECTIONS:
            self.refused[_TOO_MANY] = self.refused.get(_TOO_MANY, 0) + 1
            ip = getattr(addr, "host", None) or UNIX_SOCKET
            self.limits.log.write(
                network_of(ip),
                "an AMP connection from {ip} is refused: {code}, there are {most} connections already",
                is_warning=True,
                ip=ip,
                code=_TOO_MANY.value,
                most=MAX_CONNECTIONS,
            )
            return None
        self._connections += 1
        session = PeerSession(
            self._responders.by_name,
            self._clock,
            self._session_ended,
            self._unauthenticated.discard,
            self.refused,
            log=self.log,
            connection=self._connections,
        )
        protocol = GatewayAMP(session, self._clock, self.limits)
        self.sessions[session] = protocol
        if not is_local:
            self._unauthenticated.add(session)
        return protocol

    @property
    def waiting_bytes(self) -> int:
        """The bytes of the events that daemons have not acknowledged; each subscription has a limit of its own."""
        return self._subscriptions.waiting_bytes

    @property
    def waiting_events(self) -> int:
        """The events that wait at the connected senders, as far as they tell."""
        return sum(session.waiting_events for session in self.sessions)

    def session_counts(self) -> dict[str, int]:
        """Return the number of sessions by what the peer is: unauthenticated, a source, a subscriber, or another."""
        counts = dict.fromkeys(("unauthenticated", "source", "subscriber", "other"), 0)
        for session in self.sessions:
            if session.principal is None:
                counts["unauthenticated"] += 1
            elif session.source is not None:
                counts["source"] += 1
            elif session.subscription is not None:
                counts["subscriber"] += 1
            else:
                counts["other"] += 1
        return counts

    def drain(self) -> Deferred[None]:
        """Stop reading, answer what is in flight, then close every connection.

        Returns:
            Fires when the last connection is closed. To end it sooner call ``abort``.
        """
        if self._drained is None:
            self._drained = Deferred()
            self._subscriptions.close_detached()
            for session in list(self.sessions):
                session.drain()
            self._check_drained()
        drained: Deferred[None] = Deferred()
        self._drained.chainDeferred(drained)
        return drained

    def abort(self) -> None:
        """Abort every connection at once."""
        for protocol in list(self.sessions.values()):
            protocol.close()
            protocol.abort()

    def disconnect_revoked(self) -> int:
        """Disconnect the sessions whose own token has been revoked; return how many."""
        revocations = self._revocations
        if revocations is None:
            return 0
        revoked = [
            session
            for session, protocol in self.sessions.items()
            if not protocol.is_closing and is_revoked(session.principal, revocations)
        ]
        for session in revoked:
            session.disconnect("its token was revoked")
        return len(revoked)

    def _session_ended(self, session: PeerSession) -> None:
        del self.sessions[session]
        if session.source is not None:
            self._exchange.ended(session.source)
            self._sources.link_lost(session.source)
        self._unauthenticated.discard(session)
        if session.subscription is not None:
            if self._drained is None:
                self._subscriptions.detach(session.subscription)
            else:
                self._subscriptions.close(session.subscription)
        self._check_drained()

    def _check_drained(self) -> None:
        if self._drained is not None and not self._drained.called and not self.sessions:
            self._drained.callback(None)
