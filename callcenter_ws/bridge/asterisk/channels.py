"""The channels of one Asterisk: who dialed whom, which halves of Local channels belong together, and their calls."""

from __future__ import annotations

from collections.abc import Iterator

from callcenter_ws.bridge.asterisk.devices import device_of_channel

MAX_CHANNELS = 60_000
"""Channels at one time. What further ones do is not seen, and counted."""

LISTENER_PREFIX = "ccws-listen-"
"""Begins the Uniqueid that a bridge gives the channel of a supervisor who listens: it is no part of a call."""

MAX_UNIQUEID = 150
"""Characters of a Uniqueid, which Asterisk limits to 149. A longer one is none."""

_MAX_DIALED = 200
"""Channels that one channel is remembered to have dialed; the oldest give way."""

_MAX_DEPTH = 12
"""Local channels behind one another that are followed."""


class Channel:
    """One channel.

    Attributes:
        uniqueid: its identification, which never changes; its name may.
        call_id: the call that it belongs to, which changes only with attended transfers and the like; empty: none.
        other: the Uniqueid of the other half, of a Local channel.
        dialer: the Uniqueid of the channel that dialed it; empty: the exchange itself.
        dialed: the Uniqueids of the channels that it dialed.
        top: the Uniqueid of the channel that began this dial, through whatever Local channels; empty: none.
        phones: the Uniqueids of phones that rang behind it, of a dialed half of a Local channel.
        is_dialed: whether a dial to it was seen.
        has_answered: whether it answered such a dial.
        requested: when its far end hung up; None: it did not.
        is_soft_requested: whether something on the exchange asked it to hang up.
        has_abandoned: whether its queue told that the caller left without an answer.
    """

    __slots__ = (
        "account_code",
        "call_id",
        "caller_name",
        "context",
        "device",
        "dialed",
        "dialer",
        "has_abandoned",
        "has_answered",
        "is_dialed",
        "is_local",
        "is_soft_requested",
        "name",
        "other",
        "phones",
        "requested",
        "top",
        "uniqueid",
    )

    def __init__(self, uniqueid: str, name: str) -> None:
        self.uniqueid = uniqueid
        self.call_id = ""
        self.device = ""
        self.context = ""
        self.account_code = ""
        self.caller_name = ""
        self.other = ""
        self.dialer = ""
        self.dialed: list[str] = []
        self.phones: list[str] = []
        self.top = ""
        self.is_dialed = False
        self.has_answered = False
        self.requested: float | None = None
        self.is_soft_requested = False
        self.has_abandoned = False
        self.rename(name)

    def rename(self, name: str) -> None:
        """Give it another name, and so another device."""
        self.name = name
        device = device_of_channel(name)
        if device != self.device:
            self.device, self.caller_name = device, ""
        self.is_local = name.startswith("Local/")


class ChannelTable:
    """The channels that exist.

    Attributes:
        dropped: channels that were not remembered because there were too many.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._channels: dict[str, Channel] = {}
        self._halves: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._channels)

    def __iter__(self) -> Iterator[Channel]:
        return iter(self._channels.values())

    def get(self, uniqueid: str) -> Channel | None:
        """Return a channel; None if it is not known."""
        return self._channels.get(uniqueid)

    def add(self, uniqueid: str, name: str) -> Channel | None:
        """Add a channel, or return it if it is known; None if there are too many."""
        known = self._channels.get(uniqueid)
        if known is not None:
            return known
        if len(self._channels) >= MAX_CHANNELS or not 0 < len(uniqueid) <= MAX_UNIQUEID:
            self.dropped += 1
            return None
        channel = self._channels[uniqueid] = Channel(uniqueid, name)
        if channel.is_local:
            self._join_halves(channel)
        return channel

    def remove(self, uniqueid: str) -> Channel | None:
        """Remove a channel and return it; None if it is not known."""
        channel = self._channels.pop(uniqueid, None)
        if channel is not None and channel.is_local:
            self._halves.pop(channel.name, None)
        return channel

    def clear(self) -> None:
        """Forget all channels."""
        self._channels.clear()
        self._halves.clear()

    def dial(self, dialer: Channel | None, dialed: Channel) -> None:
        """Note that one channel dials another; None: the exchange itself does."""
        dialed.is_dialed = True
        if dialer is not None:
            dialed.dialer = dialer.uniqueid
            first = self._channels.get(dialer.other) if dialer.is_local else None
            dialed.top = first.top if first is not None and first.top else dialer.uniqueid
            dialer.dialed.append(dialed.uniqueid)
            del dialer.dialed[:-_MAX_DIALED]

    def member_leg(self, channel: Channel) -> Channel:
        """Return the channel that was dialed for this one by what is no Local channel: itself, or a Local half."""
        for _ in range(_MAX_DEPTH):
            first = self._dialed_half(channel)
            if first is None:
                return channel
            channel = first
        return channel

    def rang_behind(self, first: Channel, phone: Channel) -> None:
        """Note that a phone rang behind a dialed half of a Local channel."""
        if phone is not first and phone.uniqueid not in first.phones:
            first.phones.append(phone.uniqueid)
            del first.phones[:-_MAX_DIALED]

    def is_connected(self, channel: Channel) -> bool:
        """Return whether all Local channels through which a channel was dialed have been answered, too."""
        for _ in range(_MAX_DEPTH):
            first = self._dialed_half(channel)
            if first is None:
                return True
            if not first.has_answered:
                return False
            channel = first
        return True

    def phones_behind(self, channel: Channel, *, answered: bool) -> list[Channel]:
        """Return the channels that are no Local channels and that are reached through this one; itself if it is none.

        Args:
            answered: only those which have answered.
        """
        found: list[Channel] = []
        self._collect(channel, found, answered, _MAX_DEPTH)
        return found

    def _collect(self, channel: Channel, found: list[Channel], answered: bool, depth: int) -> None:
        if not channel.is_local:
            if channel.has_answered or not answered:
                found.append(channel)
            return
        other = self._channels.get(channel.other)
        if other is None or depth == 0:
            return
        for uniqueid in other.dialed:
            dialed = self._channels.get(uniqueid)
            if dialed is not None and (dialed.has_answered or not answered):
                self._collect(dialed, found, answered, depth - 1)

    def _dialed_half(self, channel: Channel) -> Channel | None:
        """Return the half of a Local channel that was dialed, if the other half dialed this channel."""
        dialer = self._channels.get(channel.dialer)
        if dialer is None or not dialer.is_local:
            return None
        first = self._channels.get(dialer.other)
        return first if first is not None and first.is_dialed else None

    def _join_halves(self, channel: Channel) -> None:
        name = channel.name
        other_name = f"{name[:-1]}{'2' if name.endswith(';1') else '1'}"
        self._halves[name] = channel.uniqueid
        other = self._channels.get(self._halves.get(other_name, ""))
        if other is not None:
            channel.other, other.other = other.uniqueid, channel.uniqueid
