"""permessage-deflate: negotiation, and decompression of messages from clients (RFC 7692)."""

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
"""The last bytes of the compressed data, which a message omits (RFC 7692 section 7.2.1)."""

_MAX_FINAL_BLOCKS = 4
"""Final DEFLATE blocks in one message (RFC 7692 section 7.2.3.4)."""

MAX_BYTES = 16_777_216
"""The default limit on the decompressed size of one frame."""


def negotiate(offers: Iterable[str]) -> str | None:
    """Return the response to the first acceptable offer of permessage-deflate; None if there is none.

    Both sides give up context takeover: one compressed message serves all clients, and an idle connection needs no
    memory for compression.

    Args:
        offers: the values of the client's ``Sec-WebSocket-Extensions`` headers.
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
    """Yield the parameters of each valid offer of this extension, in the client's order of preference (section 7.1)."""
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
    """Decompresses the messages of one client. Implements the interface of Autobahn's extensions.

    It holds no state between two messages.
    """

    __slots__ = ("_final_blocks", "_inflate")

    EXTENSION_NAME = NAME

    _inflate: Any  # zlib.decompressobj, whose type has no public name
    _final_blocks: int

    def start_decompress_message(self) -> None:
        """Begin a compressed message."""
        self._start()
        self._final_blocks = 0

    def decompress_message_data(self, data: bytes, max_output_len: int | None = None) -> bytes:
        """Decompress a piece of a message.

        Raises:
            PayloadExceededError: the result is larger than ``max_output_len`` bytes. At most one byte more than that
                has been decompressed.
            PayloadCorruptError: the data is not valid DEFLATE data.
        """
        limit = MAX_BYTES if max_output_len is None else max(0, max_output_len)
        text = b""
        while data:
            text += self._decompress(data, limit + 1 - len(text))
            if len(text) > limit:
                raise PayloadExceededError("too large")
            if not self._inflate.eof:
                break
            # A final block may be followed by another one (section 7.2.3.4).
            data = self._inflate.unused_data
            self._final_blocks += 1
            if self._final_blocks > _MAX_FINAL_BLOCKS:
                raise PayloadCorruptError("too many final blocks")
            self._start()
        return text

    def end_decompress_message(self) -> None:
        """End a compressed message.

        Raises:
            PayloadCorruptError: its compressed data is incomplete.
        """
        rest = self._decompress(_TAIL, 1)
        self._inflate = None
        if rest:
            raise PayloadCorruptError("incomplete compressed data")

    def _start(self) -> None:
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)

    def _decompress(self, data: bytes, limit: int) -> bytes:
        try:
            text: bytes = self._inflate.decompress(data, limit)
        except zlib.error as error:
            raise PayloadCorruptError("invalid compressed data") from error
        return text
