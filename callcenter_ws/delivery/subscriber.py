"""The view of a client that the other parts of delivery have."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from callcenter_ws.delivery.mailbox_acks import MailboxAcks
from callcenter_ws.delivery.outbox import Outbox
from callcenter_ws.delivery.subscription import Subscription, SubscriptionChange
from callcenter_ws.errors import CloseCode, Refusal
from callcenter_ws.events.frames import ControlFrame
from callcenter_ws.events.principal import Principal


class SessionState(Enum):
    """The state of a client's session.

    ::

        OPENING → CATCHING_UP → LIVE ⇄ CATCHING_UP
                                LIVE → LAGGING → LIVE
        any → CLOSED
    """

    OPENING = "opening"
    """Registered; the welcome has not been queued."""
    CATCHING_UP = "catching up"
    """Sent its mailbox, a replay or a snapshot, as it asked for."""
    LIVE = "live"
    """Offered each publication as it is delivered."""
    LAGGING = "lagging"
    """Fed from the history, because its outbox overflowed."""
    CLOSED = "closed"


class Subscriber(Protocol):
    """A connected client, as the Hub, its tenants and the catch-up see it.

    Attributes:
        epoch: the epoch of the client's position, which its outbox has.
    """

    connection_id: str
    endpoint: str
    principal: Principal
    subscription: Subscription
    outbox: Outbox
    mailbox_acks: MailboxAcks
    epoch: str
    state: SessionState

    def send(self, frame: ControlFrame) -> None:
        """Queue a message for this client alone."""

    def send_message(self, frames: Sequence[ControlFrame]) -> None:
        """Queue a message for this client alone that may consist of several frames."""

    def close(self, code: CloseCode) -> None:
        """Send what is queued, if possible, then end the session."""

    def abandon(self) -> None:
        """End the session without sending what is queued."""

    def refuse(self, refusal: Refusal, request_id: str | int | None = None) -> None:
        """Send an ``error`` message."""

    def probe(self) -> None:
        """Ping the peer, and close the connection unless it answers; see ``interfaces.Transport``."""

    def apply_change(self, change: SubscriptionChange, request_id: str | int | None) -> None:
        """Change the subscription now, and answer ``subscribed``."""

    def begin_catch_up(self) -> None:
        """Stop accepting live publications: older ones must be sent first."""

    def continue_after_interruption(self, epoch: str) -> None:
        """Determine the position again: the stream does not continue after what this client was sent last."""

    def rights_changed(self) -> None:
        """Have a reset sent: the settings have changed what the client may see."""

    def go_live(self) -> None:
        """Accept live publications: everything before them is queued."""

    def send_figures(self) -> None:
        """Queue the live figures that changed since the client was sent any."""

    def figures_sent(self, version: int) -> None:
        """Note the version of the figures in a snapshot that was queued."""

    def is_flushed(self) -> bool:
        """Write what waits; return whether the client has been sent all that it is to be sent."""

    def unsent_bytes(self) -> int:
        """Return the bytes that were written and that the peer has not received."""

    def count_dropped(self, reason: str, amount: int) -> None:
        """Count publications that the client was informed it will not be sent."""
