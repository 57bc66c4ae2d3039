"""An agent's desk with a phone system: a source over AMP that publishes what happens and takes commands."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "integration"))

from browser_driver import Context, Tab
from desk_world import DeskWorld
from raw_source import RawSource

SETTINGS = """
[commands]
enabled = true
dispositions = [{ code = "sold", label = "Sold" }, { code = "later", label = "Calls back" }]
destinations = [
    { name = "Night desk", destination = "0" },
    { name = "Second floor", destination = "600", queue_name = "retail" },
]

[tenants.acme.statistics]
enabled = true
"""
COMMANDS = (
    "agent.state.set",
    "call.answer",
    "call.hangup",
    "call.hold",
    "call.unhold",
    "call.transfer",
    "call.consult",
    "call.consult.complete",
    "call.consult.cancel",
    "call.originate",
    "call.record",
)
_INSTANCE = "a process of the phone system"
_NUMBERS = itertools.count(1)


class Exchange:
    """The phone system of the tests.

    Args:
        world: the gateway.
    """

    def __init__(self, world: DeskWorld) -> None:
        self.world = world
        self.connect()

    def connect(self) -> None:
        """Connect, for the first time or again."""
        self.source = RawSource(self.world.gateway.amp_path)
        # Another process than before would have to wait until the source of the former one is given up.
        self.source.instance = _INSTANCE
        assert b"_error_code" not in self.source.hello(*COMMANDS)
        assert b"_error_code" not in self.source.subscribe()

    def close(self) -> None:
        """End the connection."""
        self.source.close()

    def publish(self, type_: str, **payload: Any) -> None:
        """Publish an event."""
        answer = self.source.publish(type_, payload, numbered=False)
        assert b"seq" in answer, answer

    def agent(self, user: str, name: str, extension: str, state: str = "available", **more: Any) -> None:
        """Have an agent sign in."""
        self.publish("agent.login", user_id=user, username=name, extension=extension, state=state, **more)

    def taken(self, name: str) -> dict[str, Any]:
        """Return the next command, which must be this one."""
        command = self.source.command()
        assert command["name"] == name, command
        return command

    def done(self, command: dict[str, Any]) -> None:
        """Say that a command was carried out."""
        self.source.tell(command, numbered=False)

    def fail(self, command: dict[str, Any], code: str, message: str = "") -> None:
        """Say that a command was not carried out."""
        self.source.tell(command, "failed", numbered=False, code=code, message=message)


class Desk:
    """The desk of one agent, who is available at an extension.

    Args:
        signed_in: whether the agent has signed in at the exchange.
        before: a script that runs in its pages before their own.
    """

    def __init__(self, exchange: Exchange, context: Context, *, signed_in: bool = True, before: str = "") -> None:
        number = next(_NUMBERS)
        self.user, self.extension = f"ana-{number}", str(2000 + number)
        self.world, self.exchange, self.context = exchange.world, exchange, context
        self._before = before
        if signed_in:
            exchange.agent(self.user, "Ana Agent", self.extension)
        self.tab = self.open()

    def open(self) -> Tab:
        """Open a tab with the desk."""
        return self.world.open(self.context, self.user, before=self._before, extension=self.extension)

    def check(self) -> None:
        """Check that no script has failed."""
        assert self.tab.csp_violations == []
        assert [error for error in self.tab.errors if "net::ERR_" not in error and "WebSocket" not in error] == []

    def call(self, **more: Any) -> Call:
        """Return a call that has not begun."""
        return Call(self, f"call-{next(_NUMBERS)}", more)

    def wait(self, selector: str, text: str = "") -> None:
        """Wait for an element, and for a text in it."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})]"
        self.tab.wait_for(f"{found}.some((one) => one.textContent.includes({json.dumps(text)}))")

    def wait_gone(self, selector: str) -> None:
        """Wait until there is no such element."""
        self.tab.wait_for(f"document.querySelector({json.dumps(selector)}) === null")

    def press(self, key: str, *, alt: bool = False) -> None:
        """Press a key: a letter, a digit, or one like ``F2``."""
        code = f"Key{key.upper()}" if key.isalpha() and len(key) == 1 else f"Digit{key}" if key.isdigit() else key
        text = {"text": key} if len(key) == 1 and not alt else {}
        fields = {"key": key, "code": code, "modifiers": 1 if alt else 0}
        self.tab.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **fields, **text)
        self.tab.call("Input.dispatchKeyEvent", type="keyUp", **fields)

    def click(self, selector: str) -> None:
        """Wait for an element and click it, wherever it is."""
        self.wait(selector)
        self.tab.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def focused(self) -> str:
        """Return the call whose card has the focus; empty if it is elsewhere."""
        call: str = self.tab.evaluate("document.activeElement.closest('[data-call]')?.dataset.call ?? ''")
        return call


class Call:
    """A call of one desk, and what the exchange says of it."""

    def __init__(self, desk: Desk, call_id: str, more: dict[str, Any]) -> None:
        self.id = call_id
        self._desk = desk
        self._fields = {
            "unique_id": call_id,
            "caller_id": "+4930123456",
            "caller_name": "Zoé Dupont",
            "destination": "800",
            "queue_name": "sales",
            "direction": "inbound",
            **more,
        }

    def at(self, selector: str = "", state: str = "") -> str:
        """Return a selector within its card, in a state."""
        return f'[data-call="{self.id}"]{f"[data-state={state}]" if state else ""} {selector}'.strip()

    def say(self, type_: str, **more: Any) -> None:
        """Publish an event of the call."""
        agent = {"agent_id": self._desk.user, "agent_name": "Ana Agent"}
        self._desk.exchange.publish(type_, **{**self._fields, **agent, **more})

    def ring(self) -> None:
        """Have the call wait in its queue and ring at the agent."""
        for type_ in ("call.incoming", "queue.joined"):
            self._desk.exchange.publish(type_, **self._fields)
        self.say("call.ringing")
        self.wait("ringing")

    def answer(self) -> None:
        """Have the call answered at the phone of the agent."""
        self.say("queue.left", reason="answered")
        self.say("call.answered", wait_seconds=3)

    def talk(self) -> None:
        """Have the call ring, and be answered."""
        self.ring()
        self.answer()
        self.wait("talking")

    def end(self) -> None:
        """Have the call end."""
        self.say("call.ended", duration=10)

    def wait(self, state: str) -> None:
        """Wait until its card shows a state."""
        self._desk.wait(self.at(state=state))

    def press(self, command: str) -> None:
        """Press the button of a command."""
        self._desk.click(self.at(f"[data-command='{command}']"))
