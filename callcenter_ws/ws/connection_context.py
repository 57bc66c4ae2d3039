"""Objects that all WebSocket connections share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from callcenter_ws.delivery.counters import add
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.errors import Refusal
from callcenter_ws.events.deflate import Deflater
from callcenter_ws.interfaces import Transport
from callcenter_ws.requests.admission import Admission
from callcenter_ws.requests.context import Context
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.peer_limits import PeerLimits
from callcenter_ws.ws.authentication import HandshakeAuthenticator


@dataclass(slots=True, eq=False)
class ConnectionContext:
    """The collaborators of GatewayProtocol. GatewayFactory builds one and shares it with all its protocols.

    Attributes:
        requests: the collaborators of clients and of the handlers of their requests.
        new_id: returns a new connection id.
        log_refusal: logs a refused handshake; called with the client's address, the endpoint and the refusal.
        peer_limits: the limits of peers that have not authenticated.
        deflater: compresses messages for clients that negotiated permessage-deflate; None disables compression.
        unauthenticated: the open connections whose first frame must still authenticate them.
        clock: the clock of ``requests``.
        limits: the limits of ``requests``.
    """

    requests: Context
    admission: Admission
    authenticator: HandshakeAuthenticator
    new_id: Callable[[], str]
    log_refusal: Callable[[str, str, Refusal], None]
    peer_limits: PeerLimits
    deflater: Deflater | None = None
    unauthenticated: set[Transport] = field(default_factory=set)
    clock: Clock = field(init=False)
    limits: Limits = field(init=False)

    def __post_init__(self) -> None:
        self.clock = self.requests.clock
        self.limits = self.requests.limits

    def note_refused(self, ip: str, endpoint: str, refusal: Refusal) -> None:
        """Count and log a refused handshake, or a refused first frame, from address ``ip`` at an endpoint."""
        add(self.requests.hub.counters.handshakes_refused, refusal.code.value)
        self.log_refusal(ip, endpoint, refusal)
