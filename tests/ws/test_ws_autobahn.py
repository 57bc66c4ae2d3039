"""The class attributes of TunedServerProtocol, compared with the attributes that Autobahn sets."""

from __future__ import annotations

from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol
from twisted.internet.testing import StringTransport
from ws_world import KEY, WebSocketWorld, encode, text

from callcenter_ws.ws.autobahn import INITIAL_ATTRIBUTES, handshake_response
from callcenter_ws.ws.factory import autobahn_options

OURS = {"factory", "transport", "connected", "log"}
LAZY = {"utf8validator"}
REPLACED = {"is_open", "is_closed", "trafficStats", "_transport_details", "send_queue", "_valid_events"}
"""Attributes with another value than Autobahn's, which is sufficient here."""


def upgraded_by_autobahn(world: WebSocketWorld) -> WebSocketServerProtocol:
    """Return Autobahn's protocol after its opening handshake."""
    plain: Any = type("Plain", (WebSocketServerProtocol,), {**autobahn_options(world.limits), "CONFIG_ATTRS": []})()
    plain.factory = world.factory
    plain.makeConnection(StringTransport())
    plain._wskey = KEY
    plain.websocket_version = 13
    plain.websocket_protocols, plain.websocket_extensions = [], []
    plain.succeedHandshake(None)
    return plain


def test_all_attributes_of_autobahn_are_covered(world: WebSocketWorld) -> None:
    there = vars(upgraded_by_autobahn(world)).keys() - OURS - LAZY - {"peer", "_wskey"}
    assert there - INITIAL_ATTRIBUTES.keys() == set()


@pytest.mark.parametrize("name", sorted(INITIAL_ATTRIBUTES.keys() - REPLACED))
def test_initial_values_equal_those_of_autobahn(world: WebSocketWorld, name: str) -> None:
    autobahns = vars(upgraded_by_autobahn(world))
    ours = world.client().transport.protocol
    if name not in autobahns or name in ("http_response_data", "autoPingPendingCall"):
        return
    there, here = autobahns[name], getattr(ours, name)
    assert here == (tuple(there) if isinstance(there, list) else there)


def test_a_change_on_one_connection_does_not_affect_others(world: WebSocketWorld) -> None:
    one, other = world.client(user="u1"), world.client(user="u2")
    one.feed(text("ping") + encode(8, b"\x03\xe8"))
    assert one.transport.protocol.wasClean
    assert not other.transport.protocol.wasClean
    assert {key: getattr(type(other.transport.protocol), key) for key in INITIAL_ATTRIBUTES} == dict(INITIAL_ATTRIBUTES)
    other.feed(text("ping"))
    assert [message["type"] for message in other.messages()] == ["pong"]


def test_an_idle_connection_has_few_instance_attributes(world: WebSocketWorld) -> None:
    assert len(vars(world.client().transport.protocol)) < 12


def test_the_response_equals_the_example_of_the_rfc() -> None:
    sent = handshake_response(
        "dGhlIHNhbXBsZSBub25jZQ==", server="x", subprotocol="chat", extension="permessage-deflate"
    )
    lines = sent.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 101 Switching Protocols"
    assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in lines
    assert "Sec-WebSocket-Protocol: chat" in lines
    assert "Sec-WebSocket-Extensions: permessage-deflate" in lines
    assert lines[-2:] == ["", ""]
