"""The AMP server on real sockets: what an in-memory transport cannot show."""

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
from callcenter_ws.runtime.transports import held_bytes, unsent_bytes


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
    """Asks without end and never reads an answer."""

    lost = False

    def connectionMade(self) -> None:
        question = amp.AmpBox(_command=b"Ping", _ask=b"x" * 60_000).serialize()
        secret = amp.AmpBox(_command=b"Authenticate", _ask=b"1", token=b"a-shared-secret-of-the-tests")
        self.transport.write(secret.serialize() + question * 500)
        self.transport.pauseProducing()

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True


@pytest_twisted.ensureDeferred
async def test_a_peer_that_asks_and_never_reads_is_cut_off(
    gateway: LoopbackGateway, monkeypatch: pytest.MonkeyPatch, warnings_logged: Any
) -> None:
    monkeypatch.setattr("callcenter_ws.amp.protocol.READ_TIMEOUT", 0.2)
    monkeypatch.setattr("callcenter_ws.amp.protocol._HANG_UP_TIMEOUT", 0.1)
    bystander = await connect(gateway.endpoint, amp.AMP)
    await bystander.callRemote(commands.Authenticate, token="acme-service")
    greedy = await connect(gateway.endpoint, Greedy)
    await until(reactor, lambda: len(gateway.factory.sessions) == 2)
    await until(reactor, lambda: len(gateway.factory.sessions) == 1)
    greedy.transport.resumeProducing()
    await until(reactor, lambda: greedy.lost)
    (line,) = warnings_logged()
    assert "has read nothing for 0.2 s" in line
    assert (await bystander.callRemote(commands.Ping))["node"] == "node-1"
    bystander.transport.loseConnection()


class Late(Protocol):
    """Reads when it is told to."""

    def connectionMade(self) -> None:
        self.transport.pauseProducing()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_what_the_peer_has_not_read_can_be_told(gateway: LoopbackGateway, tmp_path: Path, kind: str) -> None:
    port = reactor.listenUNIX(str(tmp_path / "amp.sock"), gateway.factory, mode=0o660)
    peer = await connect(gateway.endpoint if kind == "tcp" else f"unix:{tmp_path}/amp.sock", Late)
    await until(reactor, lambda: gateway.factory.sessions)
    (connection,) = gateway.factory.sessions.values()
    assert unsent_bytes(connection.transport) == 0
    connection.transport.write(b"x" * 20_000_000)
    assert held_bytes(connection.transport) == 20_000_000
    await until(reactor, lambda: unsent_bytes(connection.transport) > held_bytes(connection.transport) > 0)
    before = unsent_bytes(connection.transport)
    peer.transport.resumeProducing()
    await until(reactor, lambda: unsent_bytes(connection.transport) < before)
    await until(reactor, lambda: unsent_bytes(connection.transport) == 0)
    peer.transport.abortConnection()
    await until(reactor, lambda: not gateway.factory.sessions)
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_the_last_answer_before_the_cut_is_delivered(gateway: LoopbackGateway) -> None:
    peer = await connect(gateway.endpoint, amp.AMP)
    answers = [peer.callRemote(commands.Authenticate, token="wrong") for _ in range(3)]
    for answer in answers:
        with pytest.raises(commands.Unauthenticated, match="the signature is wrong"):
            await answer
    await until(reactor, lambda: peer.transport is None)


@pytest_twisted.ensureDeferred
async def test_a_peer_on_a_unix_socket_needs_no_token(gateway: LoopbackGateway, tmp_path: Path) -> None:
    port = reactor.listenUNIX(str(tmp_path / "amp.sock"), gateway.factory, mode=0o660)
    peer = await connect(f"unix:{tmp_path}/amp.sock", amp.AMP)
    assert (await peer.callRemote(commands.Ping))["node"] == "node-1"
    peer.transport.loseConnection()
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_peer_that_vanishes_with_events_in_flight_costs_nothing(
    gateway: LoopbackGateway, warnings_logged: Any
) -> None:
    gateway.broker.closed = True
    peer = await connect(gateway.endpoint, amp.AMP)
    await peer.callRemote(commands.Authenticate, token="acme-service")
    call = {"tenant_id": "acme", "type": "call.hold", "payload": b'{"unique_id":"u"}'}
    answers = [peer.callRemote(commands.PublishEvent, **call) for _ in range(1500)]
    for answer in answers:
        answer.addErrback(lambda _: None)
    await until(reactor, lambda: len(gateway.broker.waiting) > 1000)
    peer.transport.abortConnection()
    await until(reactor, lambda: peer.transport is None)
    gateway.broker.open()
    await until(reactor, lambda: not gateway.factory.sessions)
    assert len(gateway.delivered) >= 1001
    assert warnings_logged() == []
