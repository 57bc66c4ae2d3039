"""The factory behind every endpoint of ``amp.listen``."""

from __future__ import annotations

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger

from callcenter_ws.amp.credentials import Credentials, Revocations, is_revoked
from callcenter_ws.amp.protocol import GatewayAMP
from callcenter_ws.amp.server import GatewayCommands
from callcenter_ws.amp.session import PeerSession
from callcenter_ws.amp.subscription import Subscriptions
from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.interfaces import Authenticator, Directory
from callcenter_ws.runtime.clock import Clock

CONNECTIONS = 1_000
STRANGERS = 50
"""Connections over the network: in all, and of peers that have not authenticated yet."""

_log = Logger()


class AmpServerFactory(ServerFactory):
    """Makes a connection of a daemon into a session; one factory serves unix sockets and TCP alike.

    A peer on a unix socket is trusted, since the mode of the socket's file has let it in (give the endpoint
    ``mode=660``; Twisted's default is 666). Any other peer must authenticate first.

    Args:
        secret: the shared secret of ``amp.token_file``, without surrounding white space.
        authenticate: verifies JWTs. With neither of the two only unix sockets are of use.
        revocations: when ``RevokeToken`` has been called, sessions whose own token it refuses are cut off.
        node_id: what ``Ping`` answers as ``node``.

    Attributes:
        sessions: of the peers that are connected now.
    """

    noisy = False

    def __init__(
        self,
        broadcaster: EventBroadcaster,
        directory: Directory,
        clock: Clock,
        *,
        node_id: str,
        secret: bytes | None = None,
        authenticate: Authenticator | None = None,
        revocations: Revocations | None = None,
    ) -> None:
        self._clock = clock
        self._subscriptions = Subscriptions(directory, clock)
        credentials = Credentials(secret, authenticate)
        self._commands = GatewayCommands(
            broadcaster, directory, credentials, self._subscriptions, node_id, self.cut_off_revoked
        )
        self._revocations = revocations
        self._drained: Deferred[None] | None = None
        self._told_of_no_room = False
        self.sessions: dict[PeerSession, GatewayAMP] = {}

    def buildProtocol(self, addr: IAddress | None) -> GatewayAMP | None:
        """Return the protocol of a new connection; None (hang up) while draining, and where there is no room.

        Whoever the mode of a unix socket lets in always finds room: strangers on the network must not be able to
        lock the daemons of this machine out.
        """
        if self._drained is not None:
            return None
        if not isinstance(addr, UNIXAddress) and (why := self._no_room()) is not None:
            if not self._told_of_no_room:
                _log.warn("AMP connections over the network are refused: {why}", why=why)
                self._told_of_no_room = True
            return None
        self._told_of_no_room = False
        session = PeerSession(self._commands.responders, self._clock, self._gone)
        connection = GatewayAMP(session, self._clock)
        self.sessions[session] = connection
        return connection

    def _no_room(self) -> str | None:
        """Why a connection over the network is refused; None when there is room."""
        if len(self.sessions) >= CONNECTIONS:
            return f"there are {CONNECTIONS} already"
        if sum(session.principal is None for session in self.sessions) >= STRANGERS:
            return f"{STRANGERS} have not authenticated yet"
        return None

    def drain(self) -> Deferred[None]:
        """Read no more, answer what is in flight, hang up.

        Returns:
            Fires when the last peer is gone. To end it sooner call ``abort``.
        """
        if self._drained is None:
            self._drained = Deferred()
            self._subscriptions.close_absent()
            for session in list(self.sessions):
                session.finish()
            self._check_drained()
        drained: Deferred[None] = Deferred()
        self._drained.chainDeferred(drained)
        return drained

    def abort(self) -> None:
        """Drop every peer at once."""
        for connection in list(self.sessions.values()):
            connection.hang_up()
            connection.abort()

    def cut_off_revoked(self) -> int:
        """End the sessions whose own token is revoked by now; return how many."""
        revocations = self._revocations
        if revocations is None:
            return 0
        revoked = [
            session
            for session, connection in self.sessions.items()
            if not connection.is_cut and is_revoked(session.principal, revocations)
        ]
        for session in revoked:
            session.cut_off("its token was revoked")
        return len(revoked)

    def _gone(self, session: PeerSession) -> None:
        del self.sessions[session]
        if session.subscription is not None:
            if self._drained is None:
                self._subscriptions.leave(session.subscription)
            else:
                self._subscriptions.close(session.subscription)
        self._check_drained()

    def _check_drained(self) -> None:
        if self._drained is not None and not self._drained.called and not self.sessions:
            self._drained.callback(None)
