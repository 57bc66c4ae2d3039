"""Plays captures of the manager interface to the state machine, as if a bridge had been connected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from callcenter_ws.bridge.asterisk.capture import Capture, NotACapture
from callcenter_ws.bridge.asterisk.machine import AsteriskMachine
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.snapshot import AmiSnapshot
from callcenter_ws.bridge.outgoing import Unit
from callcenter_ws.bridge.settings import SourceSettings

_LISTS = {
    "CoreStatus": "",
    "QueueStatus": "QueueStatusComplete",
    "CoreShowChannels": "CoreShowChannelsComplete",
    "BridgeList": "BridgeListComplete",
}
"""The actions by which a bridge learns the state of the exchange, and the last event of each list."""


class Replay:
    """One bridge and one exchange, of which several connections were captured.

    Args:
        records: what an earlier bridge stored with its events.
    """

    def __init__(self, settings: SourceSettings, records: Mapping[str, bytes] | None = None) -> None:
        self.machine = AsteriskMachine(settings, records or {})
        self.is_truncated = False

    def play(self, capture: Capture) -> Iterator[Unit]:
        """Yield what one connection tells, in order; further connections are played with further calls.

        Raises:
            NotACapture: the content is no capture of the manager interface.
        """
        messages = list(_timed(capture))
        self.is_truncated = not capture.content.endswith(b"\n\n") and not capture.content.endswith(b"\n\r\n")
        lists = _Lists(messages)
        waiting: list[tuple[float, AmiMessage]] = []
        for arrived, message in messages:
            if lists.take(message):
                if lists.are_complete:
                    self.machine.synchronize(lists.snapshot(), arrived)
                    yield self.machine.take()
                    for time, earlier in waiting:
                        self.machine.handle(earlier, time)
                        yield self.machine.take()
                    waiting.clear()
            elif lists.are_expected:
                waiting.append((arrived, message))
            elif message.name:
                self.machine.handle(message, arrived)
                yield self.machine.take()


class _Lists:
    """Collects the answers to the actions of a resynchronization."""

    def __init__(self, messages: list[tuple[float, AmiMessage]]) -> None:
        self._actions: dict[str, str] = {}
        self._items: dict[str, list[AmiMessage]] = {}
        self._missing = set(_LISTS)
        self._version = self._boot = ""
        found = {_action_of(message) for _, message in messages if message.response}
        self.are_expected = found >= self._missing

    @property
    def are_complete(self) -> bool:
        return not self._missing and self.are_expected

    def take(self, message: AmiMessage) -> bool:
        """Return whether a message is an answer."""
        action_id = message.get("ActionID")
        if message.response:
            self._version = message.get("AsteriskVersion") or self._version
            action = _action_of(message)
            self._actions[action_id] = action
            if action == "CoreStatus":
                self._boot = f"{message.get('CoreStartupDate')} {message.get('CoreStartupTime')}"
                self._missing.discard(action)
            return True
        action = self._actions.get(action_id, "") if action_id else ""
        if not action or message.name == "UserEvent":
            return False
        if message.name == _LISTS.get(action):
            self._missing.discard(action)
        else:
            self._items.setdefault(message.name, []).append(message)
        return True

    def snapshot(self) -> AmiSnapshot:
        self.are_expected = False
        names = ("CoreShowChannel", "BridgeListItem", "QueueParams", "QueueMember", "QueueEntry")
        channels, bridges, queues, members, entries = (self._items.get(name, ()) for name in names)
        return AmiSnapshot(self._boot, self._version, channels, bridges, queues, members, entries)


def _action_of(message: AmiMessage) -> str:
    """Return the action that a response answers, as far as its own text shows it."""
    if message.get("CoreStartupTime"):
        return "CoreStatus"
    texts = {
        "Queue status will follow": "QueueStatus",
        "Channels will follow": "CoreShowChannels",
        "Bridge listing will follow": "BridgeList",
    }
    return texts.get(message.get("Message"), "other")


def _timed(capture: Capture) -> Iterator[tuple[float, AmiMessage]]:
    if not capture.content.startswith(b"Asterisk Call Manager/"):
        raise NotACapture("it does not begin with the banner of the manager interface")
    rest = b""
    last = 0.0
    for time, chunk in capture.chunks():
        *texts, rest = (rest + chunk).replace(b"\r\n", b"\n").split(b"\n\n")
        for text in texts:
            message = _parse(text)
            if message is None:
                continue
            if time is not None:
                last = time
            elif message.get("Uniqueid"):
                last = max(last, float(message.get("Uniqueid").rpartition("-")[2].partition(".")[0]))
            yield last, message


def _parse(text: bytes) -> AmiMessage | None:
    headers: dict[str, str] = {}
    repeated: dict[str, list[str]] = {}
    for line in text.decode(errors="replace").split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            value = value.strip()
            value = "" if value == "<unknown>" else value
            if name in headers:
                repeated.setdefault(name, [headers[name]]).append(value)
            else:
                headers[name] = value
    if not headers:
        return None
    return AmiMessage(headers, repeated, headers.get("Event", ""), "" if "Event" in headers else headers["Response"])
