"""Makes one request over HTTP."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from callcenter_ws import __version__
from callcenter_ws.cli.target import CommandFailed
from callcenter_ws.runtime.json import JsonObject

MAX_BODY_BYTES = 67_108_864
"""The longest answer that is read; 10,000 intervals of ``GET /ws/statistics`` have about 20 MB."""

_CHUNK_BYTES = 65_536
_SCHEMES = {"ws": "http", "wss": "https"}


class NotConnected(CommandFailed):
    """No connection to the gateway could be made: it does not have the request."""


class NoAnswer(CommandFailed):
    """There is no complete response, and the gateway may have the request."""


def resource_url(address: str, name: str, fields: Sequence[tuple[str, str]]) -> str:
    """Return the URL of a resource below ``/ws``.

    Args:
        address: of the gateway, of its WebSocket endpoint or of the resource.
        fields: of the query.

    Raises:
        CommandFailed: the address is not a URL.
    """
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise CommandFailed(f"{address.partition('?')[0]} is not a URL: {error}") from None
    path = f"{parts.path.rstrip('/').removesuffix(f'/{name}').removesuffix('/ws')}/ws/{name}"
    return urlunsplit(
        (_SCHEMES.get(parts.scheme, parts.scheme), parts.netloc, path, urlencode(fields, safe="", quote_via=quote), "")
    )


def get_json(url: str, token: str, timeout: float) -> JsonObject:
    """Return the JSON object that a gateway answers.

    Args:
        url: as for ``get``.
        timeout: seconds for the whole.

    Raises:
        CommandFailed: the gateway refused the request, could not be reached, or its answer is not a JSON object.
    """
    status, body = get(url, _authorization(token), timeout)
    return _decoded(url.partition("?")[0], status, body)


def get_text(url: str, token: str, content_type: str, timeout: float) -> str:
    """Return a text that a gateway answers; arguments and errors as for ``get_json``."""
    status, body = get(url, {**_authorization(token), "Accept": content_type}, timeout)
    if status != 200:
        _decoded(url.partition("?")[0], status, body)
    return body.decode(errors="replace")


def post_json(url: str, token: str, document: JsonObject, timeout: float) -> JsonObject:
    """Send a JSON object, and return the one that a gateway answers with status 200 or 202; as ``get_json``."""
    headers = {**_authorization(token), "Content-Type": "application/json"}
    status, body = _exchange("POST", url, headers, timeout, json.dumps(document).encode())
    return _decoded(url.partition("?")[0], status, body)


def _authorization(token: str) -> Mapping[str, str]:
    if not (token.isascii() and token.isprintable()):
        # The error of http.client would contain it.
        raise CommandFailed("the token is not one: it contains characters other than printable ASCII")
    return {"Authorization": f"Bearer {token}"}


def get(url: str, headers: Mapping[str, str], timeout: float) -> tuple[int, bytes]:
    """Return the status and the body of the response to a GET; redirects are not followed.

    Args:
        url: ``http://`` or ``https://``; the certificate must be valid for its host.
        timeout: seconds for the whole.

    Raises:
        NotConnected: there is no connection, or the URL is not valid.
        NoAnswer: there is no complete response.
    """
    return _exchange("GET", url, headers, timeout)


def _exchange(
    method: str, url: str, headers: Mapping[str, str], timeout: float, body: bytes | None = None
) -> tuple[int, bytes]:
    address = url.partition("?")[0]
    failure: type[CommandFailed] = NotConnected
    try:
        connection, target = _connection(url, timeout)
        try:
            connection.connect()
            failure = NoAnswer
            headers = {**headers, "User-Agent": f"callcenter-ws/{__version__}"}
            connection.request(method, target, body, headers)
            return _response(connection, time.monotonic() + timeout)
        finally:
            connection.close()
    except TimeoutError:
        raise failure(f"no answer from {address} within {timeout:g} s") from None
    except (OSError, HTTPException, ValueError) as error:
        raise failure(_explain(address, error)) from None


def _connection(url: str, timeout: float) -> tuple[HTTPConnection, str]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected a URL such as https://gw.example.com/ws/stats")
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    if parts.scheme == "http":
        return HTTPConnection(parts.hostname, parts.port, timeout=timeout), target
    # The context trusts the CAs of the system, or those in SSL_CERT_FILE.
    context = ssl.create_default_context()
    return HTTPSConnection(parts.hostname, parts.port, timeout=timeout, context=context), target


def _response(connection: HTTPConnection, deadline: float) -> tuple[int, bytes]:
    connected = connection.sock
    _limit(connected, deadline)
    response = connection.getresponse()
    body = bytearray()
    while len(body) <= MAX_BODY_BYTES:
        _limit(connected, deadline)
        chunk = response.read1(_CHUNK_BYTES)
        if not chunk:
            return response.status, bytes(body)
        body += chunk
    raise ValueError(f"the answer is larger than {MAX_BODY_BYTES} bytes")


def _limit(connected: socket.socket, deadline: float) -> None:
    """Let the next operation of a socket end at the deadline."""
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    connected.settimeout(remaining)


def _decoded(address: str, status: int, body: bytes) -> JsonObject:
    try:
        answer: Any = json.loads(body)  # Any: it may be any JSON
    except (ValueError, RecursionError):
        answer = None
    if status in (200, 202) and isinstance(answer, dict):
        return answer
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict) and "code" in error:
        raise CommandFailed(f"{address}: {error['code']}: {error.get('message')}")
    raise CommandFailed(f"{address} is not a gateway: it answers with status {status}")


def _explain(address: str, error: Exception) -> str:
    """Return why there is no answer, with what may be done about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {address} is not trusted: {error.verify_message}. Name the file of a private CA in "
            "the environment variable SSL_CERT_FILE, and connect to the name in the certificate"
        )
    if isinstance(error, ssl.SSLError):
        return f"cannot connect to {address}: {error.reason or error}; a port without TLS needs http://"
    if isinstance(error, HTTPException | ConnectionResetError):
        needs = "a port without TLS needs http://" if address.startswith("https:") else "a port with TLS needs https://"
        return f"{address} has closed the connection without an answer; {needs}"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return f"cannot connect to {address}: {reason}"
