"""A closed connection is freed without a garbage collection, which does not account for OpenSSL's memory."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from OpenSSL import SSL
from tls_material import certificate_and_key
from twisted.internet.error import ConnectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from ws_world import CLOSE, TEXT, Transport, WebSocketWorld, encode, request, text

from callcenter_ws.errors import CloseCode


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_garbage_collection")
@pytest.mark.parametrize(
    "frames",
    [
        (),
        (text("ping"), encode(TEXT, b"{"), text("subscribe", {"events": ["call.*"]}), text("snapshot")),
        (encode(CLOSE, b"\x03\xe8"),),
    ],
    ids=["idle", "busy", "closed"],
)
def test_a_plain_connection(world: WebSocketWorld, frames: tuple[bytes, ...]) -> None:
    peer = world.client()
    protocol, client = weakref.ref(peer.transport.protocol), weakref.ref(peer.transport.protocol._client)
    for frame in frames:
        peer.feed(frame)
    peer.disconnect()
    del peer
    world.advance(10)
    assert (client(), protocol()) == (None, None)


@pytest.mark.usefixtures("no_garbage_collection")
@pytest.mark.parametrize(
    "how",
    [
        lambda client: client.close(CloseCode.DRAINING),
        lambda client: client.pause(),
        lambda client: client.outbox.detach(),
    ],
    ids=["drained", "paused", "detached"],
)
def test_a_connection_lost_in_another_state(world: WebSocketWorld, how: Callable[[Any], object]) -> None:
    peer = world.client()
    world.publish()
    client = weakref.ref(peer.transport.protocol._client)
    protocol = weakref.ref(peer.transport.protocol)
    how(client())
    peer.disconnect()
    del peer
    world.advance(10)
    assert (client(), protocol()) == (None, None)


@pytest.mark.usefixtures("no_garbage_collection")
def test_a_tls_connection(world: WebSocketWorld) -> None:
    certificate, key = certificate_and_key()
    options = CertificateOptions(privateKey=key, certificate=certificate)  # type: ignore[arg-type]
    factory = TLSMemoryBIOFactory(options, False, world.site, world.time)  # type: ignore[arg-type]
    transport = Transport("192.0.2.1")
    wrapper: Any = factory.buildProtocol(None)  # type: ignore[arg-type]
    wrapper.makeConnection(transport)
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    peer = SSL.Connection(context, None)
    peer.set_connect_state()
    asked = False
    for _ in range(6):
        try:
            peer.do_handshake()
        except SSL.WantReadError:
            pass
        else:
            if not asked:
                peer.send(request(Authorization="Bearer agent:acme:u1"))
            asked = True
        with contextlib.suppress(SSL.WantReadError):
            wrapper.dataReceived(peer.bio_read(65_536))
        world.turn()
        if transport.value():
            peer.bio_write(transport.value())
            transport.clear()
    client = weakref.ref(wrapper.wrappedProtocol._client)
    assert client() is not None
    # A real transport does this first.
    transport.unregisterProducer()
    wrapper.connectionLost(Failure(ConnectionDone()))
    del wrapper
    world.turn()
    assert client() is None
