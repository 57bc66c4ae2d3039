"""What each agent does in calls, derived from the calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from callcenter_ws.bridge.call import Call, Leg

Activity = Literal["", "busy", "ringing", "talking", "hold"]
"""What an agent does in one call: nothing, or dials, or more."""

SetActivity = Callable[[str, str, Activity, float], None]
"""Called with a user, a call, what the user does in it (``""``: nothing any more), and the time."""

_ORDER: dict[Activity, int] = {"": 0, "busy": 1, "ringing": 2, "hold": 3, "talking": 4}


class Activities:
    """Keeps what each agent does in each call.

    Args:
        set_activity: told what users do, as soon as it changes.
    """

    def __init__(self, set_activity: SetActivity | None) -> None:
        self._set_activity = set_activity
        self._by_call: dict[str, dict[str, Activity]] = {}
        self._by_agent: dict[str, dict[str, Activity]] = {}

    def update(self, call: Call, time: float) -> list[str]:
        """Note what agents do in a call now; return those who talked in it, and now have left or hold it."""
        new = _activities_in(call)
        old = self._by_call.get(call.call_id) or {}
        if new == old:
            return []
        if new:
            self._by_call[call.call_id] = new
        else:
            self._by_call.pop(call.call_id, None)
        users = _users(call)
        done = []
        for agent_id in {**old, **new}:
            activity = new.get(agent_id, "")
            before = old.get(agent_id, "")
            if activity == before:
                continue
            self._note(agent_id, call.call_id, activity)
            if self._set_activity is not None and (agent_id in users or not activity):
                self._set_activity(agent_id, call.call_id, activity, time)
            if before == "talking":
                done.append(agent_id)
        return done

    def of_agent(self, agent_id: str) -> dict[str, Activity]:
        """Return what an agent does, by call."""
        return self._by_agent.get(agent_id, {})

    def talking_in(self, agent_id: str, but: str) -> list[str]:
        """Return the calls in which an agent talks and which this agent does not hold.

        Args:
            but: a call that does not count.
        """
        found = self._by_agent.get(agent_id)
        if not found:
            return []
        return [call_id for call_id, activity in found.items() if activity == "talking" and call_id != but]

    def _note(self, agent_id: str, call_id: str, activity: Activity) -> None:
        calls = self._by_agent.setdefault(agent_id, {})
        if activity:
            calls[call_id] = activity
            return
        calls.pop(call_id, None)
        if not calls:
            del self._by_agent[agent_id]


def _activities_in(call: Call) -> dict[str, Activity]:
    found: dict[str, Activity] = {}
    for leg in call.legs.values():
        if leg.state == "silent":
            continue
        activity = _activity_of(leg)
        agent_id = leg.party.agent_id
        if _ORDER[activity] > _ORDER[found.get(agent_id, "")]:
            found[agent_id] = activity
    if call.caller is not None:
        activity = "busy" if not call.is_talking() else "hold" if call.caller_holding else "talking"
        agent_id = call.caller.agent_id
        if _ORDER[activity] > _ORDER[found.get(agent_id, "")]:
            found[agent_id] = activity
    return found


def _activity_of(leg: Leg) -> Activity:
    if leg.state == "talking":
        return "hold" if leg.holding else "talking"
    return "ringing" if leg.state == "ringing" else "busy"


def _users(call: Call) -> set[str]:
    users = {leg.party.agent_id for leg in call.legs.values() if leg.party.is_user}
    if call.caller is not None and call.caller.is_user:
        users.add(call.caller.agent_id)
    return users
