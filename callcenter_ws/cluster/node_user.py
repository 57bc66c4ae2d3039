"""NodeUser: a user's clients at this node, and the name of a user within its tenant."""

from __future__ import annotations

from dataclasses import dataclass, field

from callcenter_ws.interfaces import PresenceClient


@dataclass(slots=True)
class NodeUser:
    """A user's clients at this node.

    Attributes:
        clients: in the order in which they were registered, with that time of the monotonic clock.
        admitted: how many of the clients, from the first on, are known to be within the connection limit.
        announced: whether ``presence.changed`` is published for the user.
        grace: seconds between the last disconnect and the offline announcement.
    """

    clients: dict[PresenceClient, float] = field(default_factory=dict)
    admitted: int = 0
    announced: bool = False
    grace: float = 0.0


def user_key(user_id: str, *, is_visitor: bool) -> str:
    """Return a user's name within its tenant; a visitor and an agent with the same id are different users."""
    return f"{'v' if is_visitor else 's'}:{user_id}"


def is_visitor_key(key: str) -> bool:
    """Return whether the user with this name is a visitor."""
    return key.startswith("v:")


def user_id_of(key: str) -> str:
    """Return the id of the user with this name."""
    return key.partition(":")[2]
