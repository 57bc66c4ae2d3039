"""A connection that is gone is freed at once, without the collector of garbage, which cannot see what OpenSSL holds."""

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
from ws_world import CLOSE, TEXT, Wire, World, encode, request, text

from callcenter_ws.errors import CloseCode


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    "frames",
    [
        (),
        (text("ping"), encode(TEXT, b"{"), text("subscribe", {"events": ["call.*"]}), text("snapshot")),
        (encode(CLOSE, b"\x03\xe8"),),
    ],
    ids=["idle", "busy", "closed"],
)
def test_a_plain_connection(world: World, frames: tuple[bytes, ...]) -> None:
    peer = world.client()
    protocol, client = weakref.ref(peer.wire.protocol), weakref.ref(peer.wire.protocol._client)
    for frame in frames:
        peer.feed(frame)
    peer.hang_up()
    del peer
    world.advance(10)
    assert (client(), protocol()) == (None, None)


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    "how",
    [
        lambda client: client.close(CloseCode.DRAINING),
        lambda client: client.pause(),
        lambda client: client.step_out(),
    ],
    ids=["drained", "paused", "apart"],
)
def test_a_connection_that_ends_in_the_midst_of_something(world: World, how: Callable[[Any], object]) -> None:
    peer = world.client()
    world.publish()
    client = weakref.ref(peer.wire.protocol._client)
    protocol = weakref.ref(peer.wire.protocol)
    how(client())
    peer.hang_up()
    del peer
    world.advance(10)
    assert (client(), protocol()) == (None, None)


@pytest.mark.usefixtures("no_collector")
def test_a_tls_connection(world: World) -> None:
    certificate, key = certificate_and_key()
    options = CertificateOptions(privateKey=key, certificate=certificate)  # type: ignore[arg-type]
    factory = TLSMemoryBIOFactory(options, False, world.site, world.time)  # type: ignore[arg-type]
    wire = Wire("192.0.2.1")
    wrapper: Any = factory.buildProtocol(None)  # type: ignore[arg-type]
    wrapper.makeConnection(wire)
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
                peer.send(request(Authorization="Bearer good:agent:acme:u1"))
            asked = True
        with contextlib.suppress(SSL.WantReadError):
            wrapper.dataReceived(peer.bio_read(65_536))
        world.turn()
        if wire.value():
            peer.bio_write(wire.value())
            wire.clear()
    client = weakref.ref(wrapper.wrappedProtocol._client)
    assert client() is not None
    # As a real transport does first.
    wire.unregisterProducer()
    wrapper.connectionLost(Failure(ConnectionDone()))
    del wrapper
    world.turn()
    assert client() is None
