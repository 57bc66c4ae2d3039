"""Who may have what done to what, by the state of the tenant."""

from __future__ import annotations

from typing import Any

import pytest
from command_world import CHOICES, POLICY, CommandWorld, person
from twisted.internet.defer import Deferred

from callcenter_ws.commands import subjects
from callcenter_ws.commands.policy import CommandPolicy
from callcenter_ws.errors import Refusal
from callcenter_ws.events.commands import COMMANDS
from callcenter_ws.events.principal import Principal, Role

BOSS, ADMIN, SERVICE = person("boss", Role.SUPERVISOR), person("root", Role.ADMIN), person("crm", Role.SERVICE)
SALES, SUPPORT = (person("boss", Role.SUPERVISOR, queues=frozenset((name,))) for name in ("sales", "support"))
BOB = person("bob")


@pytest.fixture
def commands() -> CommandWorld:
    return CommandWorld()


@pytest.mark.parametrize("name", ["call.hangup", "call.transfer", "call.record", "call.hold", "call.consult.cancel"])
def test_the_agent_who_handles_a_call(commands: CommandWorld, name: str) -> None:
    commands.call("c1", "alice", queue_name="sales")
    fields = {"call.transfer": {"destination": "100"}, "call.record": {"action": "start"}}.get(name, {})

    def code(asker: Any) -> str:
        return commands.code(name, asker, call_id="c1", **fields)

    assert (code(person()), code(BOB)) == ("accepted", "not_allowed")
    own = COMMANDS[name].supervisors == "own"
    assert code(BOSS) == code(SALES) == ("not_allowed" if own else "accepted")
    assert code(SUPPORT) == "not_found"
    assert code(ADMIN) == code(SERVICE) == "accepted"
    assert code(person("w", Role.WALLBOARD)) == code(person("v", Role.VISITOR, session_id="s")) == "not_allowed"


def test_a_call_rings_at_several_phones_until_one_answers(commands: CommandWorld) -> None:
    commands.call("c1", None)
    for agent in ("alice", "bob", "carol"):
        commands.publish("call.ringing", unique_id="c1", agent_id=agent)
    commands.publish("call.missed", unique_id="c1", agent_id="carol")
    codes = [commands.code("call.hangup", person(name), call_id="c1") for name in ("alice", "bob", "carol", "dan")]
    assert codes == ["accepted", "accepted", "not_allowed", "not_allowed"]
    commands.publish("call.answered", unique_id="c1", agent_id="bob")
    assert commands.code("call.hangup", call_id="c1") == "not_allowed"
    assert commands.code("call.hangup", BOB, call_id="c1") == "accepted"


def test_a_call_that_is_transferred(commands: CommandWorld) -> None:
    commands.call("c1")
    commands.publish("call.hold", unique_id="c1", agent_id="alice", held_by="alice")
    assert commands.code("call.hangup", call_id="c1") == "accepted"
    moved = {"unique_id": "c1", "destination": "200", "from_agent_id": "alice", "agent_id": "alice"}
    commands.publish("call.transferred", transfer_type="blind", **moved)
    assert commands.code("call.hangup", call_id="c1") == "not_allowed"
    commands.publish("call.transferred", transfer_type="attended", to_agent_id="bob", **moved)
    assert [commands.code("call.hangup", asker, call_id="c1") for asker in (person(), BOB)] == [
        "not_allowed", "accepted",
    ]  # fmt: skip
    # Both have handled it.
    disposition = {"call_id": "c1", "code": "sold"}
    askers = (person(), BOB, person("carol"))
    codes = [commands.code("call.disposition", asker, **disposition) for asker in askers]
    assert codes == ["accepted", "accepted", "not_allowed"]


def test_a_disposition_of_a_call_that_was_transferred_on(commands: CommandWorld) -> None:
    """The state has the last answer and the last transfer only."""
    commands.call("c1", queue_name="sales")
    for sender, receiver in (("alice", "bob"), ("bob", "carol")):
        moved = {"from_agent_id": sender, "to_agent_id": receiver, "transfer_type": "blind"}
        commands.publish("call.transferred", unique_id="c1", caller_id="1", destination="200", **moved)
        commands.publish("call.answered", unique_id="c1", caller_id="1", agent_id=receiver)
    askers = (person(), BOB, person("carol"), person("dave"))
    codes = [commands.code("call.disposition", asker, call_id="c1", code="sold") for asker in askers]
    assert codes == ["accepted", "accepted", "accepted", "not_allowed"]


