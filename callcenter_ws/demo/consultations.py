"""Calls that agents dial, and the colleagues whom they ask during a call."""

from __future__ import annotations

from collections.abc import Callable

from callcenter_ws.demo.agents import Agent, AgentPool
from callcenter_ws.demo.calls import RING_SECONDS, CallDistributor
from callcenter_ws.demo.conversations import round_seconds
from callcenter_ws.demo.sample_data import QUEUES
from callcenter_ws.demo.scheduler import Scheduler
from callcenter_ws.demo.simulated_call import SimulatedCall
from callcenter_ws.remote import CommandFailed
from callcenter_ws.runtime.json import JsonObject

_COLLEAGUE_ANSWERS = (2, 4)
_NUMBER_ANSWERS = (3, 8)
_TALK = (40, 180)


class LaterOutcome:
    """The outcome of a command whose effect takes a while.

    Attributes:
        is_known: whether it has an outcome.
        data: of a command that was carried out.
        failure: why it was not.
    """

    def __init__(self) -> None:
        self.is_known = False
        self.data: JsonObject | None = None
        self.failure: CommandFailed | None = None

    def done(self, data: JsonObject | None = None) -> None:
        """Note that the command was carried out."""
        if not self.is_known:
            self.is_known, self.data = True, data

    def failed(self, failure: CommandFailed) -> None:
        """Note that it was not."""
        if not self.is_known:
            self.is_known, self.failure = True, failure


