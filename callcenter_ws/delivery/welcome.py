"""The beginning of a connection: what the client asked for in its URL, and the ``welcome`` message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from callcenter_ws.delivery.subscription import Subscription
from callcenter_ws.events.frames import ControlFrame, control_frame
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.interfaces import Position
from callcenter_ws.runtime.json import JsonObject, rfc3339


class ConnectOptions(NamedTuple):
    """What a client asked for in the query of its URL.

    Attributes:
        epoch: with ``seq``: the position after which to resume.
        snapshot: whether to send a snapshot.
        ack: whether the client acknowledges mailbox items itself.
        events: the event types to subscribe to; None: the client did not name any.
        queues: the queues to subscribe to; None: the client did not name any.
    """

    epoch: str | None = None
    seq: int | None = None
    snapshot: bool = False
    ack: bool = False
    events: Sequence[str] | None = None
    queues: Sequence[str] | None = None

    def subscription(self, role: Role) -> Subscription:
        """Return the subscription with which a client of that role begins.

        Raises:
            Refusal: ``invalid_message``, ``unknown_event`` or ``forbidden``.
        """
        if self.events is None and self.queues is None:
            return Subscription(role)
        return Subscription.named(role, self.events, self.queues)


DEFAULT_OPTIONS = ConnectOptions()


def welcome(
    principal: Principal,
    connection_id: str,
    head: Position,
    *,
    now: float,
    ping_interval: float,
    session_token: str | None,
    policy: JsonObject | None,
    commands: JsonObject | None = None,
) -> ControlFrame:
    """Return the ``welcome`` message of a connection (``docs/protocol.rst``, "Messages from the gateway").

    Args:
        head: the head of the tenant's stream.
        now: Unix time in seconds.
        session_token: with which an anonymous visitor may reconnect.
        policy: which calls and chats an agent sees; None for other roles.
        commands: the commands that the client may issue, and what they may name; None: there are none.
    """
    payload: dict[str, object] = {
        "connection_id": connection_id,
        "user_id": principal.user_id,
        "tenant_id": principal.tenant_id,
        "role": principal.role,
        "extension": principal.extension,
        "epoch": head.epoch,
        "seq": head.seq,
        "server_time": rfc3339(now),
        "ping_interval": ping_interval,
        "token_expires_at": None if principal.expires_at is None else rfc3339(principal.expires_at),
    }
    if principal.session_id is not None:
        payload["session_id"] = principal.session_id
    if session_token is not None:
        payload["session_token"] = session_token
    if policy is not None:
        payload["policy"] = policy
    if commands is not None:
        payload["commands"] = commands
    return control_frame("welcome", payload, tenant_id=principal.tenant_id)
