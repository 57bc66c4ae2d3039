"""A person at a desk of the demo's call center: its calls, its chats, and what the model does again when it leaves."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from test_demo_commands import World

from callcenter_ws.demo.agents import AUTO_PAUSE
from callcenter_ws.demo.calls import RING_SECONDS
from callcenter_ws.demo.consultations import LaterOutcome
from callcenter_ws.demo.sample_data import AGENTS, DEMO_AGENT, DEMO_SESSION, QUEUES
from callcenter_ws.demo.scheduler import ModelEvent

ME = DEMO_AGENT.user_id
CHAT = "visitor-of-the-widget"


class Desk(World):
    """A model in which a person is at the desk of the demo's agent."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__(seed)
        self.run(15)
        self.until_state("available")
        self.come()

    def come(self) -> None:
        self.checker.persons.add(ME)
        self.take(self.model.set_present(self.now, ME, is_present=True))

    def go(self) -> None:
        self.checker.persons.discard(ME)
        self.take(self.model.set_present(self.now, ME, is_present=False))

    def until_state(self, state: str) -> None:
        for _ in range(50_000):
            if self.state(ME) == state:
                return
            self.take(self.model.step())
        raise AssertionError(f"never {state}")

    def rings(self) -> str:
        """Run until a call rings at the person, and return it."""
        event = self.until(lambda event: event.type == "call.ringing" and event.payload["agent_id"] == ME)
        return str(event.payload["call_id"])

    def mine(self, since: int, *types: str) -> list[ModelEvent]:
        return [
            event
            for event in self.seen[since:]
            if event.type in types and ME in (event.payload.get("agent_id"), event.payload.get("user_id"))
        ]

    def chat(self, type_: str, **payload: Any) -> None:
        self.take(self.model.chat_changed(self.now, type_, {"session_id": CHAT, **payload}))

    def visitor_writes(self) -> None:
        self.chat("chat.message", sender_type="visitor", sender_id="visitor-1", body="hello", private=False)

    def in_chat(self, seconds: float) -> list[ModelEvent]:
        """Run, and return what was sent in the chat of the widget; the checker knows only those of the model."""
        seen, check = [], self.checker.check

        def watch(event: ModelEvent) -> None:
            if event.payload.get("session_id") == CHAT:
                seen.append(event)
            else:
                check(event)

        self.checker.check = watch  # type: ignore[method-assign]  # for this chat only
        self.run(seconds)
        self.checker.check = check  # type: ignore[method-assign]  # as it was
        return seen


@pytest.fixture(params=range(3))
def desk(request: pytest.FixtureRequest) -> Desk:
    return Desk(request.param)


