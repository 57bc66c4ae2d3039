"""The framing of the manager interface: bytes in, messages out.

A message is a block of lines ``Name: value`` which an empty line ends. Asterisk sends CR LF; a bare LF and additional
empty lines are accepted. The first line of a connection is a banner.

Limits, and what happens beyond them:

* ``MAX_LINE_BYTES``: the rest of the line is dropped, and counted in ``cut_lines``;
* ``MAX_HEADERS``, or ``MAX_PARSED_BYTES`` of them: further headers of the message are dropped, and counted in
  ``dropped_headers``;
* control characters become a replacement character, and a tab becomes a space: no identifier of the gateway may have
  them, and an event must not be lost because of a name;
* ``MAX_MESSAGE_BYTES``, or ``MAX_RAW_BYTES`` together with what was dropped: ``EndlessMessageError``. The connection
  is of no more use.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence

from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.traffic import MAX_SKIPPED_NAMES, OTHER_NAMES

BANNER_PREFIX = "Asterisk Call Manager"

MAX_LINE_BYTES = 8_192
MAX_HEADERS = 1_000
MAX_PARSED_BYTES = 65_536
MAX_MESSAGE_BYTES = 1_048_576
MAX_RAW_BYTES = 16_777_216
MAX_BANNER_BYTES = 1_024

MAX_NAME_LENGTH = 80
"""Longer names of events are counted as others."""

_CONTROL_BYTES = bytes(code for code in (*range(32), 127) if code != ord("\n"))
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")

_END_OF_COMMAND = b"--END COMMAND--"
_COMMAND = b"Response: Follows"
_EVENT = b"Event: "
_ABSENT = "<unknown>"
_NOT_REPEATED: Mapping[str, Sequence[str]] = {}
_COMMAND_HEADERS = frozenset({"Response", "Privilege", "ActionID", "Message"})


class EndlessMessageError(Exception):
    """A message does not end within the limits."""


class NotAmiError(Exception):
    """The peer does not begin as a manager interface does. The text is its first line, made printable."""


class Framing:
    """Divides the bytes of one connection into messages.

    Args:
        wanted: the names of the events that are parsed; the others are only counted. None: all.

    Attributes:
        banner: the first line of the connection; empty until it has come.
        is_begun: whether the first line has come.
        messages: the messages so far, skipped ones included.
        skipped: the number of skipped events, by name.
        cut_lines, dropped_headers: what was dropped because of the limits.
    """

    def __init__(self, wanted: Container[str] | None = None) -> None:
        self._wanted = wanted
        # What has not been divided yet, without the CR of line ends. A CR at the end waits for what follows it.
        self._buffer = bytearray()
        self._has_cr = False
        self._is_cutting = False
        # Bytes of the present message that were dropped.
        self._dropped_bytes = 0
        self.is_begun = False
        self._blocks: list[bytes] = []
        self._command: list[bytes] = []
        self._command_bytes = 0
        self.banner = ""
        self.messages = 0
        self.skipped: dict[str, int] = {}
        self.cut_lines = 0
        self.dropped_headers = 0

    @property
    def over_limit(self) -> Counter[str]:
        """What was dropped because of the limits, by kind."""
        return Counter(lines=self.cut_lines, headers=self.dropped_headers)

    def feed(self, data: bytes) -> None:
        """Add bytes; ``next`` returns the messages that they complete.

        Raises:
            EndlessMessageError: a message exceeds the limits.
            NotAmiError: the first line is no banner of a manager interface.
        """
        data = self._without_cr(data)
        if self._is_cutting:
            data = self._continue_cut(data)
        searched = len(self._buffer)
        self._buffer += data
        if not self.is_begun and not self._begin():
            return
        if self._buffer.find(b"\n\n", max(0, searched - 1)) >= 0 or self._buffer.startswith(b"\n"):
            self._divide()
        self._limit()

    def next(self) -> AmiMessage | None:
        """Return the next complete message that is wanted; None if there is none.

        Raises:
            EndlessMessageError: the output of a command exceeds the limits.
        """
        blocks = self._blocks
        while blocks:
            block = blocks.pop()
            if self._command:
                block = self._continue_command(block)
            elif block.startswith(_EVENT):
                if self._is_skipped(block):
                    continue
                self.messages += 1
                return self._parse(block)
            elif block.startswith(_COMMAND) and _END_OF_COMMAND not in block:
                self._command.append(block)
                self._command_bytes = len(block)
                continue
            if block:
                self.messages += 1
                return self._parse_other(block)
        return None

    def _without_cr(self, data: bytes) -> bytes:
        if self._has_cr:
            data = b"\r" + data
        self._has_cr = data.endswith(b"\r")
        if self._has_cr:
            data = data[:-1]
        return data.replace(b"\r\n", b"\n")

    def _begin(self) -> bool:
        """Take the banner; return whether it is complete."""
        while self._buffer.startswith(b"\n"):
            del self._buffer[0]
        end = self._buffer.find(b"\n")
        if end < 0 and len(self._buffer) <= MAX_BANNER_BYTES:
            return False
        line = bytes(self._buffer[: min(end, MAX_BANNER_BYTES) if end >= 0 else MAX_BANNER_BYTES])
        text = line.decode("utf-8", "replace").strip()
        if text.startswith(BANNER_PREFIX):
            self.banner = text
            del self._buffer[: end + 1]
        elif b": " not in line:
            raise NotAmiError("".join(char if char.isprintable() else "?" for char in text[:80]))
        self.is_begun = True
        return True

    def _divide(self) -> None:
        """Take the complete blocks out of the buffer."""
        *blocks, rest = bytes(self._buffer).split(b"\n\n")
        self._buffer = bytearray(rest.lstrip(b"\n"))
        if blocks:
            self._dropped_bytes = 0
            # The next one is the last one: ``pop`` takes it from the end.
            complete = [block.lstrip(b"\n") for block in reversed(blocks)]
            self._blocks = complete + self._blocks
            self._blocks = [block for block in self._blocks if block]

    def _continue_cut(self, data: bytes) -> bytes:
        """Drop the rest of a line that is too long; return what follows."""
        end = data.find(b"\n")
        self._dropped_bytes += len(data) if end < 0 else end
        if end < 0:
            return b""
        self._is_cutting = False
        return data[end:]

    def _limit(self) -> None:
        """Limit what waits for the end of its message."""
        last_line = len(self._buffer) - 1 - self._buffer.rfind(b"\n")
        # One byte more than is kept: so the parser sees that the line was cut, and counts it.
        if last_line > MAX_LINE_BYTES + 1:
            excess = last_line - MAX_LINE_BYTES - 1
            del self._buffer[-excess:]
            self._dropped_bytes += excess
            self._is_cutting = True
        size = len(self._buffer)
        if size > MAX_MESSAGE_BYTES or size + self._dropped_bytes > MAX_RAW_BYTES:
            raise EndlessMessageError

    def _continue_command(self, block: bytes) -> bytes:
        """Join the output of a command of an Asterisk before 14, which may hold empty lines; empty: not complete."""
        self._command.append(block)
        self._command_bytes += len(block)
        if self._command_bytes > MAX_MESSAGE_BYTES:
            raise EndlessMessageError
        if _END_OF_COMMAND not in block:
            return b""
        whole = b"\n\n".join(self._command)
        self._command = []
        return whole

    def _is_skipped(self, block: bytes) -> bool:
        if self._wanted is None:
            return False
        end = block.find(b"\n")
        name = (block[7:] if end < 0 else block[7:end]).decode("utf-8", "replace").strip()
        if name in self._wanted:
            return False
        self.messages += 1
        skipped = self.skipped
        if len(name) > MAX_NAME_LENGTH or (name not in skipped and len(skipped) >= MAX_SKIPPED_NAMES):
            name = OTHER_NAMES
        skipped[name] = skipped.get(name, 0) + 1
        return True

    def _parse(self, block: bytes) -> AmiMessage:
        """Parse an event whose first header is ``Event``."""
        headers, repeated = self._headers(self._lines(block))
        return AmiMessage(headers, repeated, headers["Event"], "")

    def _parse_other(self, block: bytes) -> AmiMessage:
        """Parse a response, or an event that begins with another header."""
        lines = self._lines(block)
        if block.startswith(_COMMAND):
            return self._parse_command(lines)
        headers, repeated = self._headers(lines)
        kind = next((name for name in headers if name in ("Event", "Response")), "")
        return AmiMessage(
            headers,
            repeated,
            headers["Event"] if kind == "Event" else "",
            headers["Response"] if kind == "Response" else "",
        )

    def _parse_command(self, lines: list[str]) -> AmiMessage:
        """Parse the answer to a command of an Asterisk before 14: its output becomes headers ``Output``, as later."""
        count = 0
        while count < len(lines) and lines[count].partition(":")[0] in _COMMAND_HEADERS:
            count += 1
        output = [line for line in lines[count:] if not line.startswith(_END_OF_COMMAND.decode())]
        headers, repeated = self._headers([*lines[:count], *(f"Output: {line}" for line in output)])
        return AmiMessage(headers, repeated, "", headers["Response"])

    def _headers(self, lines: list[str]) -> tuple[Mapping[str, str], Mapping[str, Sequence[str]]]:
        """Return the first value of each header, and all values of those that are repeated."""
        parts = [line.partition(":") for line in lines]
        headers = {name: "" if (value := text.strip()) == _ABSENT else value for name, _, text in parts}
        if len(headers) == len(lines):
            return headers, _NOT_REPEATED
        values: dict[str, list[str]] = {}
        for name, _, text in parts:
            value = text.strip()
            values.setdefault(name, []).append("" if value == _ABSENT else value)
        first = {name: found[0] for name, found in values.items()}
        return first, {name: found for name, found in values.items() if len(found) > 1}

    def _lines(self, block: bytes) -> list[str]:
        """Return the lines of a message, within the limits: a longer message would hold the reactor."""
        if len(block) <= MAX_LINE_BYTES:
            lines = _decode(block).split("\n")
            self.dropped_headers += max(0, len(lines) - MAX_HEADERS)
            return lines[:MAX_HEADERS]
        found: list[str] = []
        size = 0
        for line in block.split(b"\n", MAX_HEADERS)[:MAX_HEADERS]:
            size += min(len(line), MAX_LINE_BYTES)
            if size > MAX_PARSED_BYTES:
                break
            found.append(self._line(line))
        self.dropped_headers += block.count(b"\n") + 1 - len(found)
        return found

    def _line(self, line: bytes) -> str:
        if len(line) <= MAX_LINE_BYTES:
            return _decode(line)
        self.cut_lines += 1
        # Without the beginning of a character that was cut.
        return _decode(line[:MAX_LINE_BYTES]).rstrip("\ufffd")


def _decode(block: bytes) -> str:
    """Return the text of a message, without control characters but line feeds."""
    text = block.decode("utf-8", "replace")
    # The regular expression would take longer than all the rest of the parsing, and few messages need it.
    if block.isascii() and len(block.translate(None, _CONTROL_BYTES)) == len(block):
        return text
    return _CONTROL.sub("\ufffd", text.replace("\t", " "))


def parse_all(data: bytes) -> list[AmiMessage]:
    """Return all messages in some bytes, as those of a capture."""
    framing = Framing()
    framing.feed(data)
    return list(iter(framing.next, None))


def parse_block(block: bytes) -> AmiMessage:
    """Return one message, given its lines."""
    return Framing()._parse_other(block.replace(b"\r\n", b"\n").strip(b"\n"))
