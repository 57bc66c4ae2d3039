"""The recordings that commands have begun."""

from __future__ import annotations

from dataclasses import dataclass

from callcenter_ws.bridge.asterisk.message import AmiMessage

_MAX_RECORDINGS = 20_000
"""Recordings at one time. Further ones are made, but cannot be paused by themselves."""


@dataclass(slots=True)
class Recording:
    """One recording.

    Attributes:
        monitor_id: by which the exchange knows it; empty: it has not told it.
        file: the name of its file, without the folder.
    """

    uniqueid: str
    channel: str
    file: str
    monitor_id: str = ""
    is_paused: bool = False


class Recordings:
    """Knows which calls are being recorded by commands. It begins empty: earlier recordings go on, unknown."""

    def __init__(self) -> None:
        self._by_channel: dict[str, Recording] = {}

    def get(self, uniqueid: str) -> Recording | None:
        """Return the recording of a channel; None if there is none."""
        return self._by_channel.get(uniqueid)

    def add(self, recording: Recording) -> None:
        """Note a recording that has begun."""
        if len(self._by_channel) < _MAX_RECORDINGS:
            self._by_channel[recording.uniqueid] = recording

    def remove(self, uniqueid: str) -> None:
        """Note that a recording has ended."""
        self._by_channel.pop(uniqueid, None)

    def observe(self, message: AmiMessage) -> None:
        """Forget the recordings of channels that end."""
        if message.name == "Hangup" and self._by_channel:
            self.remove(message.get("Uniqueid"))
