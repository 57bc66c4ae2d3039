"""Reads a WebSocket opening handshake (RFC 6455 section 4.2.1)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple
from urllib.parse import parse_qs

from callcenter_ws.delivery.subscription import list_in_url
from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.identifiers import identifier_problem
from callcenter_ws.events.principal import Principal
from callcenter_ws.requests.admission import EndpointName
from callcenter_ws.runtime.client_address import UNIX_SOCKET
from callcenter_ws.runtime.http_head import RequestHead, is_percent_encoded
from callcenter_ws.runtime.url_parameters import check_parameters, switch
from callcenter_ws.ws.extension import negotiate

SUBPROTOCOL = "callcenter.v1"
_BEARER_SUBPROTOCOL = "bearer."
_VERSION = "13"
_LISTS = ("events", "queues")
"""Query parameters that are lists, whose parts may also be given by repeating the parameter."""

_KEY_BYTES = 16


class TokenSource(Enum):
    """Where a handshake may hold a token, in the order of precedence."""

    HEADER = 1
    SUBPROTOCOL = 2
    COOKIE = 3
    QUERY = 4


class Handshake(NamedTuple):
    """A well-formed opening handshake.

    Attributes:
        key: the value of ``Sec-WebSocket-Key``.
        speaks_subprotocol: whether the client offered ``callcenter.v1``.
        origin: the value of ``Origin``; None if the client sent none.
        token: the token and where it was found; None if there is none.
        options: the connect options of the query.
        tenant_id: the tenant that the query names.
        deflate: the response to the client's offer of permessage-deflate; None if there is no acceptable offer.
    """

    key: str
    speaks_subprotocol: bool
    origin: str | None
    token: tuple[TokenSource, str] | None
    options: ConnectOptions
    tenant_id: str | None
    deflate: str | None = None


@dataclass(frozen=True, slots=True)
class OptionalTokenSources:
    """Where a token is accepted besides the ``Authorization`` header and the subprotocols.

    Attributes:
        cookie: the name of a cookie; None if tokens in cookies are not accepted.
        query: whether the query parameters ``access_token`` and ``token`` are accepted.
    """

    cookie: str | None = None
    query: bool = False


def read_handshake(head: RequestHead, sources: OptionalTokenSources) -> Handshake:
    """Parse and check an opening handshake.

    Raises:
        Refusal: ``method_not_allowed``; ``upgrade_required`` if the request does not ask for version 13 of the
            WebSocket protocol over HTTP/1.1; ``invalid_message`` if a header or a query parameter is malformed.
    """
    if head.method != b"GET":
        raise Refusal(ErrorCode.METHOD_NOT_ALLOWED, "a WebSocket handshake must use GET")
    if not (_has_token(head, b"upgrade", b"websocket") and _has_token(head, b"connection", b"upgrade")):
        raise Refusal(ErrorCode.UPGRADE_REQUIRED)
    if head.version != b"HTTP/1.1":
        raise Refusal(ErrorCode.UPGRADE_REQUIRED, "a WebSocket handshake must use HTTP/1.1")
    if _single_value(head, b"sec-websocket-version") != _VERSION:
        raise Refusal(ErrorCode.UPGRADE_REQUIRED, f"Sec-WebSocket-Version: only {_VERSION} is supported")
    key = _single_value(head, b"sec-websocket-key")
    if key is None or not _is_key(key):
        raise Refusal(ErrorCode.INVALID_MESSAGE, "Sec-WebSocket-Key: expected 16 bytes in base64")
    query = _query(head)
    offered = [name for value in header_values(head, b"sec-websocket-protocol") for name in _split(value)]
    return Handshake(
        key=key,
        speaks_subprotocol=SUBPROTOCOL in offered,
        origin=_single_value(head, b"origin"),
        token=_find_token(head, sources, offered, query),
        options=_connect_options(query),
        tenant_id=query.get("tenant_id"),
        deflate=negotiate(header_values(head, b"sec-websocket-extensions")),
    )


def header_values(head: RequestHead, name: bytes) -> list[str]:
    """Return the values of all headers named ``name`` (lower case), in order."""
    return [value.decode("latin-1") for value in head.values(name)]


def _split(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _has_token(head: RequestHead, name: bytes, wanted: bytes) -> bool:
    """Return whether the list values of a header contain the token ``wanted`` (lower case), ignoring case."""
    values = head.values(name)
    return any(token.strip().lower() == wanted for value in values for token in value.split(b","))


def _single_value(head: RequestHead, name: bytes) -> str | None:
    """Return the value of a header that may occur once; None if it is absent.

    Raises:
        Refusal: ``invalid_message`` if it occurs more than once.
    """
    values = head.values(name)
    if len(values) > 1:
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"{name.decode()}: must not occur more than once")
    return values[0].decode("latin-1").strip() if values else None


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def _query(head: RequestHead) -> dict[str, str]:
    """Return the fields of the query, with the first value of each.

    Raises:
        Refusal: ``invalid_message`` if it has too many fields or is not UTF-8, if a name is probably misspelled, or if
            ``tenant_id`` is no identifier.
    """
    raw = head.uri.partition(b"?")[2]
    if not raw:
        return {}
    if not is_percent_encoded(raw):
        raise Refusal(ErrorCode.INVALID_MESSAGE, "the query has a % without two hexadecimal digits")
    try:
        fields = parse_qs(raw.decode("ascii"), keep_blank_values=True, max_num_fields=20, errors="strict")
    except UnicodeDecodeError:
        raise Refusal(ErrorCode.INVALID_MESSAGE, "the query is not percent-encoded UTF-8") from None
    except ValueError:
        raise Refusal(ErrorCode.INVALID_MESSAGE, "the query has too many fields") from None
    check_parameters(fields)
    for tenant_id in (tenant_ids := fields.get("tenant_id", ())):
        if problem := identifier_problem(tenant_id):
            raise Refusal(ErrorCode.INVALID_MESSAGE, f"tenant_id: {problem}")
    if len(tenant_ids) > 1:
        raise Refusal(ErrorCode.INVALID_MESSAGE, "tenant_id: given more than once")
    return {name: ",".join(values) if name in _LISTS else values[0] for name, values in fields.items()}


def _find_token(
    head: RequestHead, sources: OptionalTokenSources, offered: list[str], query: dict[str, str]
) -> tuple[TokenSource, str] | None:
    authorization = _single_value(head, b"authorization")
    if authorization is not None:
        scheme, _, credentials = authorization.partition(" ")
        # Other schemes are for a proxy in front of the gateway; browsers send them without being asked.
        if scheme.lower() == "bearer":
            return TokenSource.HEADER, credentials.strip()
    for name in offered:
        if name.startswith(_BEARER_SUBPROTOCOL):
            return TokenSource.SUBPROTOCOL, name[len(_BEARER_SUBPROTOCOL) :]
    if sources.cookie is not None:
        cookie = head.cookie(sources.cookie.encode())
        if cookie is not None:
            return TokenSource.COOKIE, cookie.decode("latin-1")
    if sources.query:
        for field in ("access_token", "token"):
            if field in query:
                return TokenSource.QUERY, query[field]
    return None


def _connect_options(query: dict[str, str]) -> ConnectOptions:
    epoch, seq = query.get("epoch"), query.get("seq")
    if epoch and (problem := identifier_problem(epoch)):
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"epoch: {problem}")
    if (epoch is None) != (seq is None):
        raise Refusal(ErrorCode.INVALID_MESSAGE, "epoch and seq: both are required to resume")
    if seq is not None and not (seq.isascii() and seq.isdigit() and len(seq) <= 16):
        raise Refusal(ErrorCode.INVALID_MESSAGE, "seq: expected a whole number")
    return ConnectOptions(
        epoch,
        None if seq is None else int(seq),
        switch("snapshot", query.get("snapshot")),
        switch("ack", query.get("ack")),
        *(list_in_url(query.get(name)) for name in _LISTS),
    )


class HandshakeResult(NamedTuple):
    """The result of an accepted handshake.

    Attributes:
        endpoint: the endpoint of the request.
        ip: the client's address.
        options: the connect options of the query.
        tenant_id: the tenant that the query names.
        origin: the value of ``Origin``.
        principal: the authenticated principal; None if the first message must authenticate the peer.
        session_token: the token of a new anonymous visitor.
        refusal: a refusal to be sent over the WebSocket, which is then closed.
        network: the network of the client's address.
        is_counted: whether the connection is counted by ``Admission``; not if its refusal is that there are too many.
        gives_back_request: whether the handshake was counted as a request, and is given back after authentication.
    """

    endpoint: EndpointName
    ip: str
    options: ConnectOptions
    tenant_id: str | None
    origin: str | None
    principal: Principal | None = None
    session_token: str | None = None
    refusal: Refusal | None = None
    network: str = UNIX_SOCKET
    is_counted: bool = True
    gives_back_request: bool = False
