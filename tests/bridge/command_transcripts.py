"""Transcripts of commands at a real Asterisk 22.10.1, and the runner that they are replayed to.

``captures/commands-22.tar.xz`` holds, of each scenario, what the state machine and the runner were given, and what they
did, in order: lists, events, responses, commands, actions and outcomes, one JSON object a line. The phones were
scripted, and answered after 0.7 s; that of 203 only rang.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from asterisk_captures import SETTINGS
from msgspec.structs import replace

from callcenter_ws.bridge.asterisk.commands.catalogue import PROOFS
from callcenter_ws.bridge.asterisk.commands.checked_command import check_command
from callcenter_ws.bridge.asterisk.commands.exchange_state import ExchangeState
from callcenter_ws.bridge.asterisk.commands.runner import Runner
from callcenter_ws.bridge.asterisk.machine import AsteriskMachine
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.snapshot import AmiSnapshot
from callcenter_ws.bridge.outgoing import BridgeEvent
from callcenter_ws.bridge.settings import CommandSettings
from callcenter_ws.remote import CommandFailed

ARCHIVE = Path(__file__).parent / "captures" / "commands-22.tar.xz"
NAMES = ("calls", "consult", "desks", "originate", "redirect", "states")

COMMANDS = CommandSettings(
    enabled=True,
    context="internal",
    monitor_context="listen",
    device="PJSIP/{extension}",
    hot_desks=("204",),
    queues=("support", "vip"),
    login_queues=("support",),
    consult=True,
    record_folder="/tmp/rec17",
)
"""The settings with which the transcripts were made."""

SOURCE = replace(SETTINGS, agent_pattern="PJSIP/(?P<user_id>[0-9]+)", agents={}, tenants=(), commands=COMMANDS)

Line = dict[str, Any]  # one entry of a transcript
Headers = Mapping[str, str]


@cache
def transcript(name: str) -> tuple[Line, ...]:
    """Return the entries of a scenario."""
    with tarfile.open(ARCHIVE) as archive:
        file = archive.extractfile(f"{name}.jsonl")
        assert file is not None
        return tuple(json.loads(line) for line in file.read().splitlines())


def outcomes_of(name: str) -> list[Line]:
    """Return the recorded outcomes of a scenario."""
    return [line["outcome"] for line in transcript(name) if "outcome" in line]


class Exchange:
    """A state machine with a runner, and the exchange that a test plays."""

    def __init__(self, settings: CommandSettings = COMMANDS, records: Mapping[str, bytes] | None = None) -> None:
        self.machine = AsteriskMachine(replace(SOURCE, commands=settings), records or {}, observed=PROOFS)
        self.now = 1_000.0
        self.arrived = 1_796_000_000.0
        self.actions: list[tuple[str, dict[str, str]]] = []
        self.ids: list[str] = []
        self.outcomes: list[Line] = []
        self.events: list[BridgeEvent] = []
        self.stored: dict[str, bytes | None] = {}
        self.bugs = 0
        self.changes = 0
        self.state = ExchangeState(self.machine, settings, "pbx1", lambda: self.now)
        self.runner = Runner(self.state, lambda: self.now, self._changed, self._bug)
        self.machine.observe = self.runner.observe
        self.next_id: Callable[[], str] = lambda: f"ours-{len(self.ids)}"

    def _changed(self) -> None:
        self.changes += 1

    def _bug(self) -> None:
        self.bugs += 1

    def send(self, name: str, *headers: tuple[str, str]) -> str:
        self.actions.append((name, dict(headers)))
        self.ids.append(self.next_id())
        return self.ids[-1]

    def connect(self, *actions: str, members: tuple[Headers, ...] = ()) -> None:
        """Begin a session with an exchange without calls, whose user may use some actions."""
        self.synchronize(members)
        self.runner.connected(self.send, "22.10.1")
        self.respond("Success", **dict.fromkeys(actions, "(Priv: x)"))

    def synchronize(self, members: tuple[Headers, ...], boot: str = "2026-11-30 16:23:35") -> None:
        messages = [AmiMessage(dict(headers), {}, "QueueMember", "") for headers in members]
        snapshot = AmiSnapshot(
            boot=boot, version="22.10.1", channels=[], bridges=[], queues=[], members=messages, entries=[]
        )
        self.machine.synchronize(snapshot, self.arrived)
        self.take()

    def respond(self, response: str, index: int = -1, **headers: str) -> None:
        """Answer an action, the last one unless ``index`` says otherwise."""
        self.runner.respond(AmiMessage({"ActionID": self.ids[index], **headers}, {}, "", response))

    def event(self, name: str, **headers: str) -> None:
        self.machine.handle(AmiMessage(headers, {}, name, ""), self.arrived)
        self.take()

    def take(self) -> None:
        """Take what the state machine has made."""
        unit = self.machine.take()
        self.events += unit.events
        self.stored.update(unit.records)

    def order(
        self,
        name: str,
        *,
        asker: str = "201",
        role: str = "agent",
        tenant_id: str = "acme",
        extension_claim: str | None = None,
        seconds: float = 5.0,
        **payload: object,
    ) -> None:
        """Begin a command; its outcome is added to ``outcomes``.

        Args:
            extension_claim: that of the asker's token.
        """
        try:
            order = check_command(name, tenant_id, asker, role, payload, self.now + seconds, extension_claim)  # type: ignore[arg-type]
        except CommandFailed as failure:
            self.finish(failure)
            return
        self.last = order
        self.runner.start(order, self.finish)

    def finish(self, outcome: object) -> None:
        self.take()
        self.events_at_outcome = list(self.events)
        if isinstance(outcome, CommandFailed):
            self.outcomes.append({"code": outcome.code.value, "message": outcome.message})
        else:
            self.outcomes.append({"data": outcome})

    @property
    def code(self) -> str:
        """The code of the last outcome; ``done`` if it has none."""
        return str(self.outcomes[-1].get("code", "done"))


class Replay(Exchange):
    """Replays a transcript, and compares each action with the recorded one.

    Args:
        without: the name of an event that is left out, of those that came while a command was carried out.
    """

    def __init__(self, name: str, without: str = "") -> None:
        super().__init__()
        self.lines = transcript(name)
        self.without = without
        self._expected = iter([line for line in self.lines if "action" in line])
        self.mismatches: list[tuple[object, object]] = []
        self.next_id = self._next_id

    def _next_id(self) -> str:
        expected = next(self._expected)
        name, headers = self.actions[-1]
        recorded = dict(expected["headers"])
        if "ChannelId" in recorded:
            headers["ChannelId"] = recorded["ChannelId"]
        # It depends on the moment.
        if "Timeout" in recorded:
            assert 0 < int(headers["Timeout"]) <= int(recorded["Timeout"]) + 1_000
            headers["Timeout"] = recorded["Timeout"]
        if (name, headers) != (expected["action"], recorded):
            self.mismatches.append(((name, headers), (expected["action"], recorded)))
        return str(expected["id"])

    def run(self) -> None:
        for line in self.lines:
            self.arrived = line.get("arrived", self.arrived)
            # The times of the transcript, by which a consultation has ended just now or not.
            self.now = self.arrived - 1_796_000_000
            if "members" in line:
                self.synchronize(tuple(line["members"]), line["boot"])
            elif "action" in line:
                if line["action"] == "ListCommands" and not self.actions:
                    self.runner.connected(self.send, "22.10.1")
            elif "response" in line:
                self.runner.respond(AmiMessage(line["headers"], {}, "", line["response"]))
            elif "order" in line:
                given = dict(line["order"])
                asker, claim, payload = given.pop("user_id"), given.pop("extension"), given.pop("payload")
                self.order(given.pop("name"), asker=asker, extension_claim=claim, **given, **payload)
            elif "event" in line and not (line["event"] == self.without and self.runner.running):
                self.event(line["event"], **line["headers"])
