"""ConnectionLimit: the maximum number of connections of a user over all nodes."""

from __future__ import annotations

from callcenter_ws.cluster.membership import Membership
from callcenter_ws.cluster.node_user import NodeUser
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal

_TOO_MANY = Refusal(ErrorCode.CONNECTION_LIMIT, "the user has too many connections, other nodes included")


class ConnectionLimit:
    """Closes connections of users who have more than ``per_user`` over all nodes.

    The connections at other nodes are known only after a connection was accepted, so a connection in excess gets its
    welcome, and perhaps some events, before it is closed.

    Args:
        per_user: the limit; 0: none.
    """

    def __init__(self, membership: Membership, per_user: int) -> None:
        self._membership = membership
        self._per_user = per_user

    def enforce(self, user: NodeUser, counts: dict[str, int]) -> bool:
        """Close the newest connections in excess.

        Args:
            counts: the user's connections by node.

        Returns:
            Whether that was decided. If not, the user has to be counted again after the length of a lease: connections
            are counted at a node that may be dead, and whose clients may have come here.
        """
        if self._per_user:
            certain = sum(count for node, count in counts.items() if self._membership.is_certainly_alive(node))
            excess = certain - self._per_user
            if excess > 0:
                for client in list(user.clients)[user.admitted :][-excess:]:
                    client.refuse(_TOO_MANY)
                    client.close(CloseCode.CONNECTION_LIMIT)
            elif sum(counts.values()) > self._per_user:
                return False
        user.admitted = len(user.clients)
        return True
