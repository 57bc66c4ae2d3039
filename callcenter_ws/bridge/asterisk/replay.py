"""Plays captures of the manager interface to the state machine, as if a bridge had been connected."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace

from callcenter_ws.bridge.asterisk.capture import Capture, NotACapture
from callcenter_ws.bridge.asterisk.capture_clock import EndlessMessage, timed_messages
from callcenter_ws.bridge.asterisk.capture_lists import find_rounds
from callcenter_ws.bridge.asterisk.framing import Framing
from callcenter_ws.bridge.asterisk.lists import ListCollector, ListsFailedError
from callcenter_ws.bridge.asterisk.machine import AsteriskMachine
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.outgoing import Unit
from callcenter_ws.bridge.settings import SourceSettings

_MOMENT_SECONDS = 2.0
"""How long a bridge would have stayed connected after the last event of a capture."""


class Replay:
    """One bridge and one exchange, of which several connections were captured.

    Args:
        records: what an earlier bridge stored with its events.

    Attributes:
        notes: what is to be said of the last capture, as that it ends in mid-message.
    """

    def __init__(self, settings: SourceSettings, records: Mapping[str, bytes] | None = None) -> None:
        self.machine = AsteriskMachine(settings, records or {})
        self.notes: Sequence[str] = ()
        self._is_synchronized = False
        self._last = 0.0

    def play(self, capture: Capture) -> Iterator[Unit]:
        """Yield what one connection tells, in order; further connections are played with further calls.

        Where the client asked for the lists of the exchange, the events that come meanwhile wait for them, as in a live
        session. A capture without lists is played as it is.

        Raises:
            NotACapture: the content is no capture of the manager interface.
        """
        notes: list[str] = []
        self.notes = notes
        self._is_synchronized = False
        asked = find_rounds((message for _, message in _messages(capture, [])), capture.sent)
        rounds = deque(asked.rounds)
        lists = ListCollector(rounds.popleft()) if rounds else None
        version = ""
        waiting: list[tuple[AmiMessage, float]] = []
        for arrived, message in _messages(capture, notes):
            self._last = arrived
            version = message.get("AsteriskVersion") or version if message.response else version
            if lists is None and rounds and message.response and message.get("ActionID") in rounds[0]:
                lists = ListCollector(rounds.popleft())
            if lists is not None and _take(lists, message, arrived):
                if lists.is_complete:
                    lists.version = version
                    yield from self._synchronize(lists, waiting, arrived)
                    lists = None
            elif message.response or _is_answer(message, asked.ids):
                continue
            elif lists is not None:
                waiting.append((message, arrived))
            else:
                self.machine.handle(message, arrived)
                yield self.machine.take()

    def finish(self) -> Iterator[Unit]:
        """Yield what is due a moment after the last event; the bridge stays, but nothing comes any more."""
        self.machine.pass_time(self._last + _MOMENT_SECONDS)
        self.machine.finish_comparison()
        yield self.machine.take()

    def _synchronize(
        self, lists: ListCollector, waiting: list[tuple[AmiMessage, float]], arrived: float
    ) -> Iterator[Unit]:
        snapshot = replace(lists.snapshot(), meanwhile=tuple(waiting), is_audit=self._is_synchronized)
        self._is_synchronized = True
        self.machine.synchronize(snapshot, arrived)
        yield self.machine.take()
        for message, time in waiting:
            self.machine.handle(message, time)
            yield self.machine.take()
        waiting.clear()


def _take(lists: ListCollector, message: AmiMessage, arrived: float) -> bool:
    try:
        return lists.take(message, arrived)
    except ListsFailedError as error:
        raise NotACapture(str(error)) from None


def _is_answer(message: AmiMessage, ids: Container[str]) -> bool:
    """Return whether an event is an item of a list; the events of other clients may carry any ActionID."""
    return message.name != "UserEvent" and "ActionID" in message.headers and message.headers["ActionID"] in ids


def _messages(capture: Capture, notes: list[str]) -> Iterator[tuple[float, AmiMessage]]:
    """Yield the messages of a capture, with what is to be said of it."""
    framing = Framing()
    has_events = False
    refusal = ""
    try:
        for arrived, message in timed_messages(capture, framing):
            has_events = has_events or bool(message.name)
            if message.response == "Error" and not has_events:
                refusal = message.get("Message")
            yield arrived, message
    except EndlessMessage:
        notes.append("a message has no end; what follows it is not read")
    if not framing.banner and not framing.messages:
        raise NotACapture("it holds no message")
    if refusal and not has_events:
        notes.append(f"the exchange refused the login: {refusal}")
    elif not capture.content.endswith((b"\n\n", b"\n\r\n")):
        notes.append("it ends in the middle of a message, which is not read")
