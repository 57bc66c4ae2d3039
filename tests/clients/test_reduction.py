"""The browser client keeps the same state as the gateway: both reduce the same random streams."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sample_events import REQUIRED, event, principal

from callcenter_ws.broker.state import State
from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.event import Origin
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.visibility import may_see

STREAMS = 400
USER = "u"
SLOTS = {name: declared.slot for name, declared in CATALOGUE.items() if declared.slot}
NAMES = list(SLOTS)
KINDS = sorted({slot.kind for slot in SLOTS.values()})
IDS = ["a", "b", 7, "7", "\0", "é\u2028"]
IDENTIFYING = {"user_id", "unique_id", "queue_name", "session_id", "rule", "source"}
OPTIONAL = {"call": ("call_id",), "alert": ("queue_name", "source")}

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


class Node:
    """A process that reduces streams as the client does."""

    def __init__(self) -> None:
        command = ["node", str(Path(__file__).with_name("reduction.mjs"))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def reduce(self, stream: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(stream) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        self._process.communicate(timeout=30)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    process = Node()
    yield process
    process.end()


def publication(random: Random, name: str, ids: list[Any], seq: int) -> Publication:
    slot = SLOTS[name]
    payload: dict[str, Any] = {field: random.choice(ids) for field in sorted(IDENTIFYING & REQUIRED[name].keys())}
    for field in OPTIONAL.get(slot.kind, ()):
        if random.random() < 0.5:
            payload[field] = random.choice([None, *ids])
    if slot.while_true is not None:
        payload[slot.while_true] = random.random() < 0.6
    payload["note"] = random.choice(["", "\u2028é", "<b>"])
    # A chat that was started for another user alone has messages that are in the state because of what is not seen.
    users = [None, None, None, USER, USER] if slot.kind == "chat" else [None, None, None, USER, USER, "v"]
    user = random.choice(users)
    origin = Origin.GATEWAY if slot.lasting else Origin.PRODUCER
    return Publication(event(name, payload, event_id=f"e{seq}", user_id=user, origin=origin), seq)


def stream_of(random: Random) -> list[Publication]:
    """Return events of few entities, so that they fill and empty the same slots."""
    kinds = random.sample(KINDS, random.randint(1, 2))
    names = [name for name in NAMES if SLOTS[name].kind in kinds]
    ids = random.sample(IDS, random.randint(1, 3))
    return [publication(random, random.choice(names), ids, seq) for seq in range(1, random.randint(1, 60))]


def messages_of(publications: list[Publication], viewer: Principal) -> list[Any]:
    """Return what a client is sent of these publications."""
    return [json.loads(found.body(viewer.view)) for found in publications if may_see(viewer, found.event)]


@pytest.mark.parametrize("role", [Role.SUPERVISOR, Role.WALLBOARD])
def test_the_client_keeps_the_state_of_the_gateway(node: Node, role: Role) -> None:
    """From an empty state, and over a snapshot anywhere; with the events for the user in the mailbox, and without."""
    viewer = principal(role, USER)
    for seed in range(STREAMS):
        random = Random(seed)
        chat_messages = random.randint(1, 10)
        state = State(chat_messages)
        publications = stream_of(random)
        for found in publications:
            state.apply(found)
        seen = random.randint(0, len(publications))
        later = messages_of(publications[seen:], viewer)
        mailbox = [message for message in later if message.get("user_id") == USER] if seed % 2 else []
        reduced = node.reduce(
            {
                "chat_messages": chat_messages,
                "before": messages_of(publications[:seen], viewer),
                "mailbox": mailbox,
                "messages": [message for message in later if message not in mailbox],
                "head": len(publications),
            }
        )
        for message in reduced["events"]:
            message.pop("offline", None)
        expected = sorted(messages_of(state.publications(), viewer), key=itemgetter("seq"))
        assert reduced == {"events": expected, "seq": len(publications)}, f"seed {seed}"
