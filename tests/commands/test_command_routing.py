"""Which source carries out a command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from callcenter_ws.commands.routing import configured_source, route
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import COMMANDS
from callcenter_ws.interfaces import CommandSource

HANGUP, ORIGINATE, STATE = (COMMANDS[name] for name in ("call.hangup", "call.originate", "agent.state.set"))
BOTH = ("call.hangup", "call.originate", "agent.state.set")


def source(name: str, *capabilities: str, connected: bool = True) -> CommandSource:
    return CommandSource("*", name, capabilities or BOTH, connected)


@pytest.mark.parametrize(
    ("type_", "sources", "owners", "configured", "expected"),
    [
        (ORIGINATE, [], [], {}, ErrorCode.NO_SOURCE),
        (ORIGINATE, [source("a", "chats")], [], {}, ErrorCode.NO_SOURCE),
        (ORIGINATE, [source("a"), source("b", "chats")], [], {}, "a"),
        (ORIGINATE, [source("a", connected=False)], [], {}, ErrorCode.SOURCE_DOWN),
        (ORIGINATE, [source("a"), source("b")], [], {}, ErrorCode.UNSUPPORTED),
        (ORIGINATE, [source("a"), source("b")], [], {"call.*": "b"}, "b"),
        (ORIGINATE, [source("a"), source("b")], [], {"call.*": "c"}, ErrorCode.UNSUPPORTED),
        (ORIGINATE, [source("a"), source("b", connected=False)], [], {"call.*": "b"}, ErrorCode.SOURCE_DOWN),
        # A call is carried on by who began it.
        (HANGUP, [source("a"), source("b")], ["b"], {"call.*": "a"}, "b"),
        (HANGUP, [source("a"), source("b", "chats")], ["b"], {}, ErrorCode.UNSUPPORTED),
        (HANGUP, [source("a"), source("b", connected=False)], ["b"], {}, ErrorCode.SOURCE_DOWN),
        (HANGUP, [source("a")], ["forgotten"], {}, "a"),
        # An agent is not bound to who told of its login.
        (STATE, [source("a"), source("crm", "chats")], ["crm"], {}, "a"),
        (STATE, [source("a"), source("b")], ["crm", "b"], {}, "b"),
    ],
)
def test_the_source(
    type_: object,
    sources: Sequence[CommandSource],
    owners: Sequence[str],
    configured: Mapping[str, str],
    expected: str | ErrorCode,
) -> None:
    try:
        found: str | ErrorCode = route(type_, sources, owners, configured).name
    except Refusal as refusal:
        found = refusal.code
    assert found == expected


def test_the_most_exact_setting_counts() -> None:
    settings = {"call.*": "a", "call.consult.*": "b", "call.consult.cancel": "c"}
    names = ("call.hangup", "call.consult.complete", "call.consult.cancel", "agent.state.set")
    assert [configured_source(name, settings) for name in names] == ["a", "b", "c", None]
