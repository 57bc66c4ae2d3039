"""What Autobahn would set on each connection, and what is on the class here in its place."""

from __future__ import annotations

from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol
from twisted.internet.testing import StringTransport
from ws_world import KEY, World, encode, text

from callcenter_ws.ws.autobahn import INITIAL_ATTRIBUTES, answer
from callcenter_ws.ws.factory import autobahn_options

OURS = {"factory", "transport", "connected", "log"}
WHEN_NEEDED = {"utf8validator"}
OTHERWISE = {"is_open", "is_closed", "trafficStats", "_transport_details", "send_queue", "_valid_events"}
"""What stands for these does as much as is asked of it here."""


def upgraded_by_autobahn(world: World) -> WebSocketServerProtocol:
    """Autobahn's own protocol as it is when its handshake is done."""
    plain: Any = type("Plain", (WebSocketServerProtocol,), {**autobahn_options(world.limits), "CONFIG_ATTRS": []})()
    plain.factory = world.factory
    plain.makeConnection(StringTransport())
    plain._wskey = KEY
    plain.websocket_version = 13
    plain.websocket_protocols, plain.websocket_extensions = [], []
    plain.succeedHandshake(None)
    return plain


def test_a_connection_has_all_that_autobahn_would_give_it(world: World) -> None:
    there = vars(upgraded_by_autobahn(world)).keys() - OURS - WHEN_NEEDED - {"peer", "_wskey"}
    assert there - INITIAL_ATTRIBUTES.keys() == set()


@pytest.mark.parametrize("name", sorted(INITIAL_ATTRIBUTES.keys() - OTHERWISE))
def test_it_begins_as_with_autobahn(world: World, name: str) -> None:
    autobahns = vars(upgraded_by_autobahn(world))
    ours = world.client().wire.protocol
    if name not in autobahns or name in ("http_response_data", "autoPingPendingCall"):
        return
    there, here = autobahns[name], getattr(ours, name)
    assert here == (tuple(there) if isinstance(there, list) else there)


def test_what_begins_equal_for_all_is_changed_for_one_only(world: World) -> None:
    one, other = world.client(user="u1"), world.client(user="u2")
    one.feed(text("ping") + encode(8, b"\x03\xe8"))
    assert one.wire.protocol.wasClean
    assert not other.wire.protocol.wasClean
    assert {key: getattr(type(other.wire.protocol), key) for key in INITIAL_ATTRIBUTES} == dict(INITIAL_ATTRIBUTES)
    other.feed(text("ping"))
    assert [message["type"] for message in other.messages()] == ["pong"]


def test_an_idle_connection_holds_little_of_its_own(world: World) -> None:
    assert len(vars(world.client().wire.protocol)) < 12


def test_the_answer_is_that_of_the_rfc() -> None:
    sent = answer("dGhlIHNhbXBsZSBub25jZQ==", server="x", subprotocol="chat", extension="permessage-deflate")
    lines = sent.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 101 Switching Protocols"
    assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in lines
    assert "Sec-WebSocket-Protocol: chat" in lines
    assert "Sec-WebSocket-Extensions: permessage-deflate" in lines
    assert lines[-2:] == ["", ""]