class TestCalls:
    def test_a_call_rings_soon_and_until_the_person_answers(self, desk: Desk) -> None:
        began = desk.now
        call = desk.rings()
        assert 5 < desk.now - began < 20
        desk.run(20)
        assert desk.state(ME) == "ringing"
        assert "call.answered" in desk.command("call.answer", ME, call_id=call)
        before = len(desk.seen)
        desk.run(100)
        assert desk.mine(before, "agent.state.changed") == [], "the person does everything itself"
        ended = desk.until(lambda event: event.type == "call.ended" and event.payload["call_id"] == call)
        assert ended.payload["ended_by"] == "caller"
        assert 120 <= ended.payload["talk_seconds"] <= 360

    def test_wrap_up_lasts_until_the_person_ends_it(self, desk: Desk) -> None:
        call = desk.rings()
        desk.command("call.answer", ME, call_id=call)
        assert "call.ended" in desk.command("call.hangup", ME, call_id=call)
        desk.run(300)
        assert desk.state(ME) == "wrap_up"
        desk.command("agent.state.set", ME, state="available")
        began = desk.now
        desk.rings()
        assert desk.now - began < 20

    def test_an_unanswered_call_goes_on_to_another_agent_and_two_of_them_are_a_pause(self, desk: Desk) -> None:
        missed = []
        for _ in range(2):
            call = desk.rings()
            rang = desk.now
            event = desk.until(lambda event: event.type == "call.missed" and event.payload["agent_id"] == ME)
            assert event.payload["call_id"] == call
            assert event.at - rang <= RING_SECONDS
            missed.append(call)
        assert desk.state(ME) == "break"
        assert [event.payload["reason"] for event in desk.mine(0, "queue.member.paused")] == [AUTO_PAUSE]
        before = len(desk.seen)
        desk.run(90)
        assert desk.mine(before, "call.ringing") == []
        rings = [event.payload for event in desk.seen if event.type == "call.ringing"]
        rung = [ring["agent_id"] for ring in rings if ring["call_id"] == missed[0]]
        assert rung.count(ME) == 1 and len(rung) > 1
        desk.command("agent.state.set", ME, state="available")
        desk.rings()

    def test_a_rejected_call_is_no_reason_for_a_pause(self, desk: Desk) -> None:
        for _ in range(3):
            call = desk.rings()
            assert "call.missed" in desk.command("call.hangup", ME, call_id=call)
            assert desk.state(ME) == "available"

    def test_a_break_during_a_call_begins_after_its_wrap_up(self, desk: Desk) -> None:
        call = desk.rings()
        desk.command("call.answer", ME, call_id=call)
        desk.command("agent.state.set", ME, state="break", reason="lunch")
        desk.command("call.hangup", ME, call_id=call)
        assert desk.state(ME) == "wrap_up"
        desk.run(35)
        assert desk.state(ME) == "break"

    def test_the_model_goes_on_when_the_person_leaves(self, desk: Desk) -> None:
        call = desk.rings()
        desk.command("call.answer", ME, call_id=call)
        desk.command("call.hold", ME, call_id=call)
        desk.go()
        desk.until_state("wrap_up")
        desk.until_state("available")
        desk.until(lambda event: event.type == "call.answered" and event.payload["agent_id"] == ME)

    def test_a_ringing_call_is_answered_by_the_model_when_the_person_leaves(self, desk: Desk) -> None:
        call = desk.rings()
        desk.go()
        event = desk.until(lambda event: event.type == "call.answered" and event.payload["call_id"] == call)
        assert event.payload["ring_seconds"] < 10

    def test_a_call_of_the_model_ends_soon_after_the_person_has_come(self) -> None:
        desk = Desk()
        desk.go()
        desk.until_state("talking")
        desk.come()
        began = desk.now
        desk.until_state("available")
        assert desk.now - began < 30

    def test_what_a_person_does_is_an_input_like_any_other(self) -> None:
        first, second = Desk(7), Desk(7)
        for one in (first, second):
            one.command("call.answer", ME, call_id=one.rings())
            one.run(60)
        assert first.seen == second.seen

    def test_users_who_are_no_agents_change_nothing(self, desk: Desk) -> None:
        assert desk.model.set_present(desk.now, "supervisor-01", is_present=True) == []