def test_the_agent_of_an_outbound_call(commands: CommandWorld) -> None:
    commands.publish(
        "call.incoming", unique_id="c1", caller_id="101", destination="+49301", direction="outbound", agent_id="alice"
    )
    assert commands.code("call.hangup", call_id="c1") == "accepted"
    assert commands.code("call.hangup", BOB, call_id="c1") == "not_allowed"


def test_a_call_that_the_asker_does_not_see_is_not_found() -> None:
    commands = CommandWorld(CommandPolicy(enabled=True, choices=CHOICES, agent_calls="own"))
    commands.call("c1")
    assert commands.code("call.hangup", BOB, call_id="c1") == "not_found"
    assert commands.code("call.hangup", call_id="c1") == "accepted"
    commands.publish("call.ended", unique_id="c1", duration=1)
    assert commands.code("call.disposition", BOB, call_id="c1", code="sold") == "not_found"
    assert commands.code("call.disposition", call_id="c1", code="sold") == "accepted"


def test_a_disposition_of_a_call_that_has_ended(commands: CommandWorld) -> None:
    commands.call("c1", queue_name="sales")
    commands.publish("call.ended", unique_id="c1", duration=1)

    def code(asker: Any = None) -> str:
        return commands.code("call.disposition", asker, call_id="c1", code="sold")

    assert commands.code("call.hangup", call_id="c1") == "not_found"
    assert [code(), code(BOB), code(BOSS), code(SUPPORT)] == ["accepted", "not_allowed", "accepted", "not_found"]
    commands.clock.advance(599)
    assert code() == "accepted"
    commands.clock.advance(2)
    assert code() == "not_found"


def test_states_and_memberships_of_others(commands: CommandWorld) -> None:
    commands.publish("queue.member.added", queue_name="sales", user_id="bob")

    def state(asker: Any, **fields: Any) -> str:
        return commands.code("agent.state.set", asker, state="away", **fields)

    assert [state(None), state(None, user_id="alice"), state(None, user_id="bob")] == [
        "accepted", "accepted", "not_allowed",
    ]  # fmt: skip
    assert [state(asker, user_id="bob") for asker in (BOSS, ADMIN, SERVICE, SALES, SUPPORT)] == [
        "accepted", "accepted", "accepted", "accepted", "not_allowed",
    ]  # fmt: skip

    def pause(asker: Any, queue: str, **fields: Any) -> str:
        return commands.code("queue.member.pause", asker, queue_name=queue, **fields)

    assert [pause(None, "sales"), pause(None, "sales", user_id="bob")] == ["accepted", "not_allowed"]
    assert [pause(SALES, "sales", user_id="bob"), pause(SALES, "support", user_id="bob")] == ["accepted", "not_allowed"]
    assert pause(SALES, "sales", user_id="carol") == "not_allowed"
    assert commands.code("queue.member.add", queue_name="sales") == "not_allowed"
    assert commands.code("queue.member.add", SALES, queue_name="support") == "not_allowed"


