"""Event filters of the manager interface: which form a version understands, and what is filtered out."""

from __future__ import annotations

import re
from collections.abc import Container

EVENT_CLASSES = "system,call,agent,dialplan"
"""The classes of events that a bridge asks for at its login; it gets those of them that its user may read."""

NOISE = (
    "Newexten",
    "DeviceStateChange",
    "ExtensionStatus",
    "PresenceStateChange",
    "PresenceStatus",
    "ChannelTalkingStart",
    "ChannelTalkingStop",
    "MusicOnHoldStart",
    "MusicOnHoldStop",
    "NewConnectedLine",
    "Newstate",
    "DialState",
    "SoftHangupRequest",
)
"""Frequent events of these classes. Those of them that the state machine does not want are filtered out."""

_STRUCTURED_SINCE = {18: 26, 20: 11, 21: 6, 22: 1}
"""By branch of Asterisk, the first release with structured filters. Branch 19 never got them."""

_VERSION = re.compile(r"(?:^|[^0-9.])(\d{2})\.(\d+)")


def has_structured_filters(version: str) -> bool:
    """Return whether an Asterisk has filters such as ``eventfilter(name(Hangup))``.

    Args:
        version: as CoreSettings shows it, for example ``22.10.1`` or ``certified/18.9-cert5``.
    """
    found = _VERSION.search(version)
    if found is None:
        return False
    branch, release = int(found[1]), int(found[2])
    return branch > max(_STRUCTURED_SINCE) or release >= _STRUCTURED_SINCE.get(branch, release + 1)


def excluded_names(wanted: Container[str] | None) -> list[str]:
    """Return the frequent events that are not wanted; None: all are wanted."""
    return [] if wanted is None else [name for name in NOISE if name not in wanted]
