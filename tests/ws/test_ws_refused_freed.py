"""A refused handshake leaves nothing for a garbage collection, which would stop everything for its duration."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator

import pytest
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from ws_world import TEXT, Peer, WebSocketWorld, encode, request, text

HANDSHAKES = 40

EXPIRED = "Bearer expired:acme:u1"
SUBPROTOCOL = "callcenter.v1"


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.unfreeze()
    gc.enable()


REFUSED = {
    "refused token, explained": (request(Authorization=EXPIRED, Sec_WebSocket_Protocol=SUBPROTOCOL),),
    "refused token": (request(Authorization=EXPIRED),),
    "no token": (request(),),
    "another origin": (request(Origin="https://evil.example", Authorization="Bearer agent:acme:u1"),),
    "a bad option": (request("/ws?events=unknown", Authorization="Bearer agent:acme:u1"),),
    "a bad option, explained": (
        request("/ws?events=unknown", Authorization="Bearer agent:acme:u1", Sec_WebSocket_Protocol=SUBPROTOCOL),
    ),
    "not a handshake": (request(drop=("Upgrade",)),),
    "another version": (request(Sec_WebSocket_Version="8"),),
    "an unknown tenant": (request("/ws/public?tenant_id=unknown", Sec_WebSocket_Protocol=SUBPROTOCOL),),
    "parsed by twisted.web": (request(Authorization=EXPIRED)[:30], request(Authorization=EXPIRED)[30:]),
    "refused auth message": (
        request(Sec_WebSocket_Protocol=SUBPROTOCOL),
        text("auth", {"token": "expired:acme:u1"}),
    ),
    "first message not JSON": (request(Sec_WebSocket_Protocol=SUBPROTOCOL), encode(TEXT, b"{")),
    "another path": (request("/other"),),
}


def lose(peer: Peer) -> None:
    """End a connection as Twisted's transport does."""
    protocol = peer.transport.protocol
    peer.transport.producer = None
    del peer.transport.protocol
    protocol.connectionLost(Failure(ConnectionDone()))


def garbage() -> Counter[str]:
    """Return the types of what a garbage collection finds, with the number of each, if it is that of handshakes."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        found = Counter(type(each).__name__ for each in gc.garbage)
        return Counter({name: count for name, count in found.items() if count >= HANDSHAKES})
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


@pytest.mark.usefixtures("no_garbage_collection")
@pytest.mark.parametrize("limited", [False, True], ids=["", "beyond the limit"])
@pytest.mark.parametrize("kind", REFUSED)
def test_a_refused_handshake(world: WebSocketWorld, kind: str, limited: bool) -> None:
    def handshakes(count: int) -> None:
        for _ in range(count):
            peer = world.peer()
            for data in REFUSED[kind]:
                peer.feed(data)
            lose(peer)
        del peer
        world.advance(10)

    handshakes(200 if limited else 1)
    # What the tests before have left is not examined.
    gc.freeze()
    handshakes(HANDSHAKES)
    assert garbage() == Counter()
