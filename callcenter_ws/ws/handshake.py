"""What a WebSocket opening handshake says (RFC 6455 section 4.2.1)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple
from urllib.parse import parse_qs

from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import MAX_ID_LENGTH
from callcenter_ws.events.principal import Principal
from callcenter_ws.requests.admission import Endpoint
from callcenter_ws.runtime.http_head import Head
from callcenter_ws.ws.extension import agree

SUBPROTOCOL = "callcenter.v1"
_BEARER_SUBPROTOCOL = "bearer."
_VERSION = "13"
_KEY_BYTES = 16


class TokenSource(Enum):
    """Where a token was found; the order is that of PROTOCOL section 1.1."""

    HEADER = 1
    SUBPROTOCOL = 2
    COOKIE = 3
    QUERY = 4


class Handshake(NamedTuple):
    """A well-formed opening handshake.

    Attributes:
        key: the ``Sec-WebSocket-Key``.
        speaks_subprotocol: the client offered ``callcenter.v1``.
        token: the token and where it was found, or None.
        wish: what the query asks for.
        tenant_id: the tenant that the query names.
        deflate: what is answered to its offer of permessage-deflate, if it made one that can be met.
    """

    key: str
    speaks_subprotocol: bool
    origin: str | None
    token: tuple[TokenSource, str] | None
    options: ConnectOptions
    tenant_id: str | None
    deflate: str | None = None


@dataclass(frozen=True, slots=True)
class TokenPlaces:
    """Which of the optional places may hold a token: the name of a cookie, and the query."""

    cookie: str | None = None
    query: bool = False


def read_handshake(head: Head, places: TokenPlaces) -> Handshake:
    """Return what the handshake says.

    Raises:
        Refusal: ``method_not_allowed``, ``upgrade_required`` or ``invalid_message``.
    """
    if head.method != b"GET":
        raise Refusal(ErrorCode.METHOD_NOT_ALLOWED, "a WebSocket opens with GET")
    if not (_has_token(head, b"upgrade", b"websocket") and _has_token(head, b"connection", b"upgrade")):
        raise Refusal(ErrorCode.UPGRADE_REQUIRED)
    if head.version != b"HTTP/1.1":
        raise Refusal(ErrorCode.UPGRADE_REQUIRED, "a WebSocket opens over HTTP/1.1")
    if _only(head, b"sec-websocket-version") != _VERSION:
        raise Refusal(ErrorCode.UPGRADE_REQUIRED, f"Sec-WebSocket-Version: only {_VERSION} is spoken here")
    key = _only(head, b"sec-websocket-key")
    if key is None or not _is_key(key):
        raise Refusal(ErrorCode.INVALID_MESSAGE, "Sec-WebSocket-Key: expected one, 16 bytes in base64")
    query = _query(head)
    offered = [name for value in header_values(head, b"sec-websocket-protocol") for name in _split(value)]
    return Handshake(
        key=key,
        speaks_subprotocol=SUBPROTOCOL in offered,
        origin=_only(head, b"origin"),
        token=_find_token(head, places, offered, query),
        options=_connect_options(query),
        tenant_id=query.get("tenant_id"),
        deflate=agree(header_values(head, b"sec-websocket-extensions")),
    )


def header_values(head: Head, name: bytes) -> list[str]:
    """Return what the headers of that name, which is in lower case, hold in order."""
    return [value.decode("latin-1") for value in head.values(name)]


def _split(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _has_token(head: Head, name: bytes, wanted: bytes) -> bool:
    """Whether a header's list, over all its lines, holds a token, in whatever case."""
    values = head.values(name)
    return any(token.strip().lower() == wanted for value in values for token in value.split(b","))


def _only(head: Head, name: bytes) -> str | None:
    """The value of a header that may come once.

    Raises:
        Refusal: ``invalid_message`` when it comes more than once.
    """
    values = head.values(name)
    if len(values) > 1:
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"{name.decode()}: must not come twice")
    return values[0].decode("latin-1").strip() if values else None


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def _query(head: Head) -> dict[str, str]:
    text = head.uri.partition(b"?")[2].decode("latin-1")
    if not text:
        return {}
    try:
        fields = parse_qs(text, keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise Refusal(ErrorCode.INVALID_MESSAGE, "the query has too many fields") from None
    return {name: values[0] for name, values in fields.items()}


def _find_token(
    head: Head, places: TokenPlaces, offered: list[str], query: dict[str, str]
) -> tuple[TokenSource, str] | None:
    authorization = _only(head, b"authorization")
    if authorization is not None:
        scheme, _, credentials = authorization.partition(" ")
        # Another scheme is for a proxy in front; browsers send it along by themselves.
        if scheme.lower() == "bearer":
            return TokenSource.HEADER, credentials.strip()
    for name in offered:
        if name.startswith(_BEARER_SUBPROTOCOL):
            return TokenSource.SUBPROTOCOL, name[len(_BEARER_SUBPROTOCOL) :]
    if places.cookie is not None:
        cookie = head.cookie(places.cookie.encode())
        if cookie is not None:
            return TokenSource.COOKIE, cookie.decode("latin-1")
    if places.query:
        for field in ("access_token", "token"):
            if field in query:
                return TokenSource.QUERY, query[field]
    return None


def _connect_options(query: dict[str, str]) -> ConnectOptions:
    epoch, seq = query.get("epoch"), query.get("seq")
    if epoch is not None and len(epoch) > MAX_ID_LENGTH:
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"epoch: longer than {MAX_ID_LENGTH} characters")
    if (epoch is None) != (seq is None):
        raise Refusal(ErrorCode.INVALID_MESSAGE, "epoch and seq: to resume, both are needed")
    if seq is not None and not (seq.isascii() and seq.isdigit() and len(seq) <= 16):
        raise Refusal(ErrorCode.INVALID_MESSAGE, "seq: expected a whole number")
    return ConnectOptions(
        epoch, None if seq is None else int(seq), query.get("snapshot") == "1", query.get("ack") == "1"
    )


class HandshakeResult(NamedTuple):
    """What the handshake found out about a connection.

    Attributes:
        principal: who it is; None when the first frame will tell.
        refusal: why it is let in only to be told that it is refused.
    """

    endpoint: Endpoint
    ip: str
    options: ConnectOptions
    tenant_id: str | None
    origin: str | None
    principal: Principal | None = None
    session_token: str | None = None
    refusal: Refusal | None = None
