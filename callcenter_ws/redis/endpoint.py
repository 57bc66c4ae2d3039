"""How a connection to Redis is made: over TCP, TLS or a unix socket, and by way of sentinels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, optionsForClientTLS, platformTrust, trustRootFromCertificates
from twisted.python.failure import Failure
from zope.interface import implementer

from callcenter_ws.redis.address import Host, RedisAddress
from callcenter_ws.redis.connection import RedisAway, RedisConnection, reason_of
from callcenter_ws.runtime.clock import Clock


@implementer(IStreamClientEndpoint)
class RedisEndpoint:
    """Connects to the Redis of an address; to the one that is master now, where sentinels tell.

    Args:
        ca_file: PEM certificates that a TLS peer's has to come from; None: the system's.
        timeout: seconds for a connection, and for each answer of a sentinel.
        failed: whenever a connection cannot be made, is given the reason without saying where, and what else
            is known of it.
    """

    def __init__(
        self,
        reactor: Any,
        clock: Clock,
        address: RedisAddress,
        *,
        ca_file: Path | None,
        timeout: float,
        failed: Callable[[str, str], None],
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._address = address
        self._timeout = timeout
        self._failed = failed
        self._trust = _trust(ca_file) if address.tls else None
        self._sentinels = list(address.hosts) if address.master is not None else []

    def connect(self, protocolFactory: Factory) -> Deferred[Any]:  # noqa: N803 - the name of IStreamClientEndpoint
        """Connect; fails when nobody answers."""
        return Deferred.fromCoroutine(self._connect(protocolFactory)).addErrback(self._tell)

    def _tell(self, failure: Failure) -> Failure:
        self._failed(reason_of(failure.value), str(failure.value))
        return failure

    async def _connect(self, factory: Factory) -> Any:
        address = self._address
        if address.path is not None:
            endpoint = UNIXClientEndpoint(self._reactor, address.path, timeout=self._timeout)
        else:
            endpoint = self._endpoint(await self._master() if address.master is not None else address.hosts[0])
        return await endpoint.connect(factory)

    def _endpoint(self, host: Host) -> Any:
        name, port = host
        plain: Any = HostnameEndpoint(self._reactor, name, port, timeout=self._timeout)
        if self._trust is None:
            return plain
        return wrapClientTLS(optionsForClientTLS(name, trustRoot=self._trust), plain)

    async def _master(self) -> Host:
        """Ask one sentinel after the other; the one that knew is asked first the next time."""
        failure: Exception = RedisAway("there are no sentinels")
        for sentinel in list(self._sentinels):
            try:
                found = await self._ask(sentinel)
            except Exception as error:  # whatever kept it from answering: the next one may
                failure = error
                continue
            if found is not None:
                self._sentinels.remove(sentinel)
                self._sentinels.insert(0, sentinel)
                return found
            failure = RedisAway(f"the sentinels know no master {self._address.master!r}")
        raise failure

    async def _ask(self, sentinel: Host) -> Host | None:
        connection = await connectProtocol(self._endpoint(sentinel), RedisConnection(self._clock, self._timeout))
        try:
            found = await connection.send("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.master or "")
        finally:
            connection.abort("the sentinel has answered")
        return None if found is None else (found[0].decode(), int(found[1]))


def _trust(ca_file: Path | None) -> Any:
    if ca_file is None:
        return platformTrust()
    marker = b"-----BEGIN CERTIFICATE-----"
    parts = ca_file.read_bytes().split(marker)[1:]
    if not parts:
        raise ValueError(f"{ca_file} holds no PEM certificate")
    return trustRootFromCertificates([Certificate.loadPEM(marker + part) for part in parts])
