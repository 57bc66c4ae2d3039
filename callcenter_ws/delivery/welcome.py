"""How a connection begins: what the client asked for, and the first message that it gets."""

from __future__ import annotations

from typing import Any, NamedTuple

from callcenter_ws.events.frames import ControlFrame, control_frame
from callcenter_ws.events.principal import Principal
from callcenter_ws.interfaces import Position
from callcenter_ws.runtime.json import rfc3339


class ConnectOptions(NamedTuple):
    """What a client asked for as it connected, in the query of its URL.

    Attributes:
        ack: it acknowledges what comes out of its user's mailbox.
    """

    epoch: str | None = None
    seq: int | None = None
    snapshot: bool = False
    ack: bool = False


DEFAULT_OPTIONS = ConnectOptions()


def welcome(
    who: Principal,
    connection_id: str,
    head: Position,
    *,
    now: float,
    ping_interval: float,
    session_token: str | None,
) -> ControlFrame:
    """Return the ``welcome`` of a connection (PROTOCOL section 2).

    Args:
        head: where the tenant's stream stands.
        now: Unix time in seconds.
        session_token: for an anonymous visitor, to come back with.
    """
    payload: dict[str, Any] = {
        "connection_id": connection_id,
        "user_id": who.user_id,
        "tenant_id": who.tenant_id,
        "role": who.role,
        "epoch": head.epoch,
        "seq": head.seq,
        "server_time": rfc3339(now),
        "ping_interval": ping_interval,
        "token_expires_at": None if who.expires_at is None else rfc3339(who.expires_at),
    }
    if who.session_id is not None:
        payload["session_id"] = who.session_id
    if session_token is not None:
        payload["session_token"] = session_token
    return control_frame("welcome", payload, tenant_id=who.tenant_id)
