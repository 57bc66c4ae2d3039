"""The laws, each with events that keep it and events that break it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from callcenter_ws.bridge.laws import breaches
from callcenter_ws.bridge.outgoing import BridgeEvent
from callcenter_ws.runtime.json import JsonValue

START = 1_800_000_000.0

_REQUIRED: dict[str, dict[str, JsonValue]] = {
    "call.incoming": {"caller_id": "15550101", "destination": "5550800"},
    "call.abandoned": {"queue_name": "support"},
    "call.transferred": {"destination": "204"},
    "call.ended": {"duration": 100},
    "queue.joined": {"queue_name": "support"},
    "queue.left": {"queue_name": "support"},
    "agent.login": {"username": "Alice"},
    "agent.logout": {"username": "Alice"},
    "agent.state.changed": {"username": "Alice"},
    "queue.member.added": {"queue_name": "support"},
    "queue.member.removed": {"queue_name": "support"},
    "queue.member.paused": {"queue_name": "support"},
    "queue.member.unpaused": {"queue_name": "support"},
}

Told = tuple[str, str, dict[str, JsonValue]]


def of(type_: str, about: str = "1", **fields: JsonValue) -> Told:
    """Return an event about a call, else about a user."""
    return type_, about, fields


def told(*events: Told, seconds: Iterable[float] | None = None) -> list[BridgeEvent]:
    """Return events that are a second apart."""
    made = []
    times = list(seconds) if seconds is not None else range(len(events))
    for number, ((type_, about, fields), time) in enumerate(zip(events, times, strict=True)):
        is_call = type_.startswith(("call.", "queue.joined", "queue.left"))
        key = {"unique_id": about, "call_id": about} if is_call else {"user_id": about}
        payload = {**key, **_REQUIRED.get(type_, {}), **fields}
        made.append(BridgeEvent(type_, "acme", START + time, f"pbx1/{number}", payload))
    return made


INCOMING = of("call.incoming", direction="inbound")
JOINED = of("queue.joined")
RINGING = of("call.ringing", agent_id="201")
LEFT = of("queue.left", reason="answered", agent_id="201", wait_seconds=2)
ANSWERED = of("call.answered", agent_id="201")
ENDED = of("call.ended", talk_seconds=1, wait_seconds=2)
ABANDONED = of("call.abandoned", wait_seconds=1)
LEFT_ABANDONED = of("queue.left", reason="abandoned", wait_seconds=1)
LOGIN = of("agent.login", "201")
TALKING = of("agent.state.changed", "201", state="talking")
AVAILABLE = of("agent.state.changed", "201", state="available")
HOLD = of("call.hold", held_by="201")
UNHOLD = of("call.unhold", held_by="201")


def again(event: Told) -> Told:
    """Return the same event about another call."""
    return event[0], "2", event[2]


KEPT = {
    "a call through a queue": (LOGIN, INCOMING, JOINED, RINGING, LEFT, ANSWERED, TALKING, ENDED, AVAILABLE),
    "an abandoned call": (INCOMING, JOINED, LEFT_ABANDONED, ABANDONED, ENDED),
    "an abandoned call, told in the other order": (INCOMING, JOINED, ABANDONED, LEFT_ABANDONED, ENDED),
    "overflow": (INCOMING, JOINED, of("queue.left", reason="timeout"), JOINED, LEFT, ANSWERED, ENDED),
    "one call held, the other talked in": (INCOMING, ANSWERED, HOLD, again(INCOMING), again(ANSWERED)),
    "a call that ends on hold": (INCOMING, ANSWERED, HOLD, ENDED),
    "two rings of one agent": (INCOMING, RINGING, of("call.missed", agent_id="201"), RINGING),
    "a transfer": (INCOMING, ANSWERED, of("call.transferred", from_agent_id="201"), again(INCOMING), again(ANSWERED)),
    "an agent who has left a call that goes on": (
        LOGIN,
        INCOMING,
        ANSWERED,
        TALKING,
        AVAILABLE,
        again(INCOMING),
        again(ANSWERED),
    ),
    "an attended transfer": (
        INCOMING,
        ANSWERED,
        of("call.transferred", transfer_type="attended", from_agent_id="202", to_agent_id="201"),
        TALKING,
        ENDED,
        AVAILABLE,
    ),
    "the same agent twice in one call": (LOGIN, INCOMING, ANSWERED, TALKING, AVAILABLE, RINGING, ANSWERED, TALKING),
    "the same agent without a user twice in one call": (INCOMING, JOINED, LEFT, ANSWERED, JOINED, LEFT, ANSWERED),
    "an internal call": (
        of("call.incoming", direction="internal", channel="PJSIP/201-00000001"),
        of("call.answered", agent_id="202", direction="internal", channel="PJSIP/201-00000001"),
        TALKING,
        ENDED,
        AVAILABLE,
    ),
    "an end that was not seen": (
        INCOMING,
        JOINED,
        of("queue.left", reason="unknown", reconciled=True),
        of("call.ended", ended_by="unknown", reconciled=True),
    ),
    "a waiting call that is introduced": (
        of("call.incoming", reconciled=True),
        of("queue.joined", reconciled=True),
        of("queue.left", reason="abandoned", wait_seconds=90),
        ABANDONED,
        ENDED,
    ),
    "members": (
        of("queue.member.added", "201", paused=True),
        of("queue.member.unpaused", "201"),
        of("queue.member.paused", "201", reason="Lunch"),
        of("queue.member.paused", "201", reason="Coffee"),
        of("queue.member.removed", "201"),
        of("queue.member.added", "201"),
    ),
}

BROKEN = {
    "a second call.incoming": (INCOMING, INCOMING),
    "not introduced": (RINGING,),
    "an event of a call that has ended": (INCOMING, ENDED, RINGING),
    "a call that has ended": (INCOMING, ENDED, ENDED),
    "waits in the queue support already": (INCOMING, JOINED, JOINED),
    "does not wait in the queue": (INCOMING, LEFT),
    "has not left the queue": (INCOMING, JOINED, ENDED),
    "the caller has abandoned": (INCOMING, JOINED, LEFT_ABANDONED, ABANDONED, ANSWERED, ENDED),
    "was not waiting in this queue": (INCOMING, JOINED, LEFT, ANSWERED, ABANDONED),
    "for another reason": (INCOMING, JOINED, ABANDONED, LEFT),
    "there is no call.abandoned": (INCOMING, JOINED, LEFT_ABANDONED, ENDED),
    "talks in the call 1": (INCOMING, ANSWERED, again(INCOMING), again(ANSWERED)),
    "has answered this call already": (INCOMING, ANSWERED, ANSWERED),
    "201 talks in this call": (INCOMING, ANSWERED, of("call.missed", agent_id="201")),
    "held by 201 already": (INCOMING, ANSWERED, HOLD, HOLD),
    "there was no call.hold": (INCOMING, ANSWERED, UNHOLD),
    "wait_seconds is 50": (INCOMING, JOINED, of("queue.left", reason="timeout", wait_seconds=50)),
    "wait_seconds is -1": (INCOMING, JOINED, of("queue.left", reason="timeout", wait_seconds=-1)),
    "talk_seconds is 200": (INCOMING, ANSWERED, of("call.ended", talk_seconds=200)),
    "a call that was not answered": (INCOMING, of("call.ended", talk_seconds=50)),
    "whose end was not seen": (INCOMING, of("call.ended", talk_seconds=1, reconciled=True)),
    "it is not reconciled": (INCOMING, JOINED, of("queue.left", reason="unknown")),
    "the direction was inbound": (INCOMING, of("call.ringing", agent_id="201", direction="internal")),
    "the gateway would refuse it": (of("call.incoming", caller_id=None),),
    "talking without an answered call": (LOGIN, TALKING),
    "hold without an answered call": (LOGIN, INCOMING, of("agent.state.changed", "201", state="hold")),
    "logged in already": (LOGIN, LOGIN),
    "not logged in": (LOGIN, of("agent.logout", "201"), of("agent.logout", "201")),
    "nothing has changed": (LOGIN, AVAILABLE),
    "previous_state is break": (LOGIN, of("agent.state.changed", "201", state="away", previous_state="break")),
    "still talking": (INCOMING, ANSWERED, TALKING, ENDED, again(INCOMING), again(RINGING), again(ENDED), LOGIN),
    "a member already": (of("queue.member.added", "201"), of("queue.member.added", "201")),
    "no member any more": (of("queue.member.removed", "201"), of("queue.member.removed", "201")),
    "no member": (of("queue.member.removed", "201"), of("queue.member.paused", "201")),
}


@pytest.mark.parametrize("events", KEPT.values(), ids=KEPT.keys())
def test_kept(events: tuple[Told, ...]) -> None:
    assert [str(breach) for breach in breaches(told(*events))] == []


@pytest.mark.parametrize(("text", "events"), BROKEN.items(), ids=BROKEN.keys())
def test_broken(text: str, events: tuple[Told, ...]) -> None:
    assert text in "\n".join(str(breach) for breach in breaches(told(*events)))


def test_a_call_that_goes_on_at_the_end() -> None:
    events = told(INCOMING, ANSWERED, TALKING)
    assert breaches(events) == []
    texts = [breach.text for breach in breaches(events, is_idle=True)]
    assert texts == ["the call 1 has not ended", "agent 201 is talking"]


def test_an_id_that_is_not_unique() -> None:
    first, second = told(INCOMING, RINGING)
    repeated = BridgeEvent(second.type, "acme", second.time, first.event_id, second.payload)
    assert "event_id" in str(breaches([first, repeated])[0])


def test_a_ring_that_is_told_twice() -> None:
    assert "it rings at 201 already" in str(breaches(told(INCOMING, RINGING, RINGING, seconds=[0, 1, 1.1]))[0])
    assert breaches(told(INCOMING, RINGING, RINGING, seconds=[0, 1, 3])) == []


def test_a_time_that_goes_back() -> None:
    assert "3.000 s earlier" in str(breaches(told(INCOMING, RINGING, seconds=[3, 0]))[0])


def test_another_tenant() -> None:
    first, second = told(INCOMING, RINGING)
    other = BridgeEvent(second.type, "globex", second.time, second.event_id, second.payload)
    assert "a call of tenant acme" in str(breaches([first, other])[0])


def test_a_user_is_an_agent_of_each_tenant_apart() -> None:
    login, talking, logout = told(LOGIN, of("agent.state.changed", "201", state="busy"), of("agent.logout", "201"))
    others = [
        BridgeEvent(event.type, "globex", event.time, f"globex/{event.event_id}", event.payload)
        for event in (login, logout)
    ]
    assert breaches([login, others[0], talking, others[1], logout]) == []
    second = BridgeEvent("agent.login", "globex", START, "again", login.payload)
    assert "logged in already" in str(breaches([login, others[0], second])[0])


def test_a_new_name_is_a_change() -> None:
    again = of("agent.state.changed", "201", state="available", username="Alice Brown")
    assert breaches(told(LOGIN, again)) == []
    assert "nothing has changed" in str(breaches(told(LOGIN, again, again))[0])
