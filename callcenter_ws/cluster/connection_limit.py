"""ConnectionLimit: the maximum number of connections of a user over all nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from callcenter_ws.cluster.membership import Membership
from callcenter_ws.cluster.node_user import NodeUser, is_visitor_key, user_id_of
from callcenter_ws.delivery.limits import OverUserLimit
from callcenter_ws.delivery.user_probes import UserProbes
from callcenter_ws.errors import CloseCode
from callcenter_ws.runtime.clock import Clock


class UserLimitMessage(msgspec.Struct, frozen=True):
    """A request to all nodes about a user with too many connections. If it is lost, it is repeated.

    Attributes:
        user: the user's name within its tenant.
        action: ``probe``: ping the user's connections. ``count``: report them, and close the oldest of all if it is at
            that node.
    """

    tenant_id: str
    user: str
    action: Literal["probe", "count"]


decode_user_limit_message = msgspec.json.Decoder(UserLimitMessage).decode


class ConnectionLimit:
    """Acts on users who have more than ``per_user`` connections over all nodes.

    The connections at other nodes are known only after a connection was accepted, so a connection in excess gets its
    welcome, and perhaps some events, before it is closed.

    Args:
        per_user, over_limit: as for ``change``.
        send: sends a message to all nodes.
    """

    def __init__(
        self,
        membership: Membership,
        clock: Clock,
        per_user: int,
        over_limit: OverUserLimit,
        send: Callable[[UserLimitMessage], None],
    ) -> None:
        self._membership = membership
        self._send = send
        self._probes = UserProbes(clock)
        self.change(per_user, over_limit)

    def change(self, per_user: int, over_limit: OverUserLimit) -> None:
        """Use another limit from now on: a user is counted when one of its connections begins or ends.

        Args:
            per_user: the limit; 0: none.
            over_limit: whether a connection in excess is refused or replaces the user's oldest one.
        """
        self._per_user = per_user
        self.replaces = over_limit == "replace_oldest"

    def enforce(
        self, tenant_id: str, key: str, user: NodeUser, counts: Mapping[str, int], oldest: Mapping[str, float]
    ) -> bool:
        """Close connections in excess.

        Args:
            key: the user's name within its tenant.
            counts: the user's connections by node.
            oldest: by node, when its oldest connection of the user was opened, by Redis's clock; empty unless
                ``replaces``.

        Returns:
            Whether that was decided. If not, the user has to be counted again after the length of a lease: connections
            are counted at a node that may be dead, and whose clients may have come here, or at a node that has to close
            one.
        """
        if self._per_user:
            alive = {node: count for node, count in counts.items() if self._membership.is_certainly_alive(node)}
            excess = sum(alive.values()) - self._per_user
            if excess > 0 and self.replaces:
                return self._replace(tenant_id, key, user, {node: oldest[node] for node in alive if node in oldest})
            if excess > 0:
                self._refuse(tenant_id, key, user, excess)
            elif sum(counts.values()) > self._per_user:
                return False
        user.admitted = len(user.clients)
        return True

    def _refuse(self, tenant_id: str, key: str, user: NodeUser, excess: int) -> None:
        """Close the newest connections, and have all nodes ping the others unless these have answered."""
        refused = list(user.clients)[user.admitted :][-excess:]
        kept = [client for client in user.clients if client not in refused]
        if not refused:
            return
        refusal, is_probing = self._probes.decide(_user(tenant_id, key), kept)
        if is_probing:
            self._send(UserLimitMessage(tenant_id, key, "probe"))
        for client in refused:
            client.refuse(refusal)
            client.close(refusal.close_code)

    def _replace(self, tenant_id: str, key: str, user: NodeUser, oldest: Mapping[str, float]) -> bool:
        """Close the user's oldest connection if it is at this node; a report follows, and decides about the next."""
        user.admitted = len(user.clients)
        instance = self._membership.instance
        if user.clients and min(oldest, key=lambda node: oldest[node], default=instance) == instance:
            next(iter(user.clients)).close(CloseCode.REPLACED)
            return True
        self._send(UserLimitMessage(tenant_id, key, "count"))
        return False

    def probe(self, tenant_id: str, key: str, user: NodeUser) -> None:
        """Ping a user's connections at this node: another node has a connection in excess."""
        self._probes.probe(_user(tenant_id, key), user.clients)


def _user(tenant_id: str, key: str) -> tuple[str, str, bool]:
    return tenant_id, user_id_of(key), is_visitor_key(key)
