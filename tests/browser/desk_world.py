"""A gateway whose page /desk is opened through a line, and visitors who are connected to it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "faults"))

from browser_driver import Context, Tab
from line import Line
from restartable import RestartableGateway
from websockets.sync.client import connect

SETTINGS = """
[public]
enabled = true

[commands]
enabled = true

[tenants.acme.statistics]
enabled = true
"""
BEFORE = """
const fetchFromNetwork = window.fetch;
const signedIn = %s;
window.fetch = (path, options) =>
  path === "/session/token" ? Promise.resolve(new Response(signedIn)) : fetchFromNetwork(path, options);
"""
LIVE = "document.querySelector('.link')?.dataset.state === 'live'"


class Visitor:
    """A visitor of the site, connected to ``/ws/public``.

    Args:
        gateway: the gateway.
        session: the id of the chat session.
        name: the name in the token.
    """

    def __init__(self, gateway: RestartableGateway, session: str, name: str | None = "Vera Visitor") -> None:
        self.session = session
        self._ids = 0
        token = gateway.token("visitor", sub=f"visitor-{session}", session_id=session, name=name)
        url = f"ws://127.0.0.1:{gateway.port}/ws/public"
        self._socket = connect(url, subprotocols=["callcenter.v1", f"bearer.{token}"], legacy=True)
        self.receive(lambda message: message["type"] == "welcome")

    def receive(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the next message that fulfils a condition."""
        while True:
            message: dict[str, Any] = json.loads(self._socket.recv(timeout=30))
            if condition(message):
                return message

    def request(self, type_: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Send a message and return its answer."""
        self._ids += 1
        self._socket.send(json.dumps({"type": type_, "id": str(self._ids), "payload": payload}))
        return self.receive(lambda message: message.get("in_reply_to") == str(self._ids))

    def write(self, body: str) -> dict[str, Any]:
        """Write into the chat."""
        answer = self.request("chat.message", {"session_id": self.session, "body": body})
        assert answer["type"] == "accepted", answer
        return answer

    def send(self, type_: str, **payload: Any) -> None:
        """Send a message that is not answered."""
        self._socket.send(json.dumps({"type": type_, "payload": {"session_id": self.session, **payload}}))

    def read(self, body: str) -> dict[str, Any]:
        """Return the message with this body, once it has come."""
        return self.receive(lambda message: message["type"] == "chat.message" and message["payload"]["body"] == body)

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


class DeskWorld:
    """A gateway, and a line to it by which pages are opened.

    Args:
        folder: for the gateway; it is made.
        settings: additional text of the TOML file.
        amp: additional text of its section ``[amp]``.
    """

    def __init__(self, folder: Path, settings: str = SETTINGS, *, amp: str = "") -> None:
        folder.mkdir()
        self.gateway = RestartableGateway(folder, settings)
        config = self.gateway.config
        config.write_text(config.read_text().replace("[amp]\n", f"[amp]\n{amp}"))
        self.gateway.start()
        self.line = Line(self.gateway.port)

    def close(self) -> None:
        """End everything and check the log."""
        self.line.close()
        if self.gateway.process is not None:
            self.gateway.end()
        assert "Traceback" not in self.gateway.log, self.gateway.log

    def open(
        self, context: Context, user: str = "ana", name: str = "Ana Agent", *, before: str = "", **claims: Any
    ) -> Tab:
        """Open the desk of an agent, and wait until it is live."""
        token = self.gateway.token("agent", sub=user, name=name, **claims)
        body = json.dumps(json.dumps({"token": token}))
        tab = context.open(f"http://127.0.0.1:{self.line.port}/desk", before=BEFORE % body + before)
        tab.keep_visible()
        tab.wait_for(LIVE)
        return tab

    def publish(self, type_: str, payload: dict[str, Any], **more: Any) -> int:
        """Publish an event and return its position."""
        status, answer = self.gateway.publish([{"tenant_id": "acme", "type": type_, "payload": payload, **more}])
        assert status == 200 and "seq" in answer["results"][0], answer
        seq: int = answer["results"][0]["seq"]
        return seq

    def assign(self, session: str, user: str = "ana", **fields: Any) -> None:
        """Publish that a chat session has started, with an agent."""
        self.publish("chat.session.started", {"session_id": session, "agent_id": user, **fields})

    def say(self, session: str, body: str, **fields: Any) -> None:
        """Publish a message of a visitor, or another sender."""
        sender = {"sender_id": "v", "sender_type": "visitor", "message_id": f"m{self._number()}", **fields}
        self.publish("chat.message", {"session_id": session, "body": body, **sender})

    _messages = 0

    def _number(self) -> int:
        self._messages += 1
        return self._messages


def open_desk(context: Context, port: int, token: str) -> Tab:
    """Open the desk of the user of a token, and wait until it is live."""
    body = json.dumps(json.dumps({"token": token}))
    tab = context.open(f"http://127.0.0.1:{port}/desk", before=BEFORE % body)
    tab.keep_visible()
    tab.wait_for(LIVE)
    return tab


def wait_for_text(tab: Tab, selector: str, text: str) -> None:
    """Wait until an element that a selector finds has a text."""
    has_text = f"(one) => one.textContent.includes({json.dumps(text)})"
    tab.wait_for(f"[...document.querySelectorAll({json.dumps(selector)})].some({has_text})")