class TestSecondAgents:
    @pytest.fixture
    def call(self, desk: Desk) -> str:
        call = desk.rings()
        desk.command("call.answer", ME, call_id=call)
        return call

    @staticmethod
    def colleague(desk: Desk) -> tuple[str, str]:
        while True:
            free = [one for one in AGENTS[1:] if desk.state(one.user_id) == "available"]
            if free:
                return free[0].user_id, free[0].extension
            desk.run(1)

    def consult(self, desk: Desk, call: str) -> str:
        """Consult a colleague until it has answered."""
        user_id, extension = self.colleague(desk)
        types = desk.command("call.consult", ME, call_id=call, destination=extension)
        assert types == ["call.hold", "agent.state.changed", "call.ringing", "agent.state.changed"]
        outcome = desk.result
        assert isinstance(outcome, LaterOutcome) and not outcome.is_known
        assert desk.fails("call.consult.complete", ME, call_id=call) == "rejected"
        desk.run(5)
        assert outcome.is_known and outcome.data == {"destination": extension}
        assert (desk.state(ME), desk.state(user_id)) == ("hold", "talking")
        return user_id

    def test_a_consultation_is_completed(self, desk: Desk, call: str) -> None:
        colleague = self.consult(desk, call)
        assert desk.fails("call.unhold", ME, call_id=call) == "rejected"
        types = desk.command("call.consult.complete", ME, call_id=call)
        assert types == ["call.unhold", "call.transferred", "agent.state.changed"]
        assert desk.seen[-2].payload["to_agent_id"] == colleague
        assert (desk.state(ME), desk.state(colleague)) == ("wrap_up", "talking")
        desk.until(lambda event: event.type == "call.ended" and event.payload["call_id"] == call)
        assert desk.state(colleague) == "wrap_up"

    def test_a_consultation_is_cancelled(self, desk: Desk, call: str) -> None:
        colleague = self.consult(desk, call)
        assert desk.command("call.consult.cancel", ME, call_id=call)[0] == "call.unhold"
        assert desk.state(ME) == "talking"
        assert desk.state(colleague) in ("available", "ringing"), "another call may ring at once"
        self.consult(desk, call)

    def test_a_cancelled_or_ended_consultation_has_an_outcome(self, desk: Desk, call: str) -> None:
        for command in ("call.consult.cancel", "call.hangup"):
            desk.command("call.consult", ME, call_id=call, destination=self.colleague(desk)[1])
            outcome = desk.result
            assert isinstance(outcome, LaterOutcome)
            desk.command(command, ME, call_id=call)
            assert outcome.failure is not None

    def test_a_queue_that_is_consulted_rings_at_one_of_its_agents(self, desk: Desk, call: str) -> None:
        self.colleague(desk)
        members = {one.user_id for one in AGENTS if "support" in one.queues}
        while not any(desk.state(one) == "available" for one in members):
            desk.run(1)
        desk.command("call.consult", ME, call_id=call, destination=QUEUES["support"])
        assert desk.seen[-1].payload["user_id"] in members
        outcome = desk.result
        assert isinstance(outcome, LaterOutcome)
        desk.run(5)
        assert outcome.is_known and outcome.failure is None
        desk.command("call.consult.complete", ME, call_id=call)
        assert desk.seen[-2].payload["to_agent_id"] in members

    def test_a_queue_without_a_free_agent_is_busy(self, desk: Desk, call: str) -> None:
        for one in AGENTS[1:]:
            if desk.state(one.user_id) != "offline":
                desk.command("agent.state.set", one.user_id, state="break", reason="lunch")
        assert desk.fails("call.consult", ME, call_id=call, destination=QUEUES["support"]) == "busy"

    def test_who_cannot_be_consulted(self, desk: Desk, call: str) -> None:
        assert desk.fails("call.consult", ME, call_id=call, destination="777") == "not_found"
        assert desk.fails("call.consult", ME, call_id=call, destination=DEMO_AGENT.extension) == "rejected"
        busy = next(one.extension for one in AGENTS[1:] if desk.state(one.user_id) != "available")
        assert desk.fails("call.consult", ME, call_id=call, destination=busy) == "busy"
        assert desk.fails("call.consult.cancel", ME, call_id=call) == "rejected"

    def test_recordings_and_listening(self, desk: Desk, call: str) -> None:
        assert desk.fails("call.record", ME, call_id=call, action="pause") == "rejected"
        desk.command("call.record", ME, call_id=call, action="start")
        assert desk.result == {"file": f"simulator-{call}.wav"}
        for action in ("pause", "resume", "stop", "stop"):
            assert desk.command("call.record", ME, call_id=call, action=action) == []
        assert desk.command("call.monitor", "supervisor-01", call_id=call, mode="listen") == []
        desk.command("call.hangup", ME, call_id=call)
        assert desk.fails("call.monitor", "supervisor-01", call_id=call, mode="listen") == "not_found"

    @pytest.mark.parametrize(("destination", "after"), [("+13125550123", "wrap_up"), ("", "available")])
    def test_a_dialed_call(self, desk: Desk, destination: str, after: str) -> None:
        types = desk.command("call.originate", ME, destination=destination or self.colleague(desk)[1])
        # It does not ring at who has dialed.
        rings = [] if destination else ["call.ringing", "agent.state.changed"]
        assert types == ["call.incoming", "agent.state.changed", *rings]
        assert isinstance(desk.result, dict)
        call = desk.result["call_id"]
        assert desk.fails("call.originate", ME, destination="123") == "busy"
        desk.run(9)
        assert desk.state(ME) == "talking"
        desk.until(lambda event: event.type == "call.ended" and event.payload["call_id"] == call)
        assert desk.state(ME) == after

    def test_a_dialed_call_is_given_up(self, desk: Desk) -> None:
        desk.command("call.originate", ME, destination=self.colleague(desk)[1])
        assert isinstance(desk.result, dict)
        assert "call.ended" in desk.command("call.hangup", ME, call_id=desk.result["call_id"])
        assert desk.state(ME) == "available"

    def test_memberships(self, desk: Desk) -> None:
        asked = {"queue_name": "billing", "user_id": ME}
        assert desk.command("queue.member.add", "boss", **asked, penalty=2)[0] == "queue.member.added"
        assert "queue.member.added" not in desk.command("queue.member.add", "boss", **asked)
        assert desk.command("queue.member.remove", "boss", **asked) == ["queue.member.removed"]
        assert desk.command("queue.member.remove", "boss", **asked) == []
        assert desk.fails("queue.member.add", "boss", queue_name="none", user_id=ME) == "not_found"


