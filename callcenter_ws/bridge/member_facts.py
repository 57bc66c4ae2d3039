"""A queue member: as the exchange reports it, and as it was published."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from callcenter_ws.bridge.agent_states import DeviceStatus


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """What the exchange says of a queue member.

    Attributes:
        device: what gives the member its status; the interface, if nothing else does.
        status: None: not told.
        needs_login: see ``Member``.
        wraps_up_until: see ``Member``.
    """

    queue: str
    interface: str
    device: str
    name: str = ""
    membership: str = ""
    penalty: int = 0
    paused: bool = False
    reason: str = ""
    status: DeviceStatus | None = None
    needs_login: bool = False
    wraps_up_until: float = 0.0


class MemberRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The published state of a member."""

    queue: str
    interface: str
    device: str
    tenant_id: str
    user_id: str = ""
    name: str = ""
    membership: str = ""
    penalty: int = 0
    paused: bool = False
    reason: str = ""
    needs_login: bool = False
