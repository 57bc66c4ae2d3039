"""The recordings that commands have begun. They are stored, so that a bridge that starts again can stop them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.outgoing import Outgoing
from callcenter_ws.runtime.json import encode_json

MAX_RECORDINGS = 20_000
"""Recordings at one time. Further ones cannot be begun."""

_PREFIX = "recording/"


class Recording(msgspec.Struct, frozen=True, omit_defaults=True):
    """One recording.

    Attributes:
        uniqueid, channel: of the channel that is recorded.
        file: the name of its file, without the folder.
        monitor_id: by which the exchange knows it.
    """

    uniqueid: str
    channel: str
    file: str
    monitor_id: str = ""
    is_paused: bool = False


class Recordings:
    """Which channels are being recorded by commands."""

    def __init__(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing
        self._by_channel: dict[str, Recording] = {}

    def restore(self, records: Mapping[str, bytes]) -> None:
        """Take over what an earlier process stored."""
        for recording in self._outgoing.restored(records, _PREFIX, Recording):
            self._by_channel[recording.uniqueid] = recording

    def get(self, uniqueid: str) -> Recording | None:
        """Return the recording of a channel; None if there is none."""
        return self._by_channel.get(uniqueid)

    @property
    def is_full(self) -> bool:
        """Whether no further recording can be begun."""
        return len(self._by_channel) >= MAX_RECORDINGS

    def set(self, recording: Recording) -> None:
        """Note a recording that has begun, or has changed."""
        self._by_channel[recording.uniqueid] = recording
        self._outgoing.record(_PREFIX + recording.uniqueid, encode_json(recording))

    def remove(self, uniqueid: str) -> None:
        """Note that a recording has ended."""
        if self._by_channel.pop(uniqueid, None) is not None:
            self._outgoing.record(_PREFIX + uniqueid, None)

    def keep(self, channels: Collection[str]) -> None:
        """Forget the recordings of channels that exist no more."""
        for uniqueid in [uniqueid for uniqueid in self._by_channel if uniqueid not in channels]:
            self.remove(uniqueid)

    def observe(self, message: AmiMessage) -> None:
        """Forget the recording of a channel that ends."""
        if message.name == "Hangup" and self._by_channel:
            self.remove(message.get("Uniqueid"))
