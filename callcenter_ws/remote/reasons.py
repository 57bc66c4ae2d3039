"""Why a connection cannot be made, or was lost, in words for an operator."""

from __future__ import annotations

import os

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.error import TimeoutError as ConnectTimedOut
from twisted.internet.interfaces import IStreamClientEndpoint


def connection_reason(error: BaseException | None, peer: str = "the gateway") -> str:
    """Return why a connection failed or ended, on one line, without the address of an object.

    Args:
        peer: to what the connection was made.
    """
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectTimedOut):
        return "the connection timed out"
    if isinstance(error, (ConnectionDone, ConnectionLost)):
        return f"{peer} closed the connection" if isinstance(error, ConnectionDone) else "the connection broke"
    if isinstance(error, VerificationError):
        return "TLS failed: the certificate is not for this host"
    if isinstance(error, SSL.Error):
        return f"TLS failed: {', '.join(_openssl_texts(error)) or f'{peer} closed the connection'}"
    number = error.osError if isinstance(error, ConnectError) else error.errno if isinstance(error, OSError) else None
    if isinstance(number, int):
        return os.strerror(number)
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _openssl_texts(error: SSL.Error) -> list[str]:
    """Return the reasons in an error of pyOpenSSL, whose argument is a list of (library, function, reason)."""
    queue = error.args[0] if error.args else ()
    return [str(entry[-1]) for entry in queue] if isinstance(queue, list) else [str(queue)] if queue else []


def endpoint_text(endpoint: str | IStreamClientEndpoint) -> str:
    """Return the address of an endpoint for log lines: its description, or what an object reveals of its address."""
    if isinstance(endpoint, str):
        return endpoint
    if isinstance(endpoint, UNIXClientEndpoint):
        return f"unix:{endpoint._path}"
    if isinstance(endpoint, (TCP4ClientEndpoint, TCP6ClientEndpoint)):
        return f"tcp:{endpoint._host}:{endpoint._port}"
    if isinstance(endpoint, HostnameEndpoint):
        return f"tcp:{endpoint._hostText}:{endpoint._port}"
    return f"a {type(endpoint).__name__}"
