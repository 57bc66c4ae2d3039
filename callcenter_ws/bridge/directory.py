"""The users of an exchange's devices: by a table, by a pattern, or by signing in at a device."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from callcenter_ws.bridge.patterns import MAX_MATCHED_LENGTH, compile_pattern
from callcenter_ws.bridge.settings import AgentEntry

_MAX_CACHED = 20_000
"""Devices whose user is cached. When it is full, it is emptied: only time is lost."""

_DIALED = re.compile(r"\+?[0-9*#]{1,32}", re.ASCII)
"""What can be dialed: only that is told as the extension of a device that a pattern matches."""

_MAX_NAMES = 20_000
"""Users whose names were learned from queue members. Further ones go by their ids."""


@dataclass(frozen=True, slots=True)
class User:
    """The user of a device.

    Attributes:
        username: the name for people that the settings give; empty: none.
        extension: empty: none.
    """

    user_id: str
    username: str = ""
    extension: str = ""


class DeviceNames(Protocol):
    """How a kind of exchange names devices."""

    def extension(self, device: str) -> str:
        """Return the extension that a device of the dialplan stands for; empty if it is another device."""

    def is_of_dialplan(self, device: str) -> bool:
        """Return whether a device is an extension of the dialplan, behind which a phone is."""

    def variants(self, device: str) -> tuple[str, ...]:
        """Return the names under which the settings may have a device, the most exact first."""


class Directory:
    """Finds the user of a device. A device that has none is a queue member at most, and no user.

    Args:
        agents: devices and their users; they precede the pattern.
        pattern: a pattern of devices with the group ``user_id``; empty: none.
        names: how the exchange names devices.
        device: the device of an extension, with ``{extension}`` in its place; it tells the extensions of users whom the
            pattern finds. Empty: they have none.

    Attributes:
        names: as given.
        version: changes whenever devices may have got other users.

    Raises:
        ValueError: the pattern cannot be used.
    """

    def __init__(self, agents: Mapping[str, AgentEntry], pattern: str, names: DeviceNames, device: str = "") -> None:
        self.version = 0
        self.names = names
        self._bound: dict[str, User] = {}
        self._names: dict[str, str] = {}
        self._users: dict[str, User | None] = {}
        self._load(agents, pattern, device)

    def reload(self, agents: Mapping[str, AgentEntry], pattern: str, device: str = "") -> None:
        """Replace the table, the pattern and the device of an extension. Users who signed in at a device stay.

        Raises:
            ValueError: the pattern cannot be used. Nothing has changed.
        """
        self._load(agents, pattern, device)

    def user_of(self, device: str) -> User | None:
        """Return the user of a device or of a queue member's interface; None if it has none."""
        try:
            return self._users[device]
        except KeyError:
            if len(self._users) >= _MAX_CACHED:
                self._users.clear()
            user = self._users[device] = self._find(device)
            return user

    def user_of_member(self, interface: str, state_interface: str) -> User | None:
        """Return the user of a queue member: of the device that gives its state, else of its interface."""
        return (self.user_of(state_interface) if state_interface else None) or self.user_of(interface)

    def bind(self, device: str, user: User | None) -> None:
        """Give a device the user who signs in there, before table and pattern; None: back to these.

        Members that are known keep their users until ``Members.remap``.
        """
        if user is None:
            self._bound.pop(device, None)
        else:
            self._bound[device] = user
        self._users.clear()
        self.version += 1

    def devices_of(self, user_id: str) -> Iterator[str]:
        """Yield the devices of a user that are known by name: where it signed in, then those of the table."""
        for known in (self._bound, self._table):
            yield from [device for device, user in known.items() if user.user_id == user_id]

    def user(self, user_id: str) -> User:
        """Return a user by its id, with what the table and its sign-in tell of it."""
        for known in (self._table, self._bound):
            for user in known.values():
                if user.user_id == user_id:
                    return user
        return User(user_id)

    def learn_name(self, user_id: str, name: str) -> None:
        """Remember the first name of a queue member of the user, for users whose name the table does not have."""
        if name and user_id not in self._names and len(self._names) < _MAX_NAMES:
            self._names[user_id] = name

    def name_of(self, user: User, caller_name: str = "") -> str:
        """Return the name of a user for people: of the table, of its queue member, of its channel, else its id."""
        return user.username or self._names.get(user.user_id) or caller_name or user.user_id

    def _load(self, agents: Mapping[str, AgentEntry], pattern: str, device: str) -> None:
        compiled = compile_pattern(pattern, group="user_id") if pattern else None
        self._pattern = compiled
        self._device = device.partition("{extension}") if device else None
        self._table = {device: User(entry.user_id, entry.username, entry.extension) for device, entry in agents.items()}
        self._by_extension = _unique_extensions(self._table)
        self._users.clear()
        self.version += 1

    def _find(self, device: str) -> User | None:
        names = self.names.variants(device)
        for known in (self._bound, self._table):
            for name in names:
                if name in known:
                    return known[name]
        extension = self.names.extension(device)
        if extension and extension in self._by_extension:
            return self._by_extension[extension]
        for name in names:
            user_id = self._match(name)
            if user_id:
                return User(user_id, extension=self._extension_in(name, extension))
        return None

    def _extension_in(self, device: str, dialed: str) -> str:
        """Return the extension of a device that the pattern matches: the one that is dialed, or that its name holds."""
        if self._device is None:
            return ""
        before, _, after = self._device
        inner = dialed or device[len(before) : len(device) - len(after)]
        is_known = bool(dialed) or device == f"{before}{inner}{after}"
        return inner if is_known and _DIALED.fullmatch(inner) else ""

    def _match(self, name: str) -> str:
        if self._pattern is None or len(name) > MAX_MATCHED_LENGTH:
            return ""
        match = self._pattern.fullmatch(name)
        return (match["user_id"] or "") if match is not None else ""


def _unique_extensions(table: Mapping[str, User]) -> dict[str, User]:
    """Return the users by extension, without extensions that two users have."""
    found: dict[str, User] = {}
    repeated: set[str] = set()
    for user in table.values():
        if user.extension and found.setdefault(user.extension, user).user_id != user.user_id:
            repeated.add(user.extension)
    return {extension: user for extension, user in found.items() if extension not in repeated}
