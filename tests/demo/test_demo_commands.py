"""Commands in the model of the demo: what each of them causes, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callcenter_ws.demo.callcenter import CallCenter
from callcenter_ws.demo.sample_data import AGENTS, DEMO_AGENT, QUEUES
from callcenter_ws.demo.scheduler import ModelEvent
from callcenter_ws.events.commands import COMMANDS
from callcenter_ws.events.event import make_event
from callcenter_ws.remote import CommandFailed
from tests.demo.model_checker import ConsistencyChecker


class World:
    """A model, of which every event is checked."""

    def __init__(self, seed: int = 1) -> None:
        self.model = CallCenter(Random(seed), lambda at: at, "test")
        self.checker = ConsistencyChecker(is_commanded=True)
        self.seen: list[ModelEvent] = []
        self.result: object = None

    @property
    def now(self) -> float:
        return self.model.next_at

    def take(self, events: list[ModelEvent]) -> None:
        for event in events:
            self.checker.check(event)
        self.seen += events

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.take(self.model.step())

    def until(self, wanted: Callable[[ModelEvent], bool]) -> ModelEvent:
        """Run until an event, and return it; what follows from the step is taken as well."""
        for _ in range(50_000):
            events = self.model.step()
            self.take(events)
            found = next(filter(wanted, events), None)
            if found is not None:
                return found
        raise AssertionError("it never happens")

    def command(self, name: str, asker: str, **payload: Any) -> list[str]:
        """Carry out a command now, and return the types of the events that it caused."""
        events, self.result = self.model.carry_out(self.now, name, payload, asker)
        self.take(events)
        return [event.type for event in events]

    def connected(self) -> tuple[str, str]:
        """Return a call in which an agent is for a moment, and the agent."""
        event = self.until(lambda event: event.type == "call.answered")
        return event.payload["call_id"], event.payload["agent_id"]

    def ringing(self) -> tuple[str, str]:
        """Return a call of a queue that rings now, and the agent."""
        event = self.until(lambda event: event.type == "call.ringing" and self.waits(event.payload["call_id"]))
        return event.payload["call_id"], event.payload["agent_id"]

    def waits(self, call_id: str) -> bool:
        call = self.checker.calls.get(call_id)
        return call is not None and call["state"] == "ringing" and call["queue"] is not None

    def fails(self, name: str, asker: str, **payload: Any) -> str:
        """Return the code with which a command fails; it has no effect."""
        with pytest.raises(CommandFailed) as failure:
            self.command(name, asker, **payload)
        assert failure.value.message
        return failure.value.code.value

    def state(self, agent: str) -> str:
        return self.checker.agents.get(agent, "offline")


@pytest.fixture
def world() -> World:
    made = World()
    made.run(30)
    return made


def free_agent(world: World) -> str:
    return next(agent for agent, state in world.checker.agents.items() if state == "available")


def test_every_command_of_the_model_is_one_of_a_source(world: World) -> None:
    for name in world.model.command_names:
        assert COMMANDS[name].by_gateway is None


class TestAgents:
    def test_a_break_pauses_everywhere_until_it_is_ended(self, world: World) -> None:
        agent = free_agent(world)
        person = next(person for person in AGENTS if person.user_id == agent)
        paused = ["queue.member.paused"] * len(person.queues)
        assert world.command("agent.state.set", agent, state="break", reason="lunch") == [
            *paused,
            "agent.state.changed",
        ]
        assert world.seen[-1].payload["reason"] == "lunch"
        assert world.command("agent.state.set", agent, state="break", reason="lunch") == [], "it is so already"
        world.run(200)
        assert world.state(agent) == "break"
        events = world.command("agent.state.set", agent, state="available")
        assert events[: len(paused)] == ["queue.member.unpaused"] * len(paused)
        assert events[len(paused)] == "agent.state.changed"

    def test_a_break_during_a_call_begins_at_its_end(self, world: World) -> None:
        _, agent = world.connected()
        assert set(world.command("agent.state.set", agent, state="break", reason="lunch")) == {"queue.member.paused"}
        seen = world.until(lambda event: event.type == "agent.state.changed" and event.payload["state"] == "break")
        while seen.payload["user_id"] != agent:
            seen = world.until(lambda event: event.type == "agent.state.changed" and event.payload["state"] == "break")
        assert (seen.payload["previous_state"], seen.payload["reason"]) == ("wrap_up", "lunch")

    def test_a_break_that_is_given_up_during_the_call(self, world: World) -> None:
        _, agent = world.connected()
        world.command("agent.state.set", agent, state="away")
        assert set(world.command("agent.state.set", agent, state="available")) >= {"queue.member.unpaused"}
        seen = world.until(lambda event: event.payload.get("previous_state") == "wrap_up")
        while seen.payload["user_id"] != agent:
            seen = world.until(lambda event: event.payload.get("previous_state") == "wrap_up")
        assert seen.payload["state"] == "available"

    def test_wrap_up_is_ended_early(self, world: World) -> None:
        event = world.until(lambda event: event.payload.get("state") == "wrap_up")
        agent = event.payload["user_id"]
        assert world.command("agent.state.set", agent, state="available")[0] == "agent.state.changed"

    def test_signing_out_and_in(self, world: World) -> None:
        busy = {chat["agent"] for chat in world.checker.chats.values()}
        agent = next(one for one, state in world.checker.agents.items() if state == "available" and one not in busy)
        assert world.command("agent.state.set", agent, state="offline")[-1] == "agent.logout"
        assert world.command("agent.state.set", agent, state="offline") == []
        world.run(100)
        assert world.state(agent) == "offline", "the model does not undo what a person has asked for"
        assert world.fails("agent.state.set", agent, state="break") == "rejected"
        assert world.command("agent.state.set", agent, state="available")[0] == "agent.login"

    def test_an_agent_in_a_call_cannot_sign_out(self, world: World) -> None:
        _, agent = world.connected()
        assert world.fails("agent.state.set", agent, state="offline") == "busy"

    def test_for_another_agent(self, world: World) -> None:
        agent = free_agent(world)
        assert "agent.state.changed" in world.command("agent.state.set", "boss", state="away", user_id=agent)
        assert world.fails("agent.state.set", "boss", state="away") == "not_found"

    def test_an_agent_has_one_phone(self, world: World) -> None:
        assert world.fails("agent.state.set", "agent-02", state="available", extension="1001") == "rejected"
        world.command("agent.state.set", "agent-02", state="available", extension="1002")

    def test_a_pause_in_one_queue(self, world: World) -> None:
        agent, queue = DEMO_AGENT.user_id, DEMO_AGENT.queues[0]
        world.command("agent.state.set", agent, state="available")
        assert world.command("queue.member.pause", agent, queue_name=queue, reason="lunch") == ["queue.member.paused"]
        assert world.command("queue.member.pause", agent, queue_name=queue) == []
        before = len(world.seen)
        world.run(300)
        rang = [event for event in world.seen[before:] if event.type == "call.ringing"]
        assert not any(
            event.payload["agent_id"] == agent and event.payload.get("queue_name") == queue
            for event in rang
            if event.payload["destination"] == QUEUES[queue]
        )
        assert world.command("queue.member.unpause", agent, queue_name=queue)[0] == "queue.member.unpaused"
        other = next(name for name in QUEUES if name not in DEMO_AGENT.queues)
        assert world.fails("queue.member.pause", agent, queue_name=other) == "not_found"


class TestCalls:
    def test_a_call_is_answered_at_once(self, world: World) -> None:
        call, agent = world.ringing()
        assert world.fails("call.answer", "agent-99", call_id=call) == "rejected"
        assert world.command("call.answer", agent, call_id=call)[:3] == [
            "queue.left",
            "call.answered",
            "agent.state.changed",
        ]
        assert world.command("call.answer", agent, call_id=call) == []

    def test_a_ringing_call_is_rejected_and_waits_on(self, world: World) -> None:
        call, agent = world.ringing()
        assert world.command("call.hangup", agent, call_id=call)[:2] == ["call.missed", "agent.state.changed"]
        assert world.checker.calls[call]["queue"] is not None
        assert world.state(agent) == "away"

    def test_a_supervisor_ends_a_call_that_rings(self, world: World) -> None:
        call, _ = world.ringing()
        assert world.command("call.hangup", "boss", call_id=call)[:3] == [
            "queue.left",
            "call.ended",
            "agent.state.changed",
        ]
        assert call in world.checker.ended
        ended = next(event for event in reversed(world.seen) if event.type == "call.ended")
        assert (ended.payload["ended_by"], ended.payload["talk_seconds"]) == ("exchange", 0)
        assert world.fails("call.hangup", "boss", call_id=call) == "not_found"

    def test_a_call_that_has_not_joined_its_queue_yet_ends(self, world: World) -> None:
        call = world.until(lambda event: event.type == "call.incoming").payload["call_id"]
        assert world.command("call.hangup", "boss", call_id=call) == ["call.ended"]
        world.run(60)

    def test_a_call_ends_with_wrap_up(self, world: World) -> None:
        call, agent = world.connected()
        assert world.command("call.hangup", agent, call_id=call)[:2] == ["call.ended", "agent.state.changed"]
        assert world.seen[-2].payload["ended_by"] == "agent"
        assert world.state(agent) == "wrap_up"
        world.run(10)
        found = [event for event in world.seen if event.type == "call.disposition" and event.payload["call_id"] == call]
        assert len(found) == (agent != DEMO_AGENT.user_id)

    def test_hold_lasts_until_it_is_ended(self, world: World) -> None:
        call, agent = world.connected()
        assert world.command("call.hold", agent, call_id=call) == ["call.hold", "agent.state.changed"]
        assert world.command("call.hold", agent, call_id=call) == []
        world.run(80)
        assert world.checker.calls[call]["state"] == "hold"
        assert world.command("call.unhold", agent, call_id=call) == ["call.unhold", "agent.state.changed"]
        assert world.command("call.unhold", agent, call_id=call) == []
        world.run(30)
        ended = next(event for event in world.seen if event.type == "call.ended" and event.payload["call_id"] == call)
        assert 79 <= ended.payload["hold_seconds"] <= 90

    def test_a_caller_on_hold_hangs_up_in_the_end(self, world: World) -> None:
        call, agent = world.connected()
        world.command("call.hold", agent, call_id=call)
        world.run(170)
        ended = next(event for event in world.seen if event.type == "call.ended" and event.payload["call_id"] == call)
        assert ended.payload["ended_by"] == "caller"

    def test_a_transfer_to_an_agent(self, world: World) -> None:
        call, agent = world.connected()
        colleague = next(
            person for person in AGENTS if world.state(person.user_id) == "available" and person.user_id != agent
        )
        world.command("call.hold", agent, call_id=call)
        assert world.command("call.transfer", agent, call_id=call, destination=colleague.extension)[:4] == [
            "call.unhold",
            "agent.state.changed",
            "call.transferred",
            "call.ringing",
        ]
        assert world.state(colleague.user_id) == "ringing"
        assert world.command("call.hangup", colleague.user_id, call_id=call)[0] == "call.missed"
        assert call in world.checker.ended

    def test_a_transfer_to_a_queue(self, world: World) -> None:
        call, agent = world.connected()
        assert world.command("call.transfer", agent, call_id=call, destination=QUEUES["billing"])[:2] == [
            "call.transferred",
            "queue.joined",
        ]

    def test_transfers_that_are_refused(self, world: World) -> None:
        call, agent = world.connected()
        own = next(person.extension for person in AGENTS if person.user_id == agent)
        busy = next(person for person in AGENTS if world.state(person.user_id) not in ("available", "offline")
                    and person.user_id != agent)  # fmt: skip
        assert world.fails("call.transfer", agent, call_id=call, destination=own) == "rejected"
        assert world.fails("call.transfer", agent, call_id=call, destination="4711") == "rejected"
        assert world.fails("call.transfer", agent, call_id=call, destination=busy.extension) == "busy"
        ringing, _ = world.ringing()
        for name in ("call.hold", "call.unhold"):
            assert world.fails(name, agent, call_id=ringing) == "rejected"
        assert world.fails("call.transfer", agent, call_id=ringing, destination="1001") == "rejected"


class TestChats:
    """The gateway carries out the commands about chats: the model learns of them by their events."""

    @staticmethod
    def chat(world: World) -> str:
        session: str = world.until(lambda event: event.type == "chat.message").payload["session_id"]
        return session

    @staticmethod
    def writes(world: World, session: str, seconds: float) -> set[str]:
        before = len(world.seen)
        world.run(seconds)
        found = [event for event in world.seen[before:] if event.payload.get("session_id") == session]
        return {event.payload["sender_id"] for event in found if event.type == "chat.message"}

    def test_a_closed_chat_is_over(self, world: World) -> None:
        session = self.chat(world)
        del world.checker.chats[session]
        for _ in range(2):
            world.take(world.model.chat_changed(world.now, "chat.session.ended", {"session_id": session}))
        assert self.writes(world, session, 3) == set()
        world.run(120)
        starts = [event for event in world.seen if event.type == "chat.session.started"]
        assert len(starts) > 3, "others begin"

    def test_another_agent_writes_after_a_transfer(self, world: World) -> None:
        session = self.chat(world)
        agent = free_agent(world)
        world.checker.chats[session]["agent"] = agent
        world.take(
            world.model.chat_changed(world.now, "chat.transferred", {"session_id": session, "to_agent_id": agent})
        )
        assert agent in self.writes(world, session, 15)
        world.take(
            world.model.chat_changed(world.now, "chat.transferred", {"session_id": "unknown", "to_agent_id": agent})
        )

    def test_a_person_who_takes_over_writes_alone(self, world: World) -> None:
        session = self.chat(world)
        del world.checker.chats[session]
        world.take(
            world.model.chat_changed(
                world.now, "chat.transferred", {"session_id": session, "to_agent_id": "supervisor-01"}
            )
        )
        assert self.writes(world, session, 3) == set()


_commands = st.lists(
    st.tuples(st.floats(0, 8), st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 10_000)), max_size=60
)


@given(st.integers(0, 2**32), _commands)
@settings(max_examples=20, deadline=None)
def test_whatever_is_asked_for_the_events_are_consistent(
    seed: int, commands: list[tuple[float, int, int, int]]
) -> None:
    world = World(seed)
    world.run(20)
    for wait, which, whom, what in commands:
        world.run(wait)
        names = (*world.model.command_names, "come", "go")
        name, calls = names[which % len(names)], sorted(world.checker.calls)
        user = AGENTS[whom % len(AGENTS)].user_id
        if name in ("come", "go"):
            world.take(world.model.set_present(world.now, user, is_present=name == "come"))
            continue
        payload: dict[str, Any] = {}
        if name.startswith("call."):
            if not calls:
                continue
            payload = {"call_id": calls[what % len(calls)]}
            # Half of the commands are those of an agent of the call.
            user = str(world.checker.calls[payload["call_id"]].get("agent", user)) if whom % 2 else user
            payload |= {"mode": "listen"} if name == "call.monitor" else {}
            payload |= {"action": ("start", "stop", "pause", "resume")[what % 4]} if name == "call.record" else {}
            if name in ("call.transfer", "call.originate", "call.consult"):
                payload["destination"] = (*QUEUES.values(), *(person.extension for person in AGENTS))[whom % 23]
        elif name == "agent.state.set":
            payload = {"state": ("available", "break", "away", "offline")[what % 4]}
            if what % 3:
                payload["reason"] = ("lunch", "training")[what % 2]
        else:
            payload = {"queue_name": sorted(QUEUES)[what % 3]}
        # What a refused command had emitted would come with the next step, and be inconsistent.
        with suppress(CommandFailed):
            world.command(name, user, **payload)
    world.run(60)
    for number, event in enumerate(world.seen):
        make_event(
            tenant_id="demo", type_=event.type, payload=event.payload, user_id=event.user_id, event_id=f"e{number}",
            now=0, received_at=0,
        )  # fmt: skip
