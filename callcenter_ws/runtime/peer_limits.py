"""PeerLimits: what HTTP, WebSocket and AMP share to limit peers, most of it for those that have not authenticated."""

from __future__ import annotations

from dataclasses import dataclass

from callcenter_ws.runtime.client_address import TrustedProxies
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.incoming_bytes import DEFAULT_INCOMING_BYTES, IncomingBytes
from callcenter_ws.runtime.peer_budget import BudgetLimits, PeerBudget
from callcenter_ws.runtime.peer_logs import PeerLogs
from callcenter_ws.runtime.refusal_log import RefusalLog
from callcenter_ws.runtime.turns import Turns


@dataclass(frozen=True, slots=True, kw_only=True)
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
        cls,
        clock: Clock,
        *,
        budget: BudgetLimits | None = None,
        proxies: TrustedProxies | None = None,
        log_lines: int = 120,
        log_lines_per_network: int = 20,
        requests_per_connection: int = 1_000,
        incoming_bytes: int = DEFAULT_INCOMING_BYTES,
        authenticated_http: int = 1_000,
    ) -> PeerLimits:
        """Return limits on a clock, with defaults for what is not given."""
        return cls(
            budget=PeerBudget(budget or BudgetLimits(), clock),
            turns=Turns(lambda call: clock.call_later(0, call)),
            logs=PeerLogs.create(clock, lines=log_lines, lines_per_network=log_lines_per_network),
            proxies=proxies or TrustedProxies(()),
            requests_per_connection=requests_per_connection,
            incoming=IncomingBytes(incoming_bytes),
            max_authenticated_http=authenticated_http,
            authenticated_http=set(),
            refused={},
        )

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
