"""Checks that the events of the model of the demo are consistent."""

from __future__ import annotations

from callcenter_ws.demo.sample_data import DEMO_AGENT, DEMO_SESSION
from callcenter_ws.demo.scheduler import ModelEvent

MAX_CALL_SECONDS = 600
MAX_CHAT_SECONDS = 300
CALL_STATES = ("ringing", "busy", "talking", "hold")


class ConsistencyChecker:
    """Tracks calls, agents and chats, and fails at the first event that is inconsistent with them.

    Args:
        is_commanded: whether commands change the model: then calls may end in any state, and last longer.
    """

    def __init__(self, *, is_commanded: bool = False) -> None:
        self.is_commanded = is_commanded
        self.calls: dict[str, dict[str, object]] = {}
        self.ended: set[str] = set()
        self.agents: dict[str, str] = {}
        self.members: dict[tuple[str, str], bool] = {}
        self.chats: dict[str, dict[str, object]] = {}
        self.busy_with: dict[str, str] = {}
        self.persons: set[str] = set()
        self.now = 0.0

    def check(self, event: ModelEvent) -> None:
        assert event.at >= self.now
        self.now = event.at
        for call in () if self.is_commanded else self.calls.values():
            assert self.now - float(str(call["since"])) < MAX_CALL_SECONDS
        for chat in () if self.is_commanded else self.chats.values():
            assert self.now - float(str(chat["since"])) < MAX_CHAT_SECONDS
        check = getattr(self, "on_" + event.type.replace(".", "_"), None)
        if check is not None:
            check(event.payload)

    def call(self, payload, *states):
        call = self.calls[payload["unique_id"]]
        assert call["state"] in states, (call, states)
        return call

    def free(self, agent_id, unique_id):
        assert self.busy_with.pop(agent_id) == unique_id

    def on_agent_login(self, payload):
        assert payload["user_id"] not in self.agents
        self.agents[payload["user_id"]] = payload["state"]

    def on_agent_logout(self, payload):
        state = self.agents.pop(payload["user_id"])
        assert state not in CALL_STATES if self.is_commanded else state == "available"
        assert payload["user_id"] not in self.busy_with
        assert not [key for key in self.members if key[1] == payload["user_id"]]
        assert payload["user_id"] not in [chat["agent"] for chat in self.chats.values()]

    def on_agent_state_changed(self, payload):
        user_id, state = payload["user_id"], payload["state"]
        assert self.agents[user_id] == payload["previous_state"]
        # A break may be given another reason.
        assert state != payload["previous_state"] or (self.is_commanded and state in ("break", "away"))
        assert (state in CALL_STATES) == (user_id in self.busy_with)
        self.agents[user_id] = state

    def on_queue_member_added(self, payload):
        key = (payload["queue_name"], payload["user_id"])
        assert key not in self.members
        assert payload["user_id"] in self.agents
        self.members[key] = False

    def on_queue_member_removed(self, payload):
        paused = self.members.pop((payload["queue_name"], payload["user_id"]))
        assert not paused or self.is_commanded

    def on_queue_member_paused(self, payload):
        assert self.members[payload["queue_name"], payload["user_id"]] is False
        self.members[payload["queue_name"], payload["user_id"]] = True

    def on_queue_member_unpaused(self, payload):
        assert self.members[payload["queue_name"], payload["user_id"]] is True
        self.members[payload["queue_name"], payload["user_id"]] = False

    def on_call_incoming(self, payload):
        assert payload["unique_id"] not in self.calls
        assert payload["unique_id"] not in self.ended
        self.calls[payload["unique_id"]] = {"state": "incoming", "since": self.now, "queue": None, "other": None}
        if payload["direction"] != "inbound":
            agent_id = payload["agent_id"]
            assert self.agents[agent_id] not in CALL_STATES
            self.busy_with[agent_id] = payload["unique_id"]
            self.calls[payload["unique_id"]] |= {"state": "dialed", "agent": agent_id}

    def on_queue_joined(self, payload):
        call = self.call(payload, "incoming", "transferred")
        assert call["queue"] is None
        call["queue"], call["state"] = payload["queue_name"], "waiting"
        waiting = [other for other in self.calls.values() if other["queue"] == payload["queue_name"]]
        assert payload["position"] == payload["calls_waiting"] == len(waiting)

    def on_queue_left(self, payload):
        call = self.call(payload, "waiting", "ringing")
        assert call["queue"] == payload["queue_name"]
        call["queue"] = None

    def on_call_ringing(self, payload):
        call = self.call(payload, "waiting", "transferred", "dialed", "hold")
        agent_id = payload["agent_id"]
        if call["state"] in ("hold", "dialed"):
            # A colleague is called during the call, or by another agent.
            assert self.agents[agent_id] == "available" and call["other"] is None
            self.busy_with[agent_id] = payload["unique_id"]
            call["other"] = agent_id
            return
        assert self.agents[agent_id] == "available"
        assert agent_id not in self.busy_with
        assert call["state"] == "transferred" or self.members[payload["queue_name"], agent_id] is False
        self.busy_with[agent_id] = payload["unique_id"]
        call["state"], call["agent"] = "ringing", agent_id

    def on_call_missed(self, payload):
        call = self.call(payload, "ringing")
        self.free(payload["agent_id"], payload["unique_id"])
        call["state"] = "waiting"

    def on_call_answered(self, payload):
        call = self.call(payload, "ringing", "dialed")
        assert payload["agent_id"] == (call["other"] or call["agent"])
        assert call["queue"] is None
        assert self.agents[call["agent"]] == ("busy" if call["state"] == "dialed" else "ringing")
        call["state"] = "talking"

    def on_call_hold(self, payload):
        self.call(payload, "talking")["state"] = "hold"

    def on_call_unhold(self, payload):
        call = self.call(payload, "hold")
        call["state"] = "talking"
        if call["other"] is not None and payload["agent_id"] != call["other"]:
            self.free_other(call)

    def free_other(self, call):
        other, call["other"] = call["other"], None
        if other is not None:
            del self.busy_with[other]

    def on_call_transferred(self, payload):
        call = self.call(payload, "talking")
        assert payload["from_agent_id"] == call["agent"] != payload.get("to_agent_id")
        self.free(payload["from_agent_id"], payload["unique_id"])
        if payload["transfer_type"] == "attended":
            assert call["other"] == payload["to_agent_id"] == payload["agent_id"]
            call["agent"], call["other"] = call["other"], None
        else:
            assert call["other"] is None
            call["state"] = "transferred"

    def on_call_abandoned(self, payload):
        call = self.call(payload, "waiting", "ringing")
        assert call["queue"] is None
        if call["state"] == "ringing":
            self.free(call["agent"], payload["unique_id"])
        self.end(payload)

    def on_call_ended(self, payload):
        if self.is_commanded:
            call = self.call(payload, "incoming", "dialed", "waiting", *CALL_STATES)
            self.free_other(call)
            assert call["queue"] is None
        else:
            call = self.call(payload, "talking")
            assert payload["talk_seconds"] > 0
        if call["state"] in ("dialed", *CALL_STATES):
            self.free(call["agent"], payload["unique_id"])
        parts = payload["talk_seconds"] + payload["hold_seconds"] + payload["wait_seconds"]
        assert 0 <= parts <= payload["duration"] + 0.5
        self.end(payload)

    def on_call_disposition(self, payload):
        assert payload["call_id"] in self.ended
        assert payload["agent_id"] != DEMO_AGENT.user_id
        assert payload["agent_id"] not in self.persons

    def end(self, payload):
        del self.calls[payload["unique_id"]]
        self.ended.add(payload["unique_id"])

    def on_chat_session_started(self, payload):
        assert payload["session_id"] not in self.chats
        assert payload["agent_id"] not in self.persons or payload["session_id"] == DEMO_SESSION
        assert payload["agent_id"] in self.agents
        self.chats[payload["session_id"]] = {"since": self.now, "agent": payload["agent_id"]}

    def on_chat_message(self, payload):
        chat = self.chats[payload["session_id"]]
        assert (payload["sender_id"] == chat["agent"]) == (payload["sender_type"] == "agent")
        assert payload["sender_id"] not in self.persons, "a person writes itself"

    def on_chat_typing(self, payload):
        assert payload["session_id"] in self.chats

    def on_chat_transferred(self, payload):
        chat = self.chats[payload["session_id"]]
        assert chat["agent"] == payload["from_agent_id"] != payload["to_agent_id"]
        assert payload["to_agent_id"] in self.agents
        chat["agent"] = payload["to_agent_id"]

    def on_chat_session_ended(self, payload):
        del self.chats[payload["session_id"]]
