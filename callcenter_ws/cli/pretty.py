"""Messages of ``callcenter-ws tail --pretty``: a line for people, in place of the JSON object."""

from __future__ import annotations

import json
from collections.abc import Iterator

from callcenter_ws.runtime.json import JsonObject, JsonValue

_TYPE_WIDTH = 22
_MAX_VALUE_LENGTH = 60


def pretty(message: JsonObject) -> Iterator[str]:
    """Yield the lines of a message: time, type, position, and the payload's fields; a snapshot has a line an event."""
    payload = message.get("payload")
    fields = payload if isinstance(payload, dict) else {}
    events = fields.get("events") if message.get("type") == "snapshot" else None
    if isinstance(events, list):
        fields = {**fields, "events": len(events)}
    yield _line(message, fields)
    if isinstance(events, list):
        yield from (f"  {line}" for event in events if isinstance(event, dict) for line in pretty(event))


def _line(message: JsonObject, fields: JsonObject) -> str:
    time = str(message.get("timestamp", ""))[11:23]
    position = f"#{message['seq']}" if "seq" in message else ""
    marks = [name for name in ("offline", "redelivered") if message.get(name) is True]
    user = [f"user_id={message['user_id']}"] if "user_id" in message else []
    shown = [f"{name}={_value(value)}" for name, value in fields.items() if value is not None]
    words = [f"{time:12}", f"{message.get('type', '')!s:{_TYPE_WIDTH}}", f"{position:8}", *marks, *user, *shown]
    return _printable(" ".join(words).rstrip())


def _value(value: JsonValue) -> str:
    text = value if isinstance(value, str) and " " not in value else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_VALUE_LENGTH else text[: _MAX_VALUE_LENGTH - 1] + "…"


def _printable(text: str) -> str:
    """Return the text without control characters, which a caller's name could send to a terminal."""
    return "".join(character if character.isprintable() else "�" for character in text)
