"""The actions that change the queues of an exchange that is played, as those of Asterisk do: for commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.played_state import PlayedState

Headers = dict[str, str]

CHANGES = {"QueueAdd": ("agent",), "QueuePause": ("agent",), "QueueRemove": ("agent",)}
"""The actions, and the right that each of them needs."""

_TRUE = ("yes", "true", "y", "t", "1", "on")
_MAX_REASON_BYTES = 79


def changed_by(action: AmiMessage, state: PlayedState, now: float) -> tuple[str, str, Sequence[Headers]]:
    """Return what becomes of an action: ``Success`` or ``Error``, a text, and the events that change the state.

    Args:
        now: the Unix time.
    """
    answers = {"QueueAdd": _add, "QueuePause": _pause, "QueueRemove": _remove}
    return answers[action.get("Action")](action, state, now)


def _add(action: AmiMessage, state: PlayedState, now: float) -> tuple[str, str, Sequence[Headers]]:
    queue, interface = action.get("Queue"), action.get("Interface")
    if queue not in state.queue_names:
        return "Error", "Unable to add interface to queue: No such queue", ()
    if state.member(queue, interface) is not None:
        return "Error", "Unable to add interface: Already there", ()
    is_paused = action.get("Paused").lower() in _TRUE
    member = {
        "Queue": queue,
        "MemberName": action.get("MemberName") or interface,
        "Interface": interface,
        "StateInterface": action.get("StateInterface") or interface,
        "Membership": "dynamic",
        "Penalty": action.get("Penalty") or "0",
        "CallsTaken": "0",
        "LastCall": "0",
        "LastPause": str(int(now)) if is_paused else "0",
        "LoginTime": str(int(now)),
        "InCall": "0",
        "Status": "1",
        "Paused": str(int(is_paused)),
        "PausedReason": _cut(action.get("Reason")) if is_paused else "",
        "Ringinuse": "0",
        "Wrapuptime": "0",
    }
    return "Success", "Added interface to queue", [_event("QueueMemberAdded", member, now)]


def _pause(action: AmiMessage, state: PlayedState, now: float) -> tuple[str, str, Sequence[Headers]]:
    """Pause or unpause a member in one queue, or in all; Asterisk tells it of each of them, repeats included."""
    wanted, interface = action.get("Queue"), action.get("Interface")
    is_paused = action.get("Paused").lower() in _TRUE
    found = [
        member
        for queue in state.queue_names
        if wanted in ("", queue) and (member := state.member(queue, interface)) is not None
    ]
    if not found:
        return "Error", "Interface not found", ()
    changes = {
        "Paused": str(int(is_paused)),
        "PausedReason": _cut(action.get("Reason")) if is_paused else "",
        **({"LastPause": str(int(now))} if is_paused else {}),
    }
    text = "Interface paused successfully" if is_paused else "Interface unpaused successfully"
    return "Success", text, [_event("QueueMemberPause", {**member, **changes}, now) for member in found]


def _remove(action: AmiMessage, state: PlayedState, now: float) -> tuple[str, str, Sequence[Headers]]:
    queue, interface = action.get("Queue"), action.get("Interface")
    member = state.member(queue, interface)
    if queue not in state.queue_names:
        return "Error", "Unable to remove interface from queue: No such queue", ()
    if member is None:
        return "Error", "Unable to remove interface: Not there", ()
    if member["Membership"] != "dynamic":
        return "Error", "Member not dynamic", ()
    return "Success", "Removed interface from queue", [_event("QueueMemberRemoved", member, now)]


def _event(name: str, member: Mapping[str, str], now: float) -> Headers:
    return {"Event": name, "Privilege": "agent,all", "Timestamp": f"{now:.6f}", **member}


def _cut(reason: str) -> str:
    return reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")
