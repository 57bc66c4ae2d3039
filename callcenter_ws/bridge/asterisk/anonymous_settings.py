"""The settings with which an anonymized capture is played: those of the source, with the names of the capture."""

from __future__ import annotations

import json
from collections.abc import Iterator

from callcenter_ws.bridge.asterisk.anonymize import Anonymizer
from callcenter_ws.bridge.asterisk.devices import AsteriskDevices, device_of_channel
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.snapshot import AmiSnapshot
from callcenter_ws.bridge.directory import Directory
from callcenter_ws.bridge.patterns import compile_pattern, matches_whole
from callcenter_ws.bridge.settings import SourceSettings

MAX_SEEN = 50_000
"""Devices and contexts that are written to the settings, each."""

_CHANNELS = ("Channel", "DestChannel")
_DEVICES = ("Interface", "Location", "StateInterface")
_CONTEXTS = ("Context", "DestContext")


class SeenNames:
    """Collects the devices and the contexts in a session, in place of a state machine."""

    def __init__(self, settings: SourceSettings) -> None:
        self._settings = settings
        self._directory = Directory(settings.agents, settings.agent_pattern, AsteriskDevices())
        self._devices: dict[str, None] = {}
        self._contexts: dict[str, None] = {}

    def handle(self, message: AmiMessage, arrived: float) -> None:
        """Take the names in an event."""
        headers = message.headers
        for header in _CHANNELS:
            if header in headers and len(self._devices) < MAX_SEEN:
                self._devices[device_of_channel(headers[header])] = None
        for header in _DEVICES:
            if headers.get(header) and len(self._devices) < MAX_SEEN:
                self._devices[headers[header]] = None
        for header in _CONTEXTS:
            if headers.get(header) and len(self._contexts) < MAX_SEEN:
                self._contexts[headers[header]] = None

    is_comparing = False

    def compare_next(self) -> None:
        """Compare nothing."""

    def synchronizing(self, snapshot: AmiSnapshot, arrived: float) -> Iterator[None]:
        """Take the names in the lists, in steps."""
        for messages in (snapshot.channels, snapshot.members):
            yield
            for message in messages:
                self.handle(message, arrived)

    def lines(self, anonymizer: Anonymizer) -> Iterator[str]:
        """Yield the lines of a TOML file with the settings of the source, in the names of the capture."""
        yield "# The settings of an anonymized capture: callcenter-ws bridge replay --config THIS.toml CAPTURE.txt"
        yield "[gateway]"
        yield 'endpoint = "unix:path=amp.sock"'
        yield ""
        yield "[[sources]]"
        yield 'name = "exchange"'
        yield 'kind = "asterisk"'
        yield 'tenant = "tenant"'
        yield ""
        yield "[sources.directions]"
        for kind in ("inbound", "internal"):
            patterns = [compile_pattern(text) for text in getattr(self._settings.directions, kind)]
            names = [name for name in self._contexts if any(matches_whole(pattern, name) for pattern in patterns)]
            yield f"{kind} = {json.dumps([anonymizer.word(name) for name in names])}"
        yield ""
        yield "[sources.agents]"
        for device in self._devices:
            user = self._directory.user_of(device)
            if user is not None:
                fields = {"user_id": user.user_id, "username": user.username, "extension": user.extension}
                inner = ", ".join(
                    f"{name} = {json.dumps(anonymizer.word(value))}" for name, value in fields.items() if value
                )
                yield f"{json.dumps(anonymizer.device(device))} = {{ {inner} }}"
