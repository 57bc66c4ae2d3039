"""Log events as text and fields: bounded, without control characters, and without what an exception may hold."""

from __future__ import annotations

import math
import traceback
from enum import Enum

from twisted.logger import LogEvent, LogLevel, eventAsText
from twisted.python.failure import Failure
from twisted.python.reflect import qual

from callcenter_ws.errors import Refusal

MAX_MESSAGE_LENGTH = 8_000
MAX_TRACEBACK_LENGTH = 32_000
MAX_FIELD_LENGTH = 1_000
MAX_FIELDS = 40
"""Characters, and fields of one event. What is beyond is cut off."""

NAMESPACE = "callcenter_ws"
"""The namespace of the events of which the fields are logged: those of other programs may hold anything."""

OF_WORKER, TRACEBACK_OF_WORKER = "log_of_worker", "log_traceback_of_worker"
"""Keys of an event that a worker has passed on: its text and its traceback. The field ``worker`` is its number."""

RESERVED = frozenset({"time", "level", "namespace", "message", "traceback"})
"""Keys of a JSON line that no field may have."""

_OF_TWISTED = frozenset({"system", "isError", "format", "failure", "why", "logLevel"})
"""Keys of events that have passed the old interface of Twisted's log."""

_MODULES = frozenset({"builtins", "sqlite3", "twisted.internet.error"})
_DESCRIBED = (AttributeError, TypeError, NameError, ImportError, OSError, RuntimeError, ArithmeticError, MemoryError)
"""Exceptions whose messages name types, attributes, files or modules; those of others often repeat a value."""

Scalar = str | int | float | bool | None


def level_of(event: LogEvent) -> str:
    """Return the name of an event's level."""
    level = event.get("log_level")
    return LogLevel.info.name if level is None else str(level.name)


def message_of(event: LogEvent) -> str:
    """Return the text of an event without its traceback. Control characters are escaped, but for line breaks.

    A line break in a field is escaped as well, so that what a peer has sent cannot look like another line.
    """
    if OF_WORKER in event:
        return str(event[OF_WORKER])
    if event.get("isError") and "failure" in event:
        # Twisted's old interface: its text repeats the traceback.
        text = str(event.get("why") or "Unhandled Error")
    else:
        text = _text(event)
        if not text.isprintable():
            text = _text({name: value if name.startswith("log_") else _escaped(value) for name, value in event.items()})
    return printable(text[:MAX_MESSAGE_LENGTH], keep="\n\t")


def _text(event: LogEvent) -> str:
    return eventAsText(event, includeTraceback=False, includeTimestamp=False, includeSystem=False)


def _escaped(value: object) -> object:
    # Names are quoted by their own format.
    return printable(value[:MAX_FIELD_LENGTH]) if type(value) is str and not value.isprintable() else value


def printable(text: str, keep: str = "") -> str:
    """Return a text in which the characters that cannot be printed are escaped, but for those in ``keep``."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keep else each.encode("unicode_escape").decode() for each in text
    )


def traceback_of(event: LogEvent) -> str | None:
    """Return the traceback of the exception that an event reports; None if it reports none.

    The message of an exception is shown only if it names code, and not if it may repeat what a peer has sent.
    """
    if OF_WORKER in event:
        return event.get(TRACEBACK_OF_WORKER)
    failure = event.get("log_failure", event.get("failure"))
    if not isinstance(failure, Failure):
        return None
    try:
        frames = "".join(traceback.format_tb(failure.getTracebackObject()))
    except Exception as error:
        frames = f"  (no frames: {type(error).__name__})\n"
    text = f"Traceback (most recent call last):\n{frames}{_described(failure)}"
    return printable(text[-MAX_TRACEBACK_LENGTH:], keep="\n\t")


def _described(failure: Failure) -> str:
    type_ = failure.type or Exception
    name = qual(type_)
    is_known = type_.__module__ in _MODULES and issubclass(type_, _DESCRIBED)
    if not (is_known or type_.__module__ == "sqlite3" or issubclass(type_, Refusal)):
        return f"{name}: (its message is not logged, it may hold data)"
    return f"{name}: {failure.getErrorMessage()}"


def fields_of(event: LogEvent) -> dict[str, Scalar]:
    """Return the fields of an event of this project, by their names; none of other programs."""
    if not str(event.get("log_namespace", "")).startswith(NAMESPACE):
        return {"worker": _scalar(event["worker"])} if OF_WORKER in event else {}
    names = [name for name in event if not name.startswith("log_") and name not in _OF_TWISTED | RESERVED]
    return {name: _scalar(event[name]) for name in names[:MAX_FIELDS]}


def _scalar(value: object) -> Scalar:
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    # The name of a file may hold surrogates, which no other program reads from JSON.
    return str(value)[:MAX_FIELD_LENGTH].encode(errors="backslashreplace").decode()
