"""Who is behind a channel: a user, a device without a user, or a line to the outside."""

from __future__ import annotations

import re
from collections.abc import Sequence

from callcenter_ws.bridge.asterisk.channels import Channel
from callcenter_ws.bridge.call import Party
from callcenter_ws.bridge.directory import Directory
from callcenter_ws.bridge.members import Members
from callcenter_ws.bridge.patterns import compile_pattern, matches_whole
from callcenter_ws.bridge.settings import Directions

_MAX_CONTEXTS = 5_000
"""Contexts whose kind is remembered. When it is full, it is emptied: only time is lost."""

_NOBODY = "unknown"
"""Stands for a queue member that an event does not name, because an event of a call requires one."""


class Parties:
    """Tells the agents and the directions of channels.

    Raises:
        ValueError: a pattern cannot be used.
    """

    def __init__(self, directory: Directory, members: Members, directions: Directions) -> None:
        self.directory = directory
        self._members = members
        self._kinds: dict[str, str] = {}
        self.reload(directions)

    def reload(self, directions: Directions) -> None:
        """Use other patterns.

        Raises:
            ValueError: a pattern cannot be used. Nothing has changed.
        """
        inbound = [compile_pattern(text) for text in directions.inbound]
        internal = [compile_pattern(text) for text in directions.internal]
        self._inbound, self._internal = inbound, internal
        self._kinds.clear()

    def kind_of(self, context: str) -> str:
        """Return ``inbound``, ``internal`` or nothing for a context."""
        kind = self._kinds.get(context)
        if kind is None:
            if len(self._kinds) >= _MAX_CONTEXTS:
                self._kinds.clear()
            kind = self._kinds[context] = self._match(context)
        return kind

    def _match(self, context: str) -> str:
        if _any(self._inbound, context):
            return "inbound"
        return "internal" if _any(self._internal, context) else ""

    def is_inside(self, channel: Channel) -> bool:
        """Return whether a channel is a phone of the house; not if it is a line to the outside or a Local channel."""
        if channel.is_local or self.kind_of(channel.context) == "inbound":
            return False
        return self.directory.user_of(channel.device) is not None or self.kind_of(channel.context) == "internal"

    def of_channel(self, channel: Channel, name: str = "") -> Party:
        """Return who is behind a channel.

        Args:
            name: the name that the exchange tells, used if the user has none.
        """
        user = self.directory.user_of(channel.device)
        if user is None:
            # Every channel of a real exchange has a device.
            return Party(channel.device or channel.uniqueid, name or channel.caller_name)
        return Party(user.user_id, self.directory.name_of(user, name or channel.caller_name), is_user=True)

    def number_of(self, channel: Channel) -> str:
        """Return the extension of a phone, as far as it is known."""
        user = self.directory.user_of(channel.device)
        if user is None:
            return channel.device.partition("/")[2]
        return user.extension or user.user_id

    def is_on_line(self, queue: str, interface: str) -> bool:
        """Return whether a queue member is an agent of an agent pool, who stays on the line, so that nothing rings."""
        member = self._members.get(queue, interface)
        return member is not None and member.device.name.startswith("Agent:")

    def of_member(self, queue: str, interface: str, name: str) -> Party:
        """Return who is behind a queue member: the user of the device that gives its state, else of its interface."""
        member = self._members.get(queue, interface)
        user = member.user if member is not None else None
        user = user or self.directory.user_of(interface)
        if user is None:
            return Party(interface or name or _NOBODY, name)
        return Party(user.user_id, self.directory.name_of(user, name), is_user=True)


def _any(patterns: Sequence[re.Pattern[str]], text: str) -> bool:
    return any(matches_whole(pattern, text) for pattern in patterns)
