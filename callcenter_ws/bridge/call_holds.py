"""Holds of calls: told once for each call, paired, and implied where an agent answers a second call."""

from __future__ import annotations

from collections.abc import Mapping

from callcenter_ws.bridge.activities import Activities
from callcenter_ws.bridge.call import Call, Holding
from callcenter_ws.bridge.call_sums import bring_up_to_date
from callcenter_ws.bridge.call_writer import CallWriter
from callcenter_ws.runtime.json import JsonValue


class CallHolds:
    """Tells ``call.hold`` and ``call.unhold``.

    Args:
        calls: those that go on.
    """

    def __init__(self, writer: CallWriter, activities: Activities, calls: Mapping[str, Call]) -> None:
        self._writer = writer
        self._activities = activities
        self._calls = calls

    def hold(self, call: Call, leg_id: str, time: float, kind: Holding = "told") -> None:
        """Note that a participant holds the call, and tell it if no other participant holds it.

        Args:
            leg_id: one of the call's legs; any other is the caller's.
        """
        leg = call.legs.get(leg_id)
        if not call.is_talking() or (leg is not None and leg.state != "talking"):
            return
        if leg is not None:
            leg.holding = kind
        else:
            call.caller_holding = kind
        time = self._writer.at(call, time)
        bring_up_to_date(call, time)
        if not call.held_by:
            party = leg.party if leg is not None else call.caller
            call.held_by = party.agent_id if party is not None else "caller"
            extra: dict[str, JsonValue] = {"held_by": call.held_by}
            if kind == "implied":
                extra["implied"] = True
            self._writer.publish(call, "call.hold", time, leg, extra)
        self._writer.changed(call)

    def unhold(self, call: Call, leg_id: str, time: float) -> None:
        """Note that a participant holds the call no more, and tell it if that was the last one."""
        leg = call.legs.get(leg_id)
        if leg is not None:
            leg.holding = ""
        else:
            call.caller_holding = ""
        time = self._writer.at(call, time)
        bring_up_to_date(call, time)
        if call.is_talking() and not call.holds():
            self.tell_end(call, time)
        self._writer.changed(call)

    def tell_end(self, call: Call, time: float) -> None:
        """Publish ``call.unhold`` if ``call.hold`` was published and the call goes on."""
        if call.held_by:
            held_by, call.held_by = call.held_by, ""
            self._writer.publish(call, "call.unhold", time, None, {"held_by": held_by})

    def imply(self, call: Call, agent_id: str, time: float) -> list[Call]:
        """Hold the other calls in which an agent talks who answers this one; return them."""
        changed = []
        for other_id in self._activities.talking_in(agent_id, call.call_id):
            other = self._calls.get(other_id)
            if other is not None:
                self.hold(other, _leg_of(other, agent_id), time, "implied")
                self._activities.update(other, time)
                changed.append(other)
        return changed

    def end_implied(self, agent_id: str, time: float) -> list[Call]:
        """End the implied holds of an agent who talks in no other call any more; return the calls."""
        if self._activities.talking_in(agent_id, ""):
            return []
        changed = []
        for call_id in list(self._activities.of_agent(agent_id)):
            call = self._calls.get(call_id)
            if call is None:
                continue
            leg = call.legs.get(leg_id := _leg_of(call, agent_id))
            holding = leg.holding if leg is not None else call.caller_holding
            if holding == "implied":
                self.unhold(call, leg_id, time)
                changed.append(call)
                break
        return changed


def _leg_of(call: Call, agent_id: str) -> str:
    for leg_id, leg in call.legs.items():
        if leg.party.agent_id == agent_id and leg.state == "talking":
            return leg_id
    return ""