class TestChats:
    def test_a_person_answers_the_visitors_of_the_widget(self, desk: Desk) -> None:
        desk.visitor_writes()
        assert desk.in_chat(40) == []
        desk.chat("chat.transferred", to_agent_id=ME)
        assert desk.in_chat(90) == []

    def test_without_a_person_an_agent_of_the_model_answers(self, desk: Desk) -> None:
        desk.go()
        desk.visitor_writes()
        assert desk.in_chat(15) == []
        seen = desk.in_chat(15)
        assert [event.type for event in seen] == ["chat.transferred", "chat.typing", "chat.typing", "chat.message"]
        assert seen[-1].payload["sender_id"] == seen[0].payload["to_agent_id"]
        desk.visitor_writes()
        desk.visitor_writes()
        assert [event.type for event in desk.in_chat(10)].count("chat.message") == 1

    def test_a_person_on_a_break_is_not_waited_for(self, desk: Desk) -> None:
        desk.command("agent.state.set", ME, state="break", reason="lunch")
        desk.visitor_writes()
        assert "chat.message" in [event.type for event in desk.in_chat(60)]

    def test_the_model_answers_for_a_person_who_leaves_the_chat(self, desk: Desk) -> None:
        desk.visitor_writes()
        desk.chat("chat.transferred", to_agent_id=ME)
        desk.go()
        (message,) = [event for event in desk.in_chat(40) if event.type == "chat.message"]
        assert message.payload["sender_id"] == ME

    def test_an_ended_chat_is_over(self, desk: Desk) -> None:
        desk.go()
        desk.visitor_writes()
        desk.chat("chat.session.ended")
        assert desk.in_chat(60) == []

    def test_many_chats_are_bounded(self, desk: Desk) -> None:
        desk.go()
        for number in range(1_000):
            payload = {"session_id": f"chat-{number}", "sender_type": "visitor", "sender_id": "v", "body": "hello"}
            desk.take(desk.model.chat_changed(desk.now, "chat.message", payload))
        assert len(desk.model._visitors._chats) <= 200

    def test_the_visitor_of_the_model_waits_for_the_person(self, desk: Desk) -> None:
        started = {"session_id": DEMO_SESSION, "agent_id": ME}
        desk.go()
        desk.until(lambda event: event.type == "chat.session.started" and event.payload.items() >= started.items())
        desk.come()
        desk.until(lambda event: event.type == "chat.message" and event.payload["session_id"] == DEMO_SESSION)
        for _ in range(2):
            before = len(desk.seen)
            desk.run(60)
            assert not [event for event in desk.seen[before:] if event.payload.get("session_id") == DEMO_SESSION]
            answer = {"session_id": DEMO_SESSION, "sender_type": "agent", "sender_id": ME, "message_id": "m"}
            desk.take(desk.model.chat_changed(desk.now, "chat.message", answer))
            desk.until(lambda event: event.type == "chat.message" and event.payload["session_id"] == DEMO_SESSION)


def test_callers_call_again_with_the_same_name() -> None:
    world = World()
    world.run(1_200)
    calls = [event.payload for event in world.seen if event.type == "call.incoming"]
    names = {(call["caller_id"], call["caller_name"]) for call in calls}
    numbers = [call["caller_id"] for call in calls]
    assert len(names) == len(set(numbers)), "one number has one name"
    again = sum(number in numbers[:at] for at, number in enumerate(numbers))
    assert len(numbers) / 6 < again < len(numbers) * 2 / 3
    assert any(first == second for first, second in pairwise(sorted(numbers)))


def test_no_one_calls_twice_at_the_same_time() -> None:
    world = World()
    world.run(1_200)
    calling: dict[str, str] = {}
    over = {"call.ended", "call.abandoned"}
    for event in world.seen:
        if event.type == "call.incoming":
            assert event.payload["caller_id"] not in calling.values(), event
            calling[event.payload["call_id"]] = event.payload["caller_id"]
        elif event.type in over:
            calling.pop(event.payload["call_id"], None)