def test_memberships_in_many_queues_are_looked_for_in_several_turns(
    commands: CommandWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    boss = person("boss", Role.SUPERVISOR, queues=frozenset(f"queue{number}" for number in range(100)))
    entity, looked_up, next_turn = commands.broker.entity, [0], subjects.next_turn

    async def counted(tenant_id: str, key: Any) -> Any:
        looked_up[-1] += 1
        return await entity(tenant_id, key)

    def turned(clock: Any) -> Any:
        looked_up.append(0)
        return next_turn(clock)

    monkeypatch.setattr(commands.broker, "entity", counted)
    monkeypatch.setattr(subjects, "next_turn", turned)
    fields = {"name": "agent.state.set", "state": "away", "user_id": "bob"}
    issued = Deferred.fromCoroutine(commands.service.issue(boss, fields))
    commands.clock.turn(10)
    assert issued.called
    issued.addErrback(lambda failure: failure.trap(Refusal))
    assert len(looked_up) > 100 // subjects.LOOKED_UP_AT_ONCE
    assert max(looked_up) <= subjects.LOOKED_UP_AT_ONCE


def test_chats(commands: CommandWorld) -> None:
    commands.publish("chat.session.started", session_id="mine", agent_id="alice", queue_name="web")
    commands.publish("chat.session.started", session_id="waits", queue_name="web")
    web, other = (person("bob", queues=frozenset((name,))) for name in ("web", "other"))
    assert commands.code("chat.accept", other, session_id="waits") == "not_found"
    assert commands.code("chat.close", web, session_id="waits") == "not_allowed"
    assert commands.code("chat.accept", web, session_id="mine") == "not_found"
    assert commands.code("chat.close", session_id="mine", command_id="x") == "accepted"
    assert commands.code("chat.accept", web, session_id="waits") == "accepted"
    assert commands.code("chat.transfer", SUPPORT, session_id="waits", to_agent_id="x") == "not_allowed"
    assert commands.code("chat.transfer", BOSS, session_id="waits", to_agent_id="x") == "accepted"


def test_what_the_settings_allow() -> None:
    allowed = {Role.AGENT: frozenset({"call.hangup", "queue.member.add"}), Role.SUPERVISOR: frozenset({"call.hold"})}
    commands = CommandWorld(CommandPolicy(enabled=True, allowed=allowed))
    commands.call("c1")
    assert commands.code("call.hangup", call_id="c1") == "accepted"
    assert commands.code("call.hold", call_id="c1") == "not_allowed"
    # An agent that may issue what only supervisors may by default, may do so for itself.
    assert commands.code("queue.member.add", queue_name="q") == "accepted"
    assert commands.code("queue.member.add", queue_name="q", user_id="bob") == "not_allowed"
    assert commands.code("call.hangup", BOSS, call_id="c1") == "not_allowed"
    assert commands.code("call.hangup", ADMIN, call_id="c1") == "accepted"
    names = {role: commands.service.offered_to(person(role=role)) for role in Role}
    assert names[Role.AGENT] is not None
    assert sorted(names[Role.AGENT]["names"]) == ["call.hangup", "queue.member.add"]
    assert names[Role.WALLBOARD] is None
    assert names[Role.VISITOR] is None


def test_what_a_user_may_choose_from_is_offered() -> None:
    offered = CommandWorld(POLICY).service.offered_to(person(role=Role.AGENT))
    assert offered is not None
    assert {**offered, "names": []} == {
        "names": [],
        "pause_reasons": ["lunch"],
        "dispositions": [{"code": "sold", "label": "Sold"}],
        "destinations": [
            {"name": "Night desk", "destination": "0", "queue_name": None},
            {"name": "Sales", "destination": "600", "queue_name": "sales"},
        ],
    }


def test_a_queue_that_a_user_does_not_see_is_offered_as_a_number() -> None:
    offered = CommandWorld(POLICY).service.offered_to(person(queues=frozenset({"support"})))
    assert offered is not None
    assert [one["queue_name"] for one in offered["destinations"]] == [None, None]


def test_without_commands_none_is_accepted_or_offered() -> None:
    commands = CommandWorld(CommandPolicy())
    assert commands.code("call.originate", destination="100") == "commands_off"
    assert commands.service.offered_to(ADMIN) is None


def test_rates_and_draining(commands: CommandWorld) -> None:
    commands.waits = 3.0
    assert commands.code("call.originate", destination="100") == "rate_limited"
    assert commands.service.counters.refused == {"rate_limited": 1}
    # Invalid ones count, too: each has its line in the audit log.
    assert commands.code("call.originate", destination="${EXTEN}") == "rate_limited"
    commands.waits = 0.0
    assert commands.code("call.originate", destination="${EXTEN}") == "invalid_message"
    commands.service.drain()
    assert commands.code("call.originate", destination="100") == "draining"


def test_a_token_of_all_tenants_must_name_one(commands: CommandWorld) -> None:
    everywhere = Principal("*", "crm", Role.SERVICE)
    assert commands.code("call.originate", everywhere, destination="100") == "invalid_message"
    assert commands.code("call.originate", everywhere.narrow("acme"), destination="100") == "accepted"
