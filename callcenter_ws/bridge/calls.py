"""The calls of one exchange: facts of any kind of exchange in, ``call.*``, ``queue.joined`` and ``queue.left`` out.

The book keeps the laws of calls, whatever the order of the facts: one ``call.incoming`` and one ``call.ended`` for each
call, ``queue.left`` for each ``queue.joined``, no stay in a queue both answered and abandoned, paired holds, and no
agent who talks in two calls of which none is held. A fact that contradicts them has no effect.
"""

from __future__ import annotations

from collections.abc import Iterable

from callcenter_ws.bridge.call import Call, Leg, Party, Transfer
from callcenter_ws.bridge.call_register import CallRegister
from callcenter_ws.bridge.call_sums import bring_up_to_date, close_ringing
from callcenter_ws.bridge.call_writer import seconds
from callcenter_ws.runtime.json import JsonValue


class CallBook(CallRegister):
    """The calls that go on, and who rings, talks, holds and transfers in them."""

    # Agents

    def ring(self, call: Call, leg_id: str, party: Party, channel: str, time: float) -> None:
        """Tell that the call rings at an agent, once for each agent and attempt."""
        if leg_id in call.legs or not self._go_on(call, party):
            return
        time = self._writer.at(call, time)
        same = [(key, leg) for key, leg in call.legs.items() if leg.party.agent_id == party.agent_id]
        for key, leg in same:
            if leg.state == "silent":
                del call.legs[key]
        is_known = any(leg.state != "silent" for _, leg in same)
        leg = call.legs[leg_id] = Leg(party, channel, time, queue=call.queue if call.stay is not None else "")
        if call.first_ring is None:
            call.first_ring = time
        if not is_known and not call.talks(party.agent_id):
            self._writer.publish(call, "call.ringing", time, leg)
        self._changed(call, time)

    def consult(self, call: Call, leg_id: str, time: float) -> None:
        """Note that a device has answered whose agent is consulted: it rings no more, and is in no conversation yet."""
        leg = call.legs.get(leg_id)
        if leg is not None and leg.state == "ringing":
            leg.state = "consulted"
            self._changed(call, self._writer.at(call, time))

    def stop_ringing(self, call: Call, leg_id: str, time: float, *, is_open: bool = False) -> None:
        """Note that a device rings no more, without an event: another one answered, or the caller left.

        Args:
            is_open: it may still be told that it missed the call.
        """
        leg = call.legs.get(leg_id)
        if leg is not None and leg.state != "talking":
            if is_open:
                leg.state = "silent"
            else:
                del call.legs[leg_id]
            self._changed(call, self._writer.at(call, time))

    def miss(self, call: Call, leg_id: str, time: float, party: Party | None = None) -> None:
        """Tell that an agent did not answer. All legs of this agent stop ringing.

        Args:
            party: the agent, if the ringing is not known.
        """
        found = call.legs.get(leg_id)
        if found is not None:
            party = found.party
        if party is None or call.talks(party.agent_id):
            self.stop_ringing(call, leg_id, time)
            return
        self.announce(call)
        time = self._writer.at(call, time)
        legs = [(key, leg) for key, leg in call.legs.items() if leg.party.agent_id == party.agent_id]
        for key, _ in legs:
            del call.legs[key]
        since = min((leg.since for _, leg in legs), default=time)
        shown = legs[0][1] if legs else Leg(party, "", time)
        extra: dict[str, JsonValue] = {} if self._writer.is_reconciling else {"ring_seconds": seconds(time - since)}
        self._writer.publish(call, "call.missed", time, shown, extra)
        self._changed(call, time)

    def answer(self, call: Call, leg_id: str, party: Party, channel: str, time: float) -> None:
        """Tell that an agent has answered; nothing else in the call rings any more."""
        self.leave(call, "answered", time)
        if call.talks(party.agent_id) or not self._go_on(call, party):
            self.stop_ringing(call, leg_id, time)
            return
        time = self._writer.at(call, time)
        since = [leg.since for leg in call.legs.values() if leg.party.agent_id == party.agent_id]
        self._begin_talk(call, party, time)
        self._stop_all_ringing(call)
        leg = call.legs[leg_id] = Leg(party, channel, time, "talking", queue=call.queue)
        call.agent, call.destination_channel = party, channel
        payload = _waited(call)
        if since and not self._writer.is_reconciling:
            payload["ring_seconds"] = seconds(time - min(since))
        self._writer.publish(call, "call.answered", time, leg, payload)
        bring_up_to_date(call, time)
        self._changed(call, time)

    def reach(self, call: Call, leg_id: str, channel: str, time: float) -> None:
        """Tell that the outside has answered a call that an agent made."""
        caller = call.caller
        if caller is None or leg_id in call.remote or not self._go_on(call, None):
            return
        time = self._writer.at(call, time)
        is_first = not call.is_talking()
        self._begin_talk(call, caller, time)
        self._stop_all_ringing(call)
        call.remote[leg_id] = channel
        call.agent, call.destination_channel = caller, channel
        if is_first:
            self._writer.publish(call, "call.answered", time, None, _waited(call))
        bring_up_to_date(call, time)
        self._changed(call, time)

    def release(self, call: Call, leg_id: str, time: float) -> None:
        """Note that a device that talked is in the call no more."""
        leg = call.legs.get(leg_id)
        if leg is not None and leg.state == "talking":
            del call.legs[leg_id]
        elif call.remote.pop(leg_id, None) is None:
            return
        time = self._writer.at(call, time)
        bring_up_to_date(call, time)
        self._changed(call, time)

    def release_caller(self, call: Call, time: float) -> None:
        """Note that the agent who made the call is in it no more; those outside whom it reached may go on."""
        call.caller, call.caller_holding = None, ""
        call.remote.clear()
        time = self._writer.at(call, time)
        bring_up_to_date(call, time)
        self._changed(call, time)

    def _begin_talk(self, call: Call, party: Party, time: float) -> None:
        close_ringing(call, time)
        if call.answered is None:
            call.answered = time
        self._holds.tell_end(call, time)
        for agent in (party, call.caller):
            if agent is not None:
                self._holds.imply(call, agent.agent_id, time)

    # Holds and transfers

    def hold(self, call: Call, leg_id: str, time: float) -> None:
        """Tell that a participant holds the call.

        Args:
            leg_id: one of the call's legs; any other is the caller's.
        """
        self._holds.hold(call, leg_id, time)
        self._changed(call, time)

    def unhold(self, call: Call, leg_id: str, time: float) -> None:
        """Tell that a participant holds the call no more. Calls in which this agent talks meanwhile are held."""
        leg = call.legs.get(leg_id)
        party = leg.party if leg is not None else call.caller
        holding = leg.holding if leg is not None else call.caller_holding
        if not holding:
            return
        if party is not None:
            self._holds.imply(call, party.agent_id, self._writer.at(call, time))
        self._holds.unhold(call, leg_id, time)
        self._changed(call, time)

    def talks_elsewhere(self, call: Call, leg_id: str) -> bool:
        """Return whether the agent of a leg talks in another call."""
        leg = call.legs.get(leg_id)
        party = leg.party if leg is not None else call.caller
        return party is not None and bool(self._activities.talking_in(party.agent_id, call.call_id))

    def transfer(self, call: Call, transfer: Transfer, to: Party | None = None, *, is_settled: bool = False) -> None:
        """Tell a transfer that has succeeded; a blind one when it rings at its target, so that this is known.

        Args:
            is_settled: tell it now.
        """
        self._tell_transfer(call, None)
        if self._go_on(call, None):
            call.transfer = transfer
            if is_settled:
                self._tell_transfer(call, to)
            self._writer.changed(call)

    def move(self, source: Call, target: Call, leg_ids: Iterable[str], time: float) -> Party | None:
        """Move legs to another call, silently, as an attended transfer does.

        Returns:
            The agent who talks there now, of those that were moved.
        """
        found: Party | None = None
        for leg_id in leg_ids:
            leg = source.legs.pop(leg_id, None)
            if leg is not None:
                leg.holding = ""
                target.legs[leg_id] = leg
                if leg.state == "talking":
                    found = target.agent = leg.party
                    target.destination_channel = leg.channel
            elif leg_id in source.remote:
                target.remote[leg_id] = source.remote.pop(leg_id)
        for call in (source, target):
            bring_up_to_date(call, self._writer.at(call, time))
            self._changed(call, time)
        return found

    def tell_unseen_answer(self, call: Call, time: float) -> None:
        """Tell that a call is answered into which a talking agent was moved, if no answer was seen before."""
        talking = [leg for leg in call.legs.values() if leg.state == "talking"]
        if talking and call.answered is None and self._go_on(call, talking[-1].party):
            call.answered = self._writer.at(call, time)
            self._writer.publish(call, "call.answered", call.answered, talking[-1])

    def bring_in(self, call: Call, leg_id: str, party: Party, channel: str, time: float) -> None:
        """Let an agent talk in the call who was consulted, silently, as an attended transfer does."""
        if call.is_abandoned or call.answered is None or call.talks(party.agent_id):
            return
        time = self._writer.at(call, time)
        call.legs[leg_id] = Leg(party, channel, time, "talking", queue=call.queue)
        call.agent, call.destination_channel = party, channel
        bring_up_to_date(call, time)
        self._changed(call, time)

    def tell_transfer(self, call: Call) -> None:
        """Tell a transfer now whose target is not known yet."""
        self._tell_transfer(call, None)


def _waited(call: Call) -> dict[str, JsonValue]:
    return {} if call.is_incomplete else {"wait_seconds": seconds(call.wait_seconds)}
