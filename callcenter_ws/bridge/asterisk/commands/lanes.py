"""Which commands are carried out one after the other, and which exclude each other."""

from __future__ import annotations

from callcenter_ws.bridge.asterisk.commands.checked_command import CheckedCommand

Lane = tuple[str, str]
"""A tenant and a user whose commands are carried out one after the other."""

_EXCLUSIVE = {"call.transfer": "move", "call.consult": "move", "call.record": "record"}
"""Commands that begin something with a call, and what of it must not be begun twice."""


def lane_of(command: CheckedCommand) -> Lane | None:
    """Return the lane of a command about the states and memberships of a user; None: it need not wait for others.

    Each of them decides by the present state what has to be done: that is the one which the command before has left.
    """
    if not command.name.startswith(("agent.", "queue.")):
        return None
    return command.tenant_id, getattr(command.payload, "user_id", None) or command.user_id


def excludes(running: CheckedCommand, command: CheckedCommand) -> bool:
    """Return whether a command cannot be begun while another one is being carried out."""
    kind = _EXCLUSIVE.get(command.name)
    if kind is None or kind != _EXCLUSIVE.get(running.name):
        return False
    return getattr(command.payload, "call_id", None) == getattr(running.payload, "call_id", "")
