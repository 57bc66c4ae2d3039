"""Decodes the messages of clients.

Only the fields that a handler declares are decoded. Anything else is skipped: decoding half a MiB of fields that no
handler reads would take fifteen times as long.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from callcenter_ws.delivery.snapshot_cache import RequestId
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.mistakes import join_mistakes, payload_mistakes, payload_path
from callcenter_ws.runtime.json import MAX_INTEGER, MIN_INTEGER, decode_json
from callcenter_ws.runtime.suggestions import closest_name

MAX_REQUEST_ID_LENGTH = 255

MAX_EXPLAINED_BYTES = 16_384
"""The largest payload of which a refusal names all mistakes, and not only the first."""

_MAX_COMPARED = 5
"""Unknown fields that are compared with the known ones; comparing is slow, and clients choose the names."""

_MAX_ID_BYTES = 6 * MAX_REQUEST_ID_LENGTH + 2
_NOTHING = msgspec.Raw(b"null")

P = TypeVar("P", bound=msgspec.Struct)


class Request(msgspec.Struct):
    """A message of a client; its parts are not decoded yet."""

    type_: msgspec.Raw = msgspec.field(default=_NOTHING, name="type")
    id: msgspec.Raw = _NOTHING
    payload: msgspec.Raw = _NOTHING

    def checked_type(self) -> str:
        """Return the ``type``.

        Raises:
            Refusal: ``invalid_message``: it is no text.
        """
        if not bytes(self.type_).startswith(b'"'):
            raise Refusal(ErrorCode.INVALID_MESSAGE, "type: expected a string")
        return str(msgspec.json.decode(self.type_))

    def checked_id(self) -> RequestId:
        """Return the ``id``.

        Raises:
            Refusal: ``invalid_message``: it is neither a text nor an integer, or too long.
        """
        sent = bytes(self.id)
        if len(sent) <= _MAX_ID_BYTES and not sent.startswith((b"{", b"[")):
            value = msgspec.json.decode(sent)
            if value is None or (isinstance(value, str) and len(value) <= MAX_REQUEST_ID_LENGTH):
                return value
            if isinstance(value, int) and not isinstance(value, bool) and MIN_INTEGER <= value <= MAX_INTEGER:
                return value
        text = f"id: expected a string of at most {MAX_REQUEST_ID_LENGTH} characters, or an integer of 64 bits"
        raise Refusal(ErrorCode.INVALID_MESSAGE, text)

    def checked_payload(self, declared: type[P], decoder: msgspec.json.Decoder[P]) -> P:
        """Return the payload as it is declared; null or no payload is an empty one.

        Args:
            decoder: decodes what is declared.

        Raises:
            Refusal: ``invalid_message`` with the paths of what is wrong.
        """
        text = bytes(self.payload)
        if text == b"null":
            text = b"{}"
        try:
            return decoder.decode(text)
        except msgspec.ValidationError as error:
            first = payload_path(str(error))
        except RecursionError:
            first = "payload: nested too deeply"
        if len(text) > MAX_EXPLAINED_BYTES:
            raise Refusal(ErrorCode.INVALID_MESSAGE, first)
        mistakes = join_mistakes(payload_mistakes(decode_json(text), declared))
        raise Refusal(ErrorCode.INVALID_MESSAGE, mistakes or first)

    def check_names(self, declared: type[msgspec.Struct]) -> None:
        """Refuse fields of a valid payload that are probably misspelled; others that are unknown are ignored.

        Raises:
            Refusal: ``invalid_message`` with the name that was probably meant.
        """
        text = bytes(self.payload)
        if len(text) > MAX_EXPLAINED_BYTES or text == b"null":
            return
        known = declared.__struct_fields__
        unknown = [name for name in _decode_fields(text) if name not in known]
        for name in unknown[:_MAX_COMPARED]:
            if meant := closest_name(name, known):
                raise Refusal(ErrorCode.INVALID_MESSAGE, f"payload: unknown field {name!r}; did you mean {meant}?")


_decode = msgspec.json.Decoder(Request).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read_request(text: bytes) -> Request:
    """Decode the outermost object of a message.

    Raises:
        Refusal: ``invalid_json``, or ``invalid_message`` for valid JSON that is no object.
    """
    try:
        return _decode(text)
    except msgspec.ValidationError:
        # It is no object; is it JSON? Decoding is bounded, and a client that repeats the mistake is closed.
        decode_json(text)
        raise Refusal(ErrorCode.INVALID_MESSAGE, "expected a JSON object with type and payload") from None
    except RecursionError:
        raise Refusal(ErrorCode.INVALID_JSON, "nested too deeply") from None
    except (msgspec.DecodeError, UnicodeError):
        raise Refusal(ErrorCode.INVALID_JSON, "malformed JSON") from None
