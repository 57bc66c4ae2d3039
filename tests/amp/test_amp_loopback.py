"""The AMP server on real sockets, for what an in-memory transport cannot test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from amp_doubles import LoopbackGateway, until
from twisted.internet import reactor
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols import amp

from callcenter_ws.amp import commands
from callcenter_ws.runtime.transports import buffered_bytes, unsent_bytes


@pytest_twisted.async_yield_fixture
async def gateway() -> AsyncIterator[LoopbackGateway]:
    gateway = LoopbackGateway(reactor)
    gateway.listen()
    yield gateway
    await gateway.close()


async def connect(endpoint: str, protocol: type[Protocol]) -> Any:
    factory = Factory.forProtocol(protocol)
    factory.noisy = False
    return await clientFromString(reactor, endpoint).connect(factory)


class Greedy(Protocol):
    """Sends many commands and never reads an answer."""

    lost = False

    def connectionMade(self) -> None:
        command = amp.AmpBox(_command=b"Ping", _ask=b"x" * 60_000).serialize()
        authenticate = amp.AmpBox(_command=b"Authenticate", _ask=b"1", token=b"a-shared-secret-of-the-tests")
        self.transport.write(authenticate.serialize() + command * 500)
        self.transport.pauseProducing()

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True


@pytest_twisted.ensureDeferred
async def test_peer_that_never_reads_is_disconnected(
    gateway: LoopbackGateway, monkeypatch: pytest.MonkeyPatch, logged_warnings: Any
) -> None:
    monkeypatch.setattr("callcenter_ws.amp.protocol.READ_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr("callcenter_ws.amp.protocol._CLOSE_TIMEOUT_SECONDS", 0.1)
    second_peer = await connect(gateway.endpoint, amp.AMP)
    await second_peer.callRemote(commands.Authenticate, token="acme-service")
    greedy = await connect(gateway.endpoint, Greedy)
    await until(reactor, lambda: len(gateway.factory.sessions) == 2)
    await until(reactor, lambda: len(gateway.factory.sessions) == 1)
    greedy.transport.resumeProducing()
    await until(reactor, lambda: greedy.lost)
    (line,) = logged_warnings()
    assert "has read nothing for 1 s" in line
    assert (await second_peer.callRemote(commands.Ping))["node"] == "node-1"
    second_peer.transport.loseConnection()


class PausedReader(Protocol):
    """Reads nothing until the test resumes its transport."""

    def connectionMade(self) -> None:
        self.transport.pauseProducing()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_unsent_bytes_of_a_peer_that_does_not_read(gateway: LoopbackGateway, tmp_path: Path, kind: str) -> None:
    port = reactor.listenUNIX(str(tmp_path / "amp.sock"), gateway.factory, mode=0o660)
    peer = await connect(gateway.endpoint if kind == "tcp" else f"unix:{tmp_path}/amp.sock", PausedReader)
    await until(reactor, lambda: gateway.factory.sessions)
    (protocol,) = gateway.factory.sessions.values()
    assert unsent_bytes(protocol.transport) == 0
    protocol.transport.write(b"x" * 20_000_000)
    assert buffered_bytes(protocol.transport) == 20_000_000
    await until(reactor, lambda: unsent_bytes(protocol.transport) > buffered_bytes(protocol.transport) > 0)
    before = unsent_bytes(protocol.transport)
    peer.transport.resumeProducing()
    await until(reactor, lambda: unsent_bytes(protocol.transport) < before)
    await until(reactor, lambda: unsent_bytes(protocol.transport) == 0)
    peer.transport.abortConnection()
    await until(reactor, lambda: not gateway.factory.sessions)
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_last_answer_before_the_disconnection_is_delivered(gateway: LoopbackGateway) -> None:
    peer = await connect(gateway.endpoint, amp.AMP)
    answers = [peer.callRemote(commands.Authenticate, token="wrong") for _ in range(3)]
    for answer in answers:
        with pytest.raises(commands.Unauthenticated, match="signature: does not match any key"):
            await answer
    await until(reactor, lambda: peer.transport is None)


@pytest_twisted.ensureDeferred
async def test_peer_on_a_unix_socket_needs_no_token(gateway: LoopbackGateway, tmp_path: Path) -> None:
    port = reactor.listenUNIX(str(tmp_path / "amp.sock"), gateway.factory, mode=0o660)
    peer = await connect(f"unix:{tmp_path}/amp.sock", amp.AMP)
    assert (await peer.callRemote(commands.Ping))["node"] == "node-1"
    peer.transport.loseConnection()
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_peer_lost_with_events_in_flight(gateway: LoopbackGateway, logged_warnings: Any) -> None:
    gateway.broker.is_blocked = True
    peer = await connect(gateway.endpoint, amp.AMP)
    await peer.callRemote(commands.Authenticate, token="acme-service")
    call = {"tenant_id": "acme", "type": "call.hold", "payload": b'{"unique_id":"u"}'}
    answers = [peer.callRemote(commands.PublishEvent, **call) for _ in range(1500)]
    for answer in answers:
        answer.addErrback(lambda _: None)
    await until(reactor, lambda: len(gateway.broker.blocked) > 1000)
    peer.transport.abortConnection()
    await until(reactor, lambda: peer.transport is None)
    gateway.broker.unblock()
    await until(reactor, lambda: not gateway.factory.sessions)
    assert len(gateway.delivered) >= 1001
    assert logged_warnings() == []
