"""PeerLimits: what HTTP, WebSocket and AMP share to limit peers that have not authenticated."""

from __future__ import annotations

from dataclasses import dataclass

from callcenter_ws.runtime.client_address import TrustedProxies
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.incoming_bytes import DEFAULT_INCOMING_BYTES, IncomingBytes
from callcenter_ws.runtime.peer_budget import BudgetLimits, PeerBudget
from callcenter_ws.runtime.refusal_log import RefusalLog
from callcenter_ws.runtime.turns import Turns


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLimits:
    """One budget, one division of the reactor's turns and one log for all ports of a process.

    Attributes:
        requests_per_connection: requests after which an HTTP connection is closed.
        incoming: the bytes of requests in memory, also of peers that have authenticated.
        refused: HTTP requests that were refused for their form, their token or a limit, by error code.
    """

    budget: PeerBudget
    turns: Turns
    log: RefusalLog
    proxies: TrustedProxies
    requests_per_connection: int
    incoming: IncomingBytes
    refused: dict[str, int]

    @classmethod
    def create(
        cls,
        clock: Clock,
        *,
        budget: BudgetLimits | None = None,
        proxies: TrustedProxies | None = None,
        log: RefusalLog | None = None,
        requests_per_connection: int = 1_000,
        incoming_bytes: int = DEFAULT_INCOMING_BYTES,
    ) -> PeerLimits:
        """Return limits on a clock, with defaults for what is not given."""
        return cls(
            budget=PeerBudget(budget or BudgetLimits(), clock),
            turns=Turns(lambda call: clock.call_later(0, call)),
            log=log or RefusalLog(clock),
            proxies=proxies or TrustedProxies(()),
            requests_per_connection=requests_per_connection,
            incoming=IncomingBytes(incoming_bytes),
            refused={},
        )

    def count_refused(self, code: str) -> None:
        """Count a refused request."""
        self.refused[code] = self.refused.get(code, 0) + 1