class Consultations:
    """Dials for agents, and brings a second agent into a call.

    The events are those of a bridge to an Asterisk: a consulted colleague rings in the call that is held, and becomes
    its agent only if the call is transferred.
    """

    def __init__(self, scheduler: Scheduler, agents: AgentPool, calls: CallDistributor) -> None:
        self._scheduler = scheduler
        self._agents = agents
        self._calls = calls
        self._outcomes: dict[str, LaterOutcome] = {}

    # Dialing

    def originate(self, agent: Agent, destination: str) -> JsonObject:
        """Call a number, a colleague or a queue with the agent's phone; return what the asker is told.

        Raises:
            CommandFailed: the phone, or the colleague, is not free.
        """
        if not agent.logged_in:
            raise CommandFailed("rejected", "the agent is not signed in")
        if agent.in_call:
            raise CommandFailed("busy", "your phone is busy")
        colleague = self._free_colleague(agent, destination)
        agent.cancel_change()
        call = self._calls.new_call(
            agent.person.extension, agent.person.name, destination, f"{agent.person.extension}-dialed"
        )
        call.direction = "outbound" if colleague is None else "internal"
        call.agent, call.rang = agent, self._scheduler.now
        # The agent's own phone does not ring: it dials at once.
        self._scheduler.emit("call.incoming", call.fields())
        self._agents.set_state(agent, "busy")
        if colleague is None:
            seconds = self._scheduler.random_seconds(*_NUMBER_ANSWERS)
            call.ringing = self._scheduler.call_later(seconds, self._dialed_answers, call)
        else:
            self._ring_colleague(call, colleague, self._dialed_answers, self._dialed_is_silent)
            call.ringing = call.other_answers
        return {"call_id": call.unique_id}

    def _dialed_answers(self, call: SimulatedCall) -> None:
        agent = call.agent
        assert agent is not None  # noqa: S101 - narrows the type
        call.ringing = call.other_answers = None
        call.is_persons = agent.is_played
        call.answered, call.answered_at = self._scheduler.now, self._scheduler.timestamp()
        ring_seconds = round_seconds(call.answered - call.rang)
        self._scheduler.emit("call.answered", call.fields(ring_seconds=ring_seconds, **_fields_of(call.other)))
        self._agents.set_state(agent, "talking")
        if call.other is not None:
            self._agents.set_state(call.other, "talking")
        conversations = self._calls.conversations
        conversations.go_on(call, self._scheduler.random_seconds(*_TALK), conversations.end_by_caller)

    def _dialed_is_silent(self, call: SimulatedCall) -> None:
        self._calls.hang_up(call, "exchange")

    # Consultations

    def consult(self, call: SimulatedCall, destination: str) -> LaterOutcome:
        """Hold the caller, and call a colleague or a queue; the outcome is known when the colleague has answered.

        Raises:
            CommandFailed: no colleague is free there.
        """
        agent = call.agent
        assert agent is not None  # noqa: S101 - narrows the type
        if call.other is not None:
            raise CommandFailed("busy", "there is a consultation already")
        colleague = self._free_colleague(agent, destination)
        if colleague is None:
            raise CommandFailed("not_found", "the simulated exchange has no such destination")
        outcome = self._outcomes[call.unique_id] = LaterOutcome()
        self._calls.conversations.hold_until_unheld(call)
        self._ring_colleague(call, colleague, self._consulted_answers, self._consulted_is_silent)
        return outcome

    def complete(self, call: SimulatedCall) -> None:
        """Connect the caller with the colleague.

        Raises:
            CommandFailed: the colleague has not answered.
        """
        if not call.consults or call.other_answers is not None:
            raise CommandFailed("rejected", "no colleague was consulted who has answered")
        self._calls.conversations.complete_transfer(call)

    def cancel(self, call: SimulatedCall) -> None:
        """Go back to the caller.

        Raises:
            CommandFailed: there is no consultation.
        """
        if not call.consults:
            raise CommandFailed("rejected", "there is no consultation")
        self._outcome_of(call).failed(CommandFailed("rejected", "the consultation was cancelled"))
        self._back_to_caller(call)

    def answer(self, call: SimulatedCall) -> None:
        """Have the colleague answer now."""
        step = call.other_answers
        if step is not None:
            step.cancel()
            call.other_answers = None
            (self._dialed_answers if call.direction != "inbound" else self._consulted_answers)(call)

    def take_ended(self) -> None:
        """Close what was asked about calls that have ended, or whose colleague has left, before it was done."""
        for call_id in list(self._outcomes):
            call = self._calls.calls.get(call_id)
            if call is None or call.other is None:
                self._outcomes.pop(call_id).failed(CommandFailed("not_found", "the call has ended"))

    def _consulted_answers(self, call: SimulatedCall) -> None:
        assert call.other is not None  # noqa: S101 - narrows the type
        call.other_answers = None
        self._agents.set_state(call.other, "talking")
        self._outcome_of(call).done({"destination": call.other.person.extension})

    def _consulted_is_silent(self, call: SimulatedCall) -> None:
        self._outcome_of(call).failed(CommandFailed("rejected", "the target did not answer"))
        self._back_to_caller(call)

    def _back_to_caller(self, call: SimulatedCall) -> None:
        call.cancel_steps()
        other = call.other
        self._calls.conversations.unhold(call)
        if other is not None:
            self._calls.conversations.release_other(call)

    def _outcome_of(self, call: SimulatedCall) -> LaterOutcome:
        return self._outcomes.pop(call.unique_id, None) or LaterOutcome()

    # Colleagues

    def _free_colleague(self, agent: Agent, destination: str) -> Agent | None:
        """Return the colleague with this extension, or who is next at the queue with this number; None: it is outside.

        Raises:
            CommandFailed: the colleague is not available, or no colleague at the queue is.
        """
        queue_name = next((name for name, number in QUEUES.items() if number == destination), None)
        if queue_name is not None:
            return self._next_at(agent, queue_name)
        colleague = self._agents.at_extension(destination)
        if colleague is agent:
            raise CommandFailed("rejected", "this is your own phone")
        if colleague is not None and colleague.state != "available":
            raise CommandFailed("busy", f"the agent at {destination} is not available")
        return colleague

    def _next_at(self, agent: Agent, queue_name: str) -> Agent:
        for colleague in self._agents.available(queue_name):
            if colleague is not agent:
                return colleague
        raise CommandFailed("busy", f"no other agent of the queue {queue_name} is available")

    def _ring_colleague(
        self,
        call: SimulatedCall,
        colleague: Agent,
        answers: Callable[[SimulatedCall], None],
        is_silent: Callable[[SimulatedCall], None],
    ) -> None:
        call.other = colleague
        self._scheduler.emit("call.ringing", call.fields(**_fields_of(colleague)))
        self._agents.set_state(colleague, "ringing")
        if colleague.is_played:
            call.other_answers = self._scheduler.call_later(RING_SECONDS, is_silent, call)
        else:
            seconds = self._scheduler.random_seconds(*_COLLEAGUE_ANSWERS)
            call.other_answers = self._scheduler.call_later(seconds, answers, call)


def _fields_of(colleague: Agent | None) -> JsonObject:
    """Return the fields of a call that name who is called; none for a number outside."""
    return {} if colleague is None else {"agent_id": colleague.user_id, "agent_name": colleague.person.name}
