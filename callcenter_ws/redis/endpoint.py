"""RedisEndpoint: makes connections to Redis over TCP, TLS or a Unix socket, directly or through Sentinel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.ssl import Certificate, optionsForClientTLS, platformTrust, trustRootFromCertificates
from twisted.python.failure import Failure
from zope.interface import implementer

from callcenter_ws.redis.address import Host, RedisAddress
from callcenter_ws.redis.connection import RedisConnection, RedisUnavailable, redis_reason
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.reactor import Reactor


@implementer(IStreamClientEndpoint)
class RedisEndpoint:
    """Connects to the Redis of an address; with sentinels, to the current master.

    Args:
        ca_file: PEM certificates by which a TLS server's certificate is verified; None: those of the system.
        timeout: seconds for making a connection, and for each answer of a sentinel.
        on_failure: called when a connection cannot be made, with the reason, which does not reveal where Redis is, and
            with the error's own text.
    """

    def __init__(
        self,
        reactor: Reactor,
        clock: Clock,
        address: RedisAddress,
        *,
        ca_file: Path | None,
        timeout: float,
        on_failure: Callable[[str, str], None],
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._address = address
        self._timeout = timeout
        self._on_failure = on_failure
        self._trust = _trust(ca_file) if address.tls else None
        self._sentinels = list(address.hosts) if address.master is not None else []

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803 - Twisted's name
        """Connect; fails if no connection can be made."""
        return Deferred.fromCoroutine(self._connect(protocolFactory)).addErrback(self._failed)

    def _failed(self, failure: Failure) -> Failure:
        self._on_failure(redis_reason(failure.value), str(failure.value))
        return failure

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        address = self._address
        if address.path is not None:
            endpoint: IStreamClientEndpoint = UNIXClientEndpoint(self._reactor, address.path, timeout=self._timeout)
        else:
            endpoint = self._endpoint(await self._master() if address.master is not None else address.hosts[0])
        protocol: IProtocol = await endpoint.connect(factory)
        return protocol

    def _endpoint(self, host: Host) -> IStreamClientEndpoint:
        name, port = host
        plain = HostnameEndpoint(self._reactor, name, port, timeout=self._timeout)
        if self._trust is None:
            return plain
        return wrapClientTLS(optionsForClientTLS(name, trustRoot=self._trust), plain)

    async def _master(self) -> Host:
        """Ask one sentinel after the other for the master; start with the last one that knew it."""
        failure: Exception = RedisUnavailable("there are no sentinels")
        for sentinel in list(self._sentinels):
            try:
                found = await self._ask(sentinel)
            except (CancelledError, ConnectingCancelledError):
                raise
            except Exception as error:  # whatever the reason, the next sentinel may answer
                failure = error
                continue
            if found is not None:
                self._sentinels.remove(sentinel)
                self._sentinels.insert(0, sentinel)
                return found
            failure = RedisUnavailable(f"the sentinels know no master {self._address.master!r}")
        raise failure

    async def _ask(self, sentinel: Host) -> Host | None:
        connection = await connectProtocol(self._endpoint(sentinel), RedisConnection(self._clock, self._timeout))
        try:
            found = await connection.send("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.master or "")
        finally:
            connection.abort("the sentinel has answered")
        return None if found is None else (found[0].decode(), int(found[1]))


def _trust(ca_file: Path | None) -> Any:  # an interface that Twisted does not export
    """Return the trust root.

    Raises:
        OSError, ValueError: the file cannot be read, or holds no PEM certificate.
    """
    if ca_file is None:
        return platformTrust()
    marker = b"-----BEGIN CERTIFICATE-----"
    parts = ca_file.read_bytes().split(marker)[1:]
    if not parts:
        raise ValueError(f"{ca_file} holds no PEM certificate")
    return trustRootFromCertificates([Certificate.loadPEM(marker + part) for part in parts])
