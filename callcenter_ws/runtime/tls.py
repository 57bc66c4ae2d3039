"""TLS of listening ports: certificates and session resumption.

Resumption with session tickets (RFC 8446 section 4.6.1) saves the expensive half of the handshake when thousands of
clients reconnect at once. Tickets are encrypted with a key that exists in this process only and is replaced after
``TICKET_KEY_LIFETIME_SECONDS``. The server stores no sessions, each resumption has a key exchange of its own, and no
data is accepted before the handshake is complete (no 0-RTT).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL import SSL
from twisted.internet.endpoints import TCP4ServerEndpoint, serverFromString
from twisted.internet.interfaces import IOpenSSLContextFactory, IStreamServerEndpoint
from twisted.internet.ssl import CertificateOptions, DiffieHellmanParameters
from twisted.logger import Logger
from twisted.python.filepath import FilePath
from zope.interface import implementer

from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.reactor import Reactor

TICKET_KEY_LIFETIME_SECONDS = 6 * 3_600.0
"""Seconds after which the key for tickets is replaced and the certificate files are read again."""

BACKLOG = 1_024
"""Connections that may wait to be accepted; the system's limit (net.core.somaxconn) is at least as high."""

_log = Logger()


def server_endpoint(reactor: Reactor, endpoint: EndpointDescription) -> IStreamServerEndpoint:
    """Return the Twisted endpoint of a checked description, without its TLS (``tls_turns``) and its PROXY protocol."""
    endpoint = endpoint.socket
    backlog = int(endpoint.options.get("backlog", BACKLOG))
    if endpoint.kind == "ssl":
        return TCP4ServerEndpoint(reactor, int(endpoint.port), backlog=backlog, interface=endpoint.interface)
    if endpoint.kind == "tcp" and "backlog" not in endpoint.options:
        endpoint = endpoint.with_option("backlog", str(BACKLOG))
    from_text: IStreamServerEndpoint = serverFromString(reactor, endpoint.text)
    return from_text


def server_contexts(endpoint: EndpointDescription) -> ServerContexts:
    """Return the TLS contexts of an ``ssl:`` endpoint, which issue session tickets.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file does not hold a certificate or a key.
    """
    return ServerContexts(lambda: server_context(endpoint), time.monotonic)


def server_context(endpoint: EndpointDescription) -> SSL.Context:
    """Return a new TLS context of an ``ssl:`` endpoint, with a new key for tickets; raises as ``server_contexts``."""
    try:
        return _options(endpoint).getContext()
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(f"its files cannot be used: {error}") from None
    except SSL.Error as error:
        if "key values mismatch" in str(error):
            files = f"{endpoint.private_key_file} is not the key of the certificate in {endpoint.certificate_file}"
            raise ValueError(files) from None
        raise ValueError(f"OpenSSL does not accept its files: {error}") from None


@implementer(IOpenSSLContextFactory)
class ServerContexts:
    """Provides the TLS context of all connections; replaces it after ``TICKET_KEY_LIFETIME_SECONDS``.

    If the files cannot be read then, the previous context remains in use until the next attempt. No ticket of one
    context is accepted by another: its client makes a full handshake, and is shown the present certificate.

    Args:
        read: returns a new context with the present contents of the files.
        monotonic: returns seconds of a monotonic clock.
    """

    def __init__(self, read: Callable[[], SSL.Context], monotonic: Callable[[], float]) -> None:
        self._read = read
        self._monotonic = monotonic
        self.replace(read())

    def replace(self, context: SSL.Context) -> None:
        """Use another context for new connections; open ones keep theirs."""
        self._context = context
        self._renew_at = self._monotonic() + TICKET_KEY_LIFETIME_SECONDS

    def getContext(self) -> SSL.Context:  # noqa: N802 - the name of IOpenSSLContextFactory
        """Return the context for a new connection."""
        if self._monotonic() >= self._renew_at:
            self._renew_at = self._monotonic() + TICKET_KEY_LIFETIME_SECONDS
            try:
                self._context = self._read()
            except (OSError, ValueError) as error:
                _log.error("cannot renew the TLS certificate, the previous one remains in use: {error}", error=error)
        return self._context

    @property
    def not_after(self) -> float | None:
        """The end of the validity of the certificate in use, in Unix seconds; None if there is none."""
        certificate = SSL.Connection(self._context).get_certificate(as_cryptography=True)
        return None if certificate is None else certificate.not_valid_after_utc.timestamp()


def _options(endpoint: EndpointDescription) -> CertificateOptions:
    """Read the files of an ``ssl:`` endpoint, whose options mean what they mean to Twisted."""
    options = endpoint.options
    # The file may also contain the certificates of the issuers.
    certificate, *chain = load_pem_x509_certificates(endpoint.certificate_file.read_bytes())
    if "extraCertChain" in options:
        chain += load_pem_x509_certificates(Path(options["extraCertChain"]).read_bytes())
    key = load_pem_private_key(endpoint.private_key_file.read_bytes(), None)
    more: dict[str, Any] = {"privateKey": key, "certificate": certificate}  # options of several types
    if chain:
        more["extraCertChain"] = chain
    if "sslmethod" in options:
        more["method"] = getattr(SSL, options["sslmethod"])
    if "dhParameters" in options:
        more["dhParameters"] = DiffieHellmanParameters.fromFile(FilePath(options["dhParameters"]))
    # Objects of `cryptography`, which pyOpenSSL expects. Twisted passes them on, but its annotations name other types.
    return CertificateOptions(enableSessionTickets=True, **more)
