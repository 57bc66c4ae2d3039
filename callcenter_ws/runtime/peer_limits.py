"""PeerLimits: what HTTP, WebSocket and AMP share to limit peers, most of it for those that have not authenticated."""

from __future__ import annotations

from dataclasses import dataclass, field

from callcenter_ws.runtime.client_address import TrustedProxies
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.incoming_bytes import DEFAULT_INCOMING_BYTES, IncomingBytes
from callcenter_ws.runtime.peer_budget import BudgetLimits, PeerBudget
from callcenter_ws.runtime.peer_logs import PeerLogs
from callcenter_ws.runtime.refusal_log import RefusalLog
from callcenter_ws.runtime.turns import Turns


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLimitValues:
    """The values of the limits, which may change while the gateway runs.

    Attributes:
        budget: what peers that have not authenticated may use.
        log_lines, log_lines_per_network: lines per minute about refusals.
        requests_per_connection: requests after which an HTTP connection is closed.
        incoming_bytes: bytes of requests in memory.
        authenticated_http: HTTP connections of peers that have authenticated.
    """

    budget: BudgetLimits = field(default_factory=BudgetLimits)
    log_lines: int = 120
    log_lines_per_network: int = 20
    requests_per_connection: int = 1_000
    incoming_bytes: int = DEFAULT_INCOMING_BYTES
    authenticated_http: int = 1_000


@dataclass(slots=True, kw_only=True)
class PeerLimits:
    """One budget, one division of the reactor's turns and the same logs for all ports of a process.

    Attributes:
        logs: the logs of lines that peers can cause.
        requests_per_connection: requests after which an HTTP connection is closed.
        incoming: the bytes of requests in memory, also of peers that have authenticated.
        authenticated_http: the HTTP connections of peers that have authenticated, at most ``max_authenticated_http``.
        refused: HTTP requests that were refused for their form, their token or a limit, by error code.
    """

    budget: PeerBudget
    turns: Turns
    logs: PeerLogs
    proxies: TrustedProxies
    requests_per_connection: int
    incoming: IncomingBytes
    max_authenticated_http: int
    authenticated_http: set[object]
    refused: dict[str, int]

    @classmethod
    def create(
        cls, clock: Clock, values: PeerLimitValues | None = None, *, proxies: TrustedProxies | None = None
    ) -> PeerLimits:
        """Return limits on a clock, with defaults for what is not given."""
        values = values or PeerLimitValues()
        limits = cls(
            budget=PeerBudget(values.budget, clock),
            turns=Turns(lambda call: clock.call_later(0, call)),
            logs=PeerLogs.create(clock),
            proxies=proxies or TrustedProxies(()),
            requests_per_connection=values.requests_per_connection,
            incoming=IncomingBytes(),
            max_authenticated_http=values.authenticated_http,
            authenticated_http=set(),
            refused={},
        )
        limits.change(values)
        return limits

    def change(self, values: PeerLimitValues) -> None:
        """Use other values from now on. What is above a lower limit stays; the next use of it is refused."""
        self.budget.change(values.budget)
        self.logs.set_limits(lines=values.log_lines, lines_per_network=values.log_lines_per_network)
        self.requests_per_connection = values.requests_per_connection
        self.incoming.bound = values.incoming_bytes
        self.max_authenticated_http = values.authenticated_http

    @property
    def log(self) -> RefusalLog:
        """The log of lines about peers that have not authenticated."""
        return self.logs.networks

    @property
    def log_lines_left_out(self) -> int:
        """The lines that were not logged, because there were too many."""
        return self.logs.left_out

    def count_refused(self, code: str) -> None:
        """Count a refused request."""
        self.refused[code] = self.refused.get(code, 0) + 1
