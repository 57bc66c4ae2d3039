"""Quotas: which budgets the messages of a client are charged to, and the share of the history that visitors may fill.

Visitors need no account: any peer may open a chat. Each may send little, and what all visitors of a tenant may send
together leaves most of the tenant's history to its other events.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from callcenter_ws.delivery.limits import Limits
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Principal
from callcenter_ws.requests.rate_limit import Budget, Rate, SharedBudgets
from callcenter_ws.runtime.clock import Clock

BYTE_BURST_SECONDS = 16
"""The bytes that may be sent at once are those of so many seconds, and at least one message of the largest size."""

TENANT_BURST_SECONDS = 4
"""The same for all clients of a tenant together, in messages and bytes."""

HISTORY_WINDOW_SECONDS = 600.0
"""Within this time visitors add at most their share of a tenant's history, and once more as much after a pause."""

TYPING_RESERVE = 0.5
"""The part of this share that is kept for messages: beyond it, ``chat.typing`` of visitors is refused."""


class Charge(NamedTuple):
    """A shared budget that each message of a client is charged to.

    Attributes:
        own: whether only the client's own user or session uses it, so that exceeding it is the client's doing.
    """

    key: Hashable
    rate: Rate
    own: bool


class Delay(NamedTuple):
    """Why a message must wait: the seconds, and whether the client itself sent too much."""

    seconds: float
    own: bool


class Quotas:
    """The budgets of all clients of this process.

    Args:
        history_events, history_bytes: the limits of a tenant's history in the store.
    """

    def __init__(self, limits: Limits, clock: Clock, *, history_events: int, history_bytes: int) -> None:
        self._clock = clock
        self._shared = SharedBudgets()
        self._rates = _Rates(limits, history_events, history_bytes)

    def change(self, limits: Limits, *, history_events: int, history_bytes: int) -> None:
        """Use other limits from now on, in the budgets of connected clients too; what is used of them stays used."""
        self._rates.replace_with(_Rates(limits, history_events, history_bytes))

    def connection_budget(self, principal: Principal) -> Budget:
        """Return a new budget for one connection."""
        return Budget(self._rates.visitor if principal.is_visitor else self._rates.connection, self._clock.monotonic())

    def charges(self, principal: Principal, network: str) -> tuple[Charge, ...]:
        """Return the shared budgets of a client.

        Args:
            network: the network that the client's address is counted by.
        """
        tenant_id = principal.tenant_id
        if principal.is_visitor:
            session = principal.session_id or principal.user_id
            return (
                Charge(("session", tenant_id, session), self._rates.session, own=False),
                Charge(("network", network), self._rates.visitor_network, own=False),
                Charge(("visitors", tenant_id), self._rates.visitor_tenant, own=False),
            )
        return (
            Charge(("user", tenant_id, principal.user_id), self._rates.user, own=True),
            Charge(("tenant", tenant_id), self._rates.tenant, own=False),
        )

    def charge(self, connection: Budget, charges: tuple[Charge, ...], size: int) -> Delay | None:
        """Charge a message of ``size`` bytes to all budgets and return None, or return the longest wait.

        A message that must wait for a shared budget is charged to that of the connection, so that a client that goes on
        is closed.
        """
        now, shared = self._clock.monotonic(), self._shared
        wait, own = connection.wait_for(now, size), True
        if not wait:
            connection.take(size)
        budgets = []
        for key, rate, is_own in charges:
            budget = shared.get(key, rate, now)
            budgets.append(budget)
            seconds = budget.wait_for(now, size)
            if seconds > 0 and (not wait or is_own):
                wait, own = max(wait, seconds), is_own
        if wait:
            return Delay(wait, own)
        for budget in budgets:
            budget.take(size)
        return None

    def use_history(self, sender: Principal, size: int, *, typing: bool = False) -> None:
        """Charge an event of a client to the share of the history that visitors of its tenant have.

        Raises:
            Refusal: ``rate_limited``: the share is used up.
        """
        if not sender.is_visitor:
            return
        now = self._clock.monotonic()
        budget = self._shared.get(("history", sender.tenant_id), self._rates.history, now)
        wait = budget.wait_for(now, size)
        if typing and not wait:
            wait = budget.wait_until_left(TYPING_RESERVE)
        if wait:
            text = "the visitors of this tenant send too much; try again later"
            raise Refusal(ErrorCode.RATE_LIMITED, text, retry_after=wait)
        budget.take(size)

    def open_session(self, network: str) -> None:
        """Count a new chat session that a network opens.

        Raises:
            Refusal: ``rate_limited``: it has opened too many.
        """
        now = self._clock.monotonic()
        budget = self._shared.get(("sessions", network), self._rates.sessions, now)
        wait = budget.wait_for(now, 0)
        if wait:
            raise Refusal(ErrorCode.RATE_LIMITED, "too many chat sessions from this network", retry_after=wait)
        budget.take(0)


class _Rates:
    """The rates of all kinds of budgets. Each is one object, to which all budgets of its kind refer."""

    def __init__(self, limits: Limits, history_events: int, history_bytes: int) -> None:
        staff_bytes = float(limits.message_bytes)
        self.connection = Rate(
            limits.rate, limits.burst, limits.byte_rate, max(BYTE_BURST_SECONDS * limits.byte_rate, staff_bytes)
        )
        self.user = _rate(limits.user_rate, limits.user_byte_rate, BYTE_BURST_SECONDS, staff_bytes)
        self.tenant = _rate(limits.tenant_rate, limits.tenant_byte_rate, TENANT_BURST_SECONDS, staff_bytes)
        visitor_bytes = float(limits.visitor_message_bytes)
        session_bytes = max(TENANT_BURST_SECONDS * limits.visitor_byte_rate, visitor_bytes)
        self.session = Rate(limits.visitor_rate, limits.visitor_burst, limits.visitor_byte_rate, session_bytes)
        # Many chat widgets send chat.typing for each key: that is refused, and no reason to close the connection.
        self.visitor = Rate(limits.rate, limits.burst, 2 * limits.visitor_byte_rate, 2 * session_bytes)
        self.visitor_network = _rate(
            limits.visitor_network_rate, limits.visitor_network_byte_rate, TENANT_BURST_SECONDS, visitor_bytes
        )
        self.visitor_tenant = _rate(
            limits.visitor_tenant_rate, limits.visitor_tenant_byte_rate, TENANT_BURST_SECONDS, visitor_bytes
        )
        events = max(1.0, limits.visitor_history_share * history_events)
        size = max(visitor_bytes, limits.visitor_history_share * history_bytes)
        self.history = Rate(events / HISTORY_WINDOW_SECONDS, events, size / HISTORY_WINDOW_SECONDS, size)
        self.sessions = Rate(limits.visitor_sessions / 60, limits.visitor_sessions, 1.0, 1.0)

    def replace_with(self, other: _Rates) -> None:
        """Change every rate to that of the other."""
        self.connection.replace_with(other.connection)
        self.user.replace_with(other.user)
        self.tenant.replace_with(other.tenant)
        self.session.replace_with(other.session)
        self.visitor.replace_with(other.visitor)
        self.visitor_network.replace_with(other.visitor_network)
        self.visitor_tenant.replace_with(other.visitor_tenant)
        self.history.replace_with(other.history)
        self.sessions.replace_with(other.sessions)


def _rate(messages: float, size: float, burst_seconds: float, largest: float) -> Rate:
    return Rate(messages, max(1.0, burst_seconds * messages), size, max(burst_seconds * size, largest))
