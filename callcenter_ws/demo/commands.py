"""ModelCommands: carries out commands in the model, as the simulator gets them from the gateway."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from callcenter_ws.demo.agents import Agent, AgentPool
from callcenter_ws.demo.calls import CallDistributor
from callcenter_ws.demo.consultations import Consultations, LaterOutcome
from callcenter_ws.demo.sample_data import QUEUES
from callcenter_ws.demo.simulated_call import Queue, SimulatedCall
from callcenter_ws.remote import CommandFailed
from callcenter_ws.runtime.json import JsonObject

_NOT_CONNECTED = "no agent is in this call"
_ENDED = "there is no such call any more"

Result = JsonObject | LaterOutcome | None
"""What the asker is told; None: nothing but that it was done."""


class ModelCommands:
    """Carries out commands at once; only a consultation is done later, when the colleague has answered.

    A command that asks for what is so already is done. One that is refused has changed nothing.

    Args:
        queues: one for each name in ``sample_data.QUEUES``.
    """

    def __init__(
        self, agents: AgentPool, calls: CallDistributor, consultations: Consultations, queues: Sequence[Queue]
    ) -> None:
        self._agents = agents
        self._calls = calls
        self._conversations = calls.conversations
        self._consultations = consultations
        self._queues = {queue.name: queue for queue in queues}
        self._of_agents: Mapping[str, Callable[[Agent, JsonObject], None]] = {
            "agent.state.set": self._set_state,
            "queue.member.pause": self._pause,
            "queue.member.unpause": self._unpause,
            "queue.member.add": self._add,
            "queue.member.remove": self._remove,
        }
        self._of_calls: Mapping[str, Callable[[SimulatedCall, JsonObject, str], Result]] = {
            "call.answer": self._answer,
            "call.hangup": self._hang_up,
            "call.hold": self._hold,
            "call.unhold": self._unhold,
            "call.transfer": self._transfer,
            "call.consult": self._consult,
            "call.consult.complete": self._complete_consultation,
            "call.consult.cancel": self._cancel_consultation,
            "call.monitor": self._monitor,
            "call.record": self._record,
        }

    @property
    def names(self) -> Sequence[str]:
        """The commands that the model can carry out."""
        return (*self._of_agents, "call.originate", *self._of_calls)

    def carry_out(self, name: str, payload: JsonObject, user_id: str) -> Result:
        """Carry out a command of a user.

        Raises:
            CommandFailed: it was not carried out.
        """
        if name == "call.originate":
            return self._consultations.originate(self._agent(user_id), str(payload["destination"]))
        if name in self._of_agents:
            agent = self._agent(str(payload.get("user_id") or user_id))
            self._of_agents[name](agent, payload)
            return None
        call = self._calls.calls.get(str(payload["call_id"]))
        if call is None:
            raise CommandFailed("not_found", _ENDED)
        return self._of_calls[name](call, payload, user_id)

    def _agent(self, user_id: str) -> Agent:
        agent = self._agents.find(user_id)
        if agent is None:
            raise CommandFailed("not_found", "the simulated call center has no such agent")
        return agent

    # Agents

    def _set_state(self, agent: Agent, payload: JsonObject) -> None:
        state, reason, extension = str(payload["state"]), payload.get("reason"), payload.get("extension")
        if extension not in (None, agent.person.extension):
            raise CommandFailed("rejected", f"the phone of this agent is {agent.person.extension}")
        if state == "offline":
            self._sign_out(agent)
        elif state == "available":
            self._make_available(agent)
        elif not agent.logged_in:
            raise CommandFailed("rejected", "the agent is not signed in")
        else:
            self._make_absent(agent, state, None if reason is None else str(reason))
        agent.is_commanded = True

    def _sign_out(self, agent: Agent) -> None:
        if agent.in_call or agent.chats:
            raise CommandFailed("busy", f"the agent is in a {'call' if agent.in_call else 'chat'}: end it first")
        agent.cancel_change()
        if agent.logged_in:
            self._agents.log_out(agent)

    def _make_available(self, agent: Agent) -> None:
        agent.wanted, agent.misses = None, 0
        if not agent.logged_in:
            self._agents.log_in(agent)
            return
        self._agents.unpause(agent, agent.queues)
        if not agent.in_call and agent.state != "available":
            self._agents.set_state(agent, "available")
        self._calls.distribute()

    def _make_absent(self, agent: Agent, state: str, reason: str | None) -> None:
        """Pause the agent everywhere; the state changes now, or when the call has ended."""
        self._agents.pause(agent, agent.queues, reason)
        if agent.in_call:
            agent.wanted = state, reason
            return
        agent.cancel_change()
        if (agent.state, agent.reason) != (state, reason):
            self._agents.set_state(agent, state, reason)

    def _pause(self, agent: Agent, payload: JsonObject) -> None:
        reason = payload.get("reason")
        self._agents.pause(agent, [self._membership(agent, payload)], None if reason is None else str(reason))
        agent.is_commanded = True

    def _unpause(self, agent: Agent, payload: JsonObject) -> None:
        self._agents.unpause(agent, [self._membership(agent, payload)])
        agent.is_commanded = True
        self._calls.distribute()

    @staticmethod
    def _membership(agent: Agent, payload: JsonObject) -> str:
        queue_name = str(payload["queue_name"])
        if queue_name not in agent.queues:
            raise CommandFailed("not_found", "the agent is not a member of this queue now")
        return queue_name

    def _add(self, agent: Agent, payload: JsonObject) -> None:
        queue_name = str(payload["queue_name"])
        if queue_name not in self._queues:
            raise CommandFailed("not_found", "the simulated exchange has no such queue")
        if not agent.logged_in:
            raise CommandFailed("rejected", "the agent is not signed in")
        self._agents.add(agent, queue_name, int(payload.get("penalty") or 0))
        self._calls.distribute()

    def _remove(self, agent: Agent, payload: JsonObject) -> None:
        self._agents.remove(agent, str(payload["queue_name"]))

    # Calls

    def _answer(self, call: SimulatedCall, payload: JsonObject, user_id: str) -> None:
        if call.other is not None and call.other.user_id == user_id:
            self._consultations.answer(call)
            return
        if call.agent is None or call.agent.user_id != user_id:
            raise CommandFailed("rejected", "the call does not ring at this agent")
        if not call.is_connected and call.direction == "inbound":
            self._calls.answer(call)

    def _hang_up(self, call: SimulatedCall, payload: JsonObject, user_id: str) -> None:
        by_its_agent = call.agent is not None and call.agent.user_id == user_id
        if by_its_agent and not call.is_connected and call.direction == "inbound":
            self._calls.reject(call)
        else:
            self._calls.hang_up(call, "agent" if by_its_agent else "exchange")

    def _hold(self, call: SimulatedCall, payload: JsonObject, user_id: str) -> None:
        _check_connected(call)
        if call.held_since is None:
            self._conversations.hold_until_unheld(call)

    def _unhold(self, call: SimulatedCall, payload: JsonObject, user_id: str) -> None:
        _check_connected(call)
        _check_no_consultation(call)
        if call.held_since is not None:
            call.cancel_steps()
            self._conversations.unhold(call)

    def _transfer(self, call: SimulatedCall, payload: JsonObject, user_id: str) -> None:
        destination = str(payload["destination"])
        _check_connected(call)
        _check_no_consultation(call)
        if call.direction == "internal":
            raise CommandFailed("unsupported", "the simulated exchange does not transfer calls between colleagues")
        queue = next((name for name, number in QUEUES.items() if number == destination), None)
        if queue is not None:
            self._conversations.take_for_transfer(call)
            self._conversations.transfer_to_queue(call, self._queues[queue])
            return
        colleague = self._agents.at_extension(destination)
        if colleague is None or colleague is call.agent:
            raise CommandFailed("rejected", "the simulated exchange has no such destination")
        if colleague.state != "available":
            raise CommandFailed("busy", f"the agent at {destination} is not available")
        self._conversations.take_for_transfer(call)
        self._conversations.transfer_to_agent(call, colleague)

    # Consultations, listening and recordings

    def _consult(self, call: SimulatedCall, payload: JsonObject, user_id: str) -> LaterOutcome:
        _check_connected(call)
        _check_agent(call, user_id)
        return self._consultations.consult(call, str(payload["destination"]))

    def _complete_consultation(self, call: SimulatedCall, payload: JsonObject, user_id: str) -> None:
        _check_agent(call, user_id)
        self._consultations.complete(call)

    def _cancel_consultation(self, call: SimulatedCall, payload: JsonObject, user_id: str) -> None:
        _check_agent(call, user_id)
        self._consultations.cancel(call)

    @staticmethod
    def _monitor(call: SimulatedCall, payload: JsonObject, user_id: str) -> None:
        """Let a supervisor listen: the phone of the supervisor is not simulated."""
        _check_connected(call)

    @staticmethod
    def _record(call: SimulatedCall, payload: JsonObject, user_id: str) -> JsonObject | None:
        _check_connected(call)
        action = payload["action"]
        if action == "stop":
            call.recording, call.is_recording_paused = None, False
            return None
        if action == "start":
            call.recording = call.recording or f"simulator-{call.unique_id}.wav"
        elif call.recording is None:
            raise CommandFailed("rejected", "the call is not being recorded by a command")
        call.is_recording_paused = action == "pause"
        return {"file": call.recording}


def _check_agent(call: SimulatedCall, user_id: str) -> None:
    if call.agent is None or call.agent.user_id != user_id:
        raise CommandFailed("rejected", "you are not in this call")


def _check_no_consultation(call: SimulatedCall) -> None:
    if call.consults:
        raise CommandFailed("rejected", "end the call with the colleague first")


def _check_connected(call: SimulatedCall) -> None:
    if not call.is_connected:
        raise CommandFailed("rejected", _NOT_CONNECTED)
