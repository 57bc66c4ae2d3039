"""ModelCommands: carries out commands in the model, as the simulator gets them from the gateway."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from callcenter_ws.demo.agents import Agent, AgentPool
from callcenter_ws.demo.calls import CallDistributor
from callcenter_ws.demo.sample_data import QUEUES
from callcenter_ws.demo.simulated_call import Queue, SimulatedCall
from callcenter_ws.remote import CommandFailed
from callcenter_ws.runtime.json import JsonObject

_NOT_CONNECTED = "no agent is in this call"
_ENDED = "there is no such call any more"


class ModelCommands:
    """Carries out commands at once, so that what they cause is done when they return.

    A command that asks for what is so already is done. One that is refused has changed nothing.

    Args:
        queues: one for each name in ``sample_data.QUEUES``.
    """

    def __init__(self, agents: AgentPool, calls: CallDistributor, queues: Sequence[Queue]) -> None:
        self._agents = agents
        self._calls = calls
        self._queues = {queue.name: queue for queue in queues}
        self._of_agents: Mapping[str, Callable[[Agent, JsonObject], None]] = {
            "agent.state.set": self._set_state,
            "queue.member.pause": self._pause,
            "queue.member.unpause": self._unpause,
        }
        self._of_calls: Mapping[str, Callable[[SimulatedCall, JsonObject, str], None]] = {
            "call.answer": self._answer,
            "call.hangup": self._hang_up,
            "call.hold": self._hold,
            "call.unhold": self._unhold,
            "call.transfer": self._transfer,
        }

    @property
    def names(self) -> Sequence[str]:
        """The commands that the model can carry out."""
        return (*self._of_agents, *self._of_calls)

    def carry_out(self, name: str, payload: JsonObject, user_id: str) -> None:
        """Carry out a command of a user.

        Raises:
            CommandFailed: it was not carried out.
        """
        if name in self._of_agents:
            agent = self._agent(str(payload.get("user_id") or user_id))
            self._of_agents[name](agent, payload)
            return
        call = self._calls.calls.get(str(payload["call_id"]))
        if call is None:
            raise CommandFailed("not_found", _ENDED)
        self._of_calls[name](call, payload, user_id)

    def _agent(self, user_id: str) -> Agent:
        agent = next((agent for agent in self._agents.agents if agent.user_id == user_id), None)
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
        agent.wanted = None
        if not agent.logged_in:
            self._agents.log_in(agent)
            return
        self._agents.unpause(agent, agent.person.queues)
        if not agent.in_call and agent.state != "available":
            self._agents.set_state(agent, "available")
        self._calls.distribute()

    def _make_absent(self, agent: Agent, state: str, reason: str | None) -> None:
        """Pause the agent everywhere; the state changes now, or when the call has ended."""
        self._agents.pause(agent, agent.person.queues, reason)
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
        if not agent.logged_in or queue_name not in agent.person.queues:
            raise CommandFailed("not_found", "the agent is not a member of this queue now")
        return queue_name

    # Calls

    def _answer(self, call: SimulatedCall, payload: JsonObject, user_id: str) -> None:
        if call.agent is None or call.agent.user_id != user_id:
            raise CommandFailed("rejected", "the call does not ring at this agent")
        if not call.is_connected:
            self._calls.answer(call)

    def _hang_up(self, call: SimulatedCall, payload: JsonObject, user_id: str) -> None:
        by_its_agent = call.agent is not None and call.agent.user_id == user_id
        if by_its_agent and not call.is_connected:
            self._calls.reject(call)
        else:
            self._calls.hang_up(call, "agent" if by_its_agent else "exchange")

    def _hold(self, call: SimulatedCall, payload: JsonObject, user_id: str) -> None:
        _check_connected(call)
        if call.held_since is None:
            self._calls.hold_until_unheld(call)

    def _unhold(self, call: SimulatedCall, payload: JsonObject, user_id: str) -> None:
        _check_connected(call)
        if call.held_since is not None:
            call.cancel_steps()
            self._calls.unhold(call)

    def _transfer(self, call: SimulatedCall, payload: JsonObject, user_id: str) -> None:
        destination = str(payload["destination"])
        _check_connected(call)
        queue = next((name for name, number in QUEUES.items() if number == destination), None)
        if queue is not None:
            self._calls.take_for_transfer(call)
            self._calls.transfer_to_queue(call, self._queues[queue])
            return
        colleague = next((agent for agent in self._agents.agents if agent.person.extension == destination), None)
        if colleague is None or colleague is call.agent:
            raise CommandFailed("rejected", "the simulated exchange has no such destination")
        if colleague.state != "available":
            raise CommandFailed("busy", f"the agent at {destination} is not available")
        self._calls.take_for_transfer(call)
        self._calls.transfer_to_agent(call, colleague)


def _check_connected(call: SimulatedCall) -> None:
    if not call.is_connected:
        raise CommandFailed("rejected", _NOT_CONNECTED)
