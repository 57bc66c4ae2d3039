"""A gateway whose page /supervisor is opened through a line, with agents, calls, and a source of commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from answering_source import AnsweringSource
from browser_driver import Context, Tab
from desk_world import BEFORE, DeskWorld

SETTINGS = """
[public]
enabled = true

[commands]
enabled = true

[tenants.acme.statistics]
enabled = true

[[tenants.acme.alerts]]
name = "calls wait"
queues = ["sales"]
metric = "calls_waiting"
raise = { above = 2, for = 0 }
"""
LEASE_SECONDS = 2
COMMANDS = ("agent.state.set", "call.hangup", "call.monitor")
LIVE = "document.querySelector('.link')?.dataset.state === 'live'"
KEYS = "[...document.querySelectorAll('.list tbody tr[data-key]')].map((one) => one.dataset.key)"


class SupervisorWorld(DeskWorld):
    """The gateway, the line, and agents: Ada talks in sales, Bob is on a break, Eve is free."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, SETTINGS, amp=f"source_lease = {LEASE_SECONDS}\n")
        self.source: AnsweringSource | None = None
        for user, name, queues in (("ada", "Ada", ["sales"]), ("bob", "Bob", ["support"]), ("eve", "Eve", ["sales"])):
            self.publish("agent.login", {"user_id": user, "username": name, "extension": f"10{user}", "queues": queues})
            for queue in queues:
                self.publish("queue.member.added", {"queue_name": queue, "user_id": user, "username": name})
        self.state("bob", "Bob", "break", reason="lunch")
        self.state("eve", "Eve", "available")
        self.talk("c1", "ada", "Ada")

    def start_source(self) -> AnsweringSource:
        """Start the source that takes commands."""
        self.source = AnsweringSource(self.gateway.amp_path, COMMANDS)
        return self.source

    def close(self) -> None:
        """End everything and check the log."""
        if self.source is not None:
            self.source.close()
        super().close()

    def show(self, context: Context, fragment: str = "", role: str = "supervisor", **claims: Any) -> Tab:
        """Open the page of a supervisor, and wait until it is live."""
        token = self.gateway.token(role, sub="sue", name="Sue", **claims)
        body = json.dumps(json.dumps({"token": token}))
        tab = context.open(f"http://127.0.0.1:{self.line.port}/supervisor{fragment}", before=BEFORE % body)
        tab.keep_visible()
        tab.resize(1400, 900)
        tab.wait_for(LIVE)
        return tab

    def state(self, user: str, name: str, state: str, **fields: Any) -> int:
        """Publish the state of an agent."""
        return self.publish("agent.state.changed", {"user_id": user, "username": name, "state": state, **fields})

    def wait_in(self, queue: str, call: str, caller: str) -> int:
        """Publish that a call waits in a queue."""
        fields = {"unique_id": call, "caller_id": caller, "caller_name": f"Caller {caller}"}
        self.publish("call.incoming", {**fields, "destination": "800"})
        return self.publish("queue.joined", {**fields, "queue_name": queue, "position": 1})

    def talk(self, call: str, user: str, name: str, queue: str = "sales") -> int:
        """Publish that an agent answers a new call."""
        self.wait_in(queue, call, f"555-{call}")
        agent = {"agent_id": user, "agent_name": name}
        self.publish("call.answered", {"unique_id": call, "queue_name": queue, "wait_seconds": 4, **agent})
        return self.state(user, name, "talking")

    def end(self, call: str, **fields: Any) -> int:
        """Publish the end of a call."""
        return self.publish("call.ended", {"unique_id": call, "duration": 9, **fields})


def go(tab: Tab, fragment: str) -> None:
    """Go to a section or to details, as a link does."""
    tab.evaluate(f"location.hash = {json.dumps(fragment)}")


def press(tab: Tab, key: str) -> None:
    """Press a key that writes a character, or an arrow key."""
    text = {"text": key} if len(key) == 1 else {}
    tab.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
    tab.call("Input.dispatchKeyEvent", type="keyUp", key=key)


def point(tab: Tab, selector: str | None) -> None:
    """Move the mouse over an element, or to where there is none."""
    place = [2, 2]
    if selector is not None:
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        place = tab.evaluate(f"(({{ x, y, width, height }}) => [x + width / 2, y + height / 2])({box})")
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])
