"""What handling the requests of connections needs, in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.interfaces import Authenticator, Broker, ConnectionLog
from callcenter_ws.requests.handlers import Handlers
from callcenter_ws.requests.quotas import Quotas
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock


@dataclass(slots=True)
class Context:
    """The parts that all connections of a gateway share. Built once, when the gateway is assembled.

    Attributes:
        spend: counts units of a turn for messages that take more work than others (``runtime.turns``).
    """

    hub: Hub
    broker: Broker
    broadcaster: EventBroadcaster
    authenticator: Authenticator
    handlers: Handlers
    quotas: Quotas
    clock: Clock
    spawn: Spawn
    log: ConnectionLog
    limits: Limits = field(default_factory=Limits)
    spend: Callable[[int], object] = lambda units: None
