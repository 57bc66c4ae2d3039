"""The state of an agent, merged from its calls, its devices and its memberships of queues."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from callcenter_ws.bridge.activities import Activity
from callcenter_ws.bridge.directory import User

DeviceStatus = Literal["unknown", "idle", "in_use", "ringing", "unreachable"]
"""The status of a device, as exchanges know it."""


class Device:
    """A device, or an agent of the exchange, that gives queue members their status.

    Attributes:
        is_of_dialplan: it is an extension, behind which a phone is.
        status: as the exchange last told it.
        is_explained: its status is that of a call that is over for the user; the exchange tells the end of a call
            shortly before the new status of the device, which would show the user as busy in between.
        members: the queue members of this device.
    """

    __slots__ = ("is_explained", "is_of_dialplan", "members", "name", "status")

    def __init__(self, name: str, *, is_of_dialplan: bool = False) -> None:
        self.name = name
        self.is_of_dialplan = is_of_dialplan
        self.status: DeviceStatus = "unknown"
        self.is_explained = False
        self.members: set[Member] = set()

    @property
    def is_engaged(self) -> bool:
        """Whether it is in use, or rings, in no call that is known to be over."""
        return self.status in ("in_use", "ringing") and not self.is_explained


class Member:
    """A member of a queue.

    Attributes:
        device: gives the member its status.
        needs_login: it is an agent of the exchange, who logs in by a call; its device is unreachable else.
        pause_number: grows with each pause; the reason of the latest one counts.
        wraps_up_until: when its time for work after a call ends, in Unix seconds; 0: it is not in it.
        owner: the user of its device, as its events name it; None: the device has none.
        user: who serves it: the owner, else the user who is logged in as its agent of the exchange.
        tenant: the tenant of the membership's events; empty: it has none, and there are no events.
        agent_tenant: the tenant of the user's own events that come of this membership.
    """

    __slots__ = (
        "agent_tenant",
        "device",
        "interface",
        "membership",
        "name",
        "needs_login",
        "owner",
        "pause_number",
        "paused",
        "penalty",
        "queue",
        "reason",
        "tenant",
        "user",
        "wraps_up_until",
    )

    def __init__(self, queue: str, interface: str, device: Device) -> None:
        self.queue = queue
        self.interface = interface
        self.device = device
        self.name = self.reason = self.membership = self.tenant = self.agent_tenant = ""
        self.penalty = self.pause_number = 0
        self.paused = self.needs_login = False
        self.wraps_up_until = 0.0
        self.owner: User | None = None
        self.user: User | None = None

    @property
    def is_logged_in(self) -> bool:
        """Whether the membership makes its user logged in."""
        return not self.needs_login or self.device.status not in ("unknown", "unreachable")


def merged_state(
    activities: Collection[Activity], members: Collection[Member], devices: Collection[Device], time: float
) -> tuple[str, str]:
    """Return the state of an agent and its reason.

    A user is only shown in a call that the calls themselves tell of; a device that is in use without is ``busy``.

    Args:
        members: the memberships that count.
        devices: the devices that count.
        time: in Unix seconds.
    """
    for activity in ("talking", "hold", "ringing"):
        if activity in activities:
            return activity, ""
    engaged = {device.status for device in devices if device.is_engaged}
    if "in_use" in engaged:
        return "busy", ""
    if "ringing" in engaged:
        # A phone that the exchange calls first, to dial for its user, rings too.
        return "ringing", ""
    if activities:
        return "busy", ""
    # A device of the dialplan can be called as long as its extension exists, even if the phone behind it is gone.
    phones = [device for device in devices if not device.is_of_dialplan] or devices
    known = {device.status for device in phones} - {"unknown"}
    if known == {"unreachable"}:
        return "offline", ""
    if members and all(member.paused for member in members):
        return "break", max(members, key=lambda member: member.pause_number).reason
    if any(member.wraps_up_until > time for member in members):
        return "wrap_up", ""
    return "available", ""
