"""Messages of ``callcenter-ws tail --pretty``: a line for people, in place of the JSON object."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

from callcenter_ws.cli.printable import printable
from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.runtime.json import JsonObject, JsonValue

_TYPE_WIDTH = 22
_MAX_VALUE_LENGTH = 60

_RARELY_READ = frozenset(
    {
        *("direction", "started_at", "answered_at", "unique_id", "call_id", "channel", "destination_channel"),
        *("variables", "since_at", "connection_id", "epoch", "server_time", "ping_interval"),
        *("message_id", "client_message_id", "sender_id", "alert_id"),
    }
)
"""Fields that come last, so that a narrow terminal shows the others."""

_RARELY_READ_OF_FIGURES = _RARELY_READ | {
    *("source", "as_of_seq", "generated_at", "day", "time_zone", "queues", "interval", "longest_wait_time"),
    *("service_level_method", "service_level_seconds", "service_level_target", "short_abandon_seconds"),
    *("interacting_calls", "logged_in_agents", "paused_agents", "non_productive_agents", "talking_agents", "agents"),
    *("average_wait_time", "completed_calls", "abandoned_calls", "seconds_in_state"),
}
"""The same in live figures: labels, ages as of the making of the message, details, and what ``today`` has as well."""

_WINDOWS = frozenset({"today", "last_30m", "interval"})

_SHOWN_OF_WINDOW = (
    *("offered", "answered", "abandoned", "flow_out", "service_level", "average_wait_time"),
    *("handled", "missed", "occupancy", "calls_offered", "calls_answered", "queue_entries"),
)
"""The figures of a window for which a line has room; ``handled`` and ``missed`` of agents only."""

_SECRET = frozenset({"session_token"})
"""Fields that are not shown: ``welcome`` gives an anonymous visitor the token of its session."""

_RESET, _DIM, _RED, _GREEN = "\x1b[0m", "\x1b[2m", "\x1b[31m", "\x1b[32m"
_ALERT = "\x1b[1;31m"
_COLOURS = {
    "queue.alert.raised": _ALERT,
    "queue.alert.acknowledged": "\x1b[33m",
    "queue.alert.cleared": _GREEN,
    "queue.stats": _DIM,
    "agent.stats": _DIM,
}
"""Colours of single types; of the others their family has one."""

_FAMILIES = {
    "agent": _GREEN,
    "call": "\x1b[36m",
    "queue": "\x1b[34m",
    "chat": "\x1b[35m",
    "source": "\x1b[33m",
    "alert": _ALERT,
    "notification": "\x1b[1m",
    "error": _RED,
    "gap": _RED,
    "reset": _RED,
    "drain": _RED,
}


@dataclass(frozen=True, slots=True)
class Terminal:
    """What the output can show.

    Attributes:
        width: the characters of a line, to which longer lines are cut; None: lines are not cut.
        has_colours: whether escape sequences for colours are shown as such.
    """

    width: int | None = None
    has_colours: bool = False

    @classmethod
    def of_output(cls, output: TextIO = sys.stdout, environ: Mapping[str, str] = os.environ) -> Terminal:
        """Return what a file can show: a terminal has a width, and colours unless NO_COLOR is set or it is dumb.

        https://no-color.org
        """
        if not output.isatty():
            return cls()
        has_colours = not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"
        return cls(shutil.get_terminal_size().columns, has_colours)


class Pretty:
    """Makes lines for people of messages.

    Args:
        now: returns the Unix time in seconds.
    """

    def __init__(self, terminal: Terminal, now: Callable[[], float]) -> None:
        self._terminal = terminal
        self._now = now

    def lines(self, message: JsonObject, indent: str = "") -> Iterator[str]:
        """Yield the lines of a message: time, type, position and the payload's fields.

        A snapshot has one for each event and each figure in it.
        """
        payload = message.get("payload")
        fields = payload if isinstance(payload, dict) else {}
        parts: list[JsonValue] = []
        if message.get("type") == "snapshot":
            lists = {name: fields[name] for name in ("events", "figures") if isinstance(fields.get(name), list)}
            fields = {**fields, **{name: len(found) for name, found in lists.items()}}
            parts = [part for found in lists.values() for part in found]
        yield self._line(message, fields, indent)
        yield from (line for part in parts if isinstance(part, dict) for line in self.lines(part, "  "))

    def _line(self, message: JsonObject, fields: JsonObject, indent: str) -> str:
        type_ = str(message.get("type", ""))
        position = f"#{message['seq']}" if "seq" in message else ""
        marks = [name for name in ("offline", "redelivered") if message.get(name) is True]
        user = [f"user_id={_value(message['user_id'])}"] if "user_id" in message else []
        head = f"{indent}{self._time(message)} "
        name = f"{type_:{_TYPE_WIDTH}}"
        shown = _shown_figures(fields) if is_figure(message) else _shown(fields)
        rest = " ".join([f" {position:8}", *marks, *user, *shown]).rstrip()
        return self._coloured(printable(head), printable(name), printable(rest), type_)

    def _time(self, message: JsonObject) -> str:
        """Return the time of an event in UTC, with its date if that is not today; of other messages the present."""
        today = datetime.fromtimestamp(self._now(), UTC)
        stamp = message.get("timestamp")
        if not isinstance(stamp, str):
            return f"{today:%H:%M:%S}.{today.microsecond // 1_000:03}"
        return stamp[11:23] if stamp[:10] == f"{today:%Y-%m-%d}" else f"{stamp[:10]} {stamp[11:23]}"

    def _coloured(self, head: str, name: str, rest: str, type_: str) -> str:
        width = self._terminal.width
        if width is not None and len(head) + len(name) + len(rest) > width:
            rest = f"{rest[: max(0, width - len(head) - len(name) - 1)]}…"
        if not self._terminal.has_colours:
            return f"{head}{name}{rest}".rstrip()
        colour = _COLOURS.get(type_) or _FAMILIES.get(type_.partition(".")[0], _DIM)
        return f"{_DIM}{head}{_RESET}{colour}{name}{_RESET}{rest.rstrip()}"


def is_figure(message: JsonObject) -> bool:
    """Return whether a message is a live figure: a message of the stream without a position."""
    declared = CATALOGUE.get(str(message.get("type")))
    return "seq" not in message and declared is not None and declared.figure is not None


def _shown(fields: JsonObject, rarely_read: frozenset[str] = _RARELY_READ) -> Iterator[str]:
    """Yield the fields that have a value, those that are rarely read last."""
    for is_rare in (False, True):
        for name, value in fields.items():
            if value is None or (name in rarely_read) is not is_rare:
                continue
            if name == "call_id" and value == fields.get("unique_id"):
                continue
            yield f"{name}=…" if name in _SECRET else f"{name}={_value(value)}"


def _shown_figures(fields: JsonObject) -> Iterator[str]:
    """Yield the fields of a live figure; of each window the figures that are read most."""
    is_of_queue = "queue_name" in fields
    for shown in _shown(fields, _RARELY_READ_OF_FIGURES):
        name = shown.partition("=")[0]
        window = fields[name]
        if name not in _WINDOWS or not isinstance(window, dict):
            yield shown
            continue
        read = [
            f"{each}={_value(window[each])}"
            for each in ("start", "minutes", *_SHOWN_OF_WINDOW)
            if window.get(each) is not None and not (is_of_queue and each in ("handled", "missed"))
        ]
        yield f"{name}=[{' '.join(read)}]"


def _value(value: JsonValue) -> str:
    if isinstance(value, str) and value and not any(character in value for character in ' "='):
        text = value
    else:
        text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_VALUE_LENGTH else text[: _MAX_VALUE_LENGTH - 1] + "…"
