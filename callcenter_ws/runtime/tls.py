"""TLS of the gateway's ports: the certificate, and sessions that clients may take up again.

A client that comes back with a session ticket (RFC 8446 section 4.6.1) spares both sides the dear half of the
handshake, which after a restart thousands want at once. Tickets are encrypted with a key that exists in this process
only and is given up after ``KEY_LIFETIME``; nothing is kept per session, the key exchange is a fresh one each time,
and no data is taken before the handshake is done (no 0-RTT).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL import SSL
from twisted.internet.endpoints import SSL4ServerEndpoint, serverFromString
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.ssl import CertificateOptions, DiffieHellmanParameters
from twisted.logger import Logger
from twisted.python.filepath import FilePath
from zope.interface import implementer

from callcenter_ws.runtime.endpoints import endpoint_arguments

KEY_LIFETIME = 6 * 3_600.0
"""Seconds for which a key encrypts tickets; with the next one comes the certificate that is in the files then."""

BACKLOG = 1_024
"""Connections that may wait to be accepted; the system's own limit (net.core.somaxconn) is as high or higher."""

_log = Logger()


def server_endpoint(reactor: Any, description: str) -> Any:
    """Return the endpoint of a description that the settings allow; that of ``ssl:`` issues session tickets.

    Raises:
        OSError: a file cannot be read.
        ValueError: it does not hold what it should.
    """
    kind = description.partition(":")[0]
    positional, named = endpoint_arguments(description)
    if kind in ("tcp", "ssl"):
        named.setdefault("backlog", str(BACKLOG))
    if kind == "tcp" and "backlog=" not in description:
        return serverFromString(reactor, f"{description}:backlog={BACKLOG}")
    if kind != "ssl":
        return serverFromString(reactor, description)
    port = int(named.get("port") or positional[0])
    contexts = server_contexts(reactor, description)
    return SSL4ServerEndpoint(
        reactor, port, contexts, backlog=int(named["backlog"]), interface=named.get("interface", "")
    )


def server_contexts(reactor: Any, description: str) -> ServerContexts:
    """Return what an ``ssl:`` endpoint gives its connections; raises as ``server_endpoint`` does."""
    named = endpoint_arguments(description)[1]
    return ServerContexts(lambda: _options(named), reactor.seconds)


@implementer(IOpenSSLContextFactory)
class ServerContexts:
    """Gives each connection its context: one for all, made anew after ``KEY_LIFETIME``.

    Args:
        read: reads the files.
        seconds: a monotonic clock.
    """

    def __init__(self, read: Callable[[], CertificateOptions], seconds: Callable[[], float]) -> None:
        self._read = read
        self._seconds = seconds
        self._context: SSL.Context = read().getContext()
        self._renew_at = seconds() + KEY_LIFETIME

    def getContext(self) -> SSL.Context:  # noqa: N802 - the name of IOpenSSLContextFactory
        """The context for a connection that begins now."""
        if self._seconds() >= self._renew_at:
            self._renew_at = self._seconds() + KEY_LIFETIME
            try:
                self._context = self._read().getContext()
            except (OSError, ValueError, SSL.Error) as error:
                _log.error("TLS goes on with the certificate that it has, for the files are unusable: {why}", why=error)
        return self._context


def _options(named: dict[str, str]) -> CertificateOptions:
    """What the arguments of an ``ssl:`` endpoint say, as Twisted reads them."""
    key_file = Path(named.get("privateKey", "server.pem"))
    # The certificate, and those of its issuers where they are in the same file.
    certificate, *chain = load_pem_x509_certificates(Path(named.get("certKey", key_file)).read_bytes())
    if "extraCertChain" in named:
        chain += load_pem_x509_certificates(Path(named["extraCertChain"]).read_bytes())
    more: dict[str, Any] = {"privateKey": load_pem_private_key(key_file.read_bytes(), None), "certificate": certificate}
    if chain:
        more["extraCertChain"] = chain
    if "sslmethod" in named:
        more["method"] = getattr(SSL, named["sslmethod"])
    if "dhParameters" in named:
        more["dhParameters"] = DiffieHellmanParameters.fromFile(FilePath(named["dhParameters"]))
    # pyOpenSSL would have keys and certificates of this kind; Twisted, whose types know others only, passes them on.
    return CertificateOptions(enableSessionTickets=True, **more)
