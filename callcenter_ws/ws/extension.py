"""permessage-deflate: what is agreed with a client, and how its compressed messages are read (RFC 7692)."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autobahn.exception import PayloadCorruptError, PayloadExceededError

from callcenter_ws.events.deflate import WINDOW_BITS

NAME = "permessage-deflate"

_PARAMETER = re.compile(r'\s*([\w!#$%&\'*+.^`|~-]+)\s*(?:=\s*(?:([\w!#$%&\'*+.^`|~-]+)|"([^"\\,;]*)")\s*)?')
_FLAGS = frozenset({"server_no_context_takeover", "client_no_context_takeover"})
_WINDOW = {str(bits): bits for bits in range(8, 16)}
_TAIL = b"\x00\x00\xff\xff"
"""What each message would end with, and leaves out (section 7.2.1)."""

_MAX_ENDS = 4

MAX_BYTES = 16_777_216
"""The most that a piece of a message may be where no limit is given."""


def agree(offers: Iterable[str]) -> str | None:
    """Return the answer to the first offer that can be met, None if there is none.

    Neither side remembers anything between messages: that is what lets one compressed message be for all, and costs
    no memory where nothing is said.

    Args:
        offers: the values of ``Sec-WebSocket-Extensions``.
    """
    for offer in _offers(offers):
        window = offer.get("server_max_window_bits")
        if window is None:
            return f"{NAME}; server_no_context_takeover; client_no_context_takeover"
        if _WINDOW[window] >= WINDOW_BITS:
            return (
                f"{NAME}; server_no_context_takeover; client_no_context_takeover; server_max_window_bits={WINDOW_BITS}"
            )
    return None


def _offers(values: Iterable[str]) -> Iterator[Mapping[str, str | None]]:
    """The well-formed offers of this extension, the client's favourite first; others count as none (section 7.1)."""
    for value in values:
        for text in value.split(","):
            name, *parts = text.split(";")
            parameters = [_PARAMETER.fullmatch(part) for part in parts]
            offer = {found[1]: found[2] or found[3] for found in parameters if found}
            if name.strip() == NAME and len(offer) == len(parts) and all(map(_is_known, offer.items())):
                yield offer


def _is_known(parameter: tuple[str, str | None]) -> bool:
    name, value = parameter
    if name in _FLAGS:
        return value is None
    if name == "client_max_window_bits":
        return value is None or value in _WINDOW
    return name == "server_max_window_bits" and value in _WINDOW


class Inflater:
    """Reads the compressed messages of one client. Implements what Autobahn asks of an extension.

    Between two messages it holds nothing.
    """

    __slots__ = ("_ends", "_inflate")

    EXTENSION_NAME = NAME

    _inflate: Any
    _ends: int

    def start_decompress_message(self) -> None:
        """A compressed message begins."""
        self._begin()
        self._ends = 0

    def decompress_message_data(self, data: bytes, max_output_len: int | None = None) -> bytes:
        """Return what a piece of a message says.

        Raises:
            PayloadExceededError: that is more than ``max_output_len`` bytes, of which no more than one more was made.
            PayloadCorruptError: it is not compressed data.
        """
        most = MAX_BYTES if max_output_len is None else max(0, max_output_len)
        text = b""
        while data:
            text += self._inflated(data, most + 1 - len(text))
            if len(text) > most:
                raise PayloadExceededError("too large")
            if not self._inflate.eof:
                break
            # A block that calls itself the last may be followed by another (section 7.2.3.4).
            data = self._inflate.unused_data
            self._ends += 1
            if self._ends > _MAX_ENDS:
                raise PayloadCorruptError("it ends again and again")
            self._begin()
        return text

    def end_decompress_message(self) -> None:
        """A compressed message has ended.

        Raises:
            PayloadCorruptError: it has not, by its own account.
        """
        rest = self._inflated(_TAIL, 1)
        self._inflate = None
        if rest:
            raise PayloadCorruptError("cut off")

    def _begin(self) -> None:
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)

    def _inflated(self, data: bytes, most: int) -> bytes:
        try:
            text: bytes = self._inflate.decompress(data, most)
        except zlib.error as error:
            raise PayloadCorruptError("not compressed data") from error
        return text
