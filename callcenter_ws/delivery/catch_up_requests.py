"""What a client asks its catch-up for: replays, snapshots and changes of the subscription."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from callcenter_ws.delivery.snapshot_cache import RequestId, SharedSnapshot
from callcenter_ws.delivery.subscription import SubscriptionChange


@dataclass(slots=True)
class ReplayRequest:
    """A request for every publication after a position.

    Attributes:
        then_snapshot: whether to send a snapshot after the replay; a reset has one anyway.
        until: the head of the stream when the replay began.
        count: the number of publications that were queued.
        outdated: whether the client may see more by a new token than when the replay began.
    """

    epoch: str
    seq: int
    request_id: RequestId = None
    then_snapshot: bool = False
    until: int = 0
    count: int = 0
    outdated: bool = False


@dataclass(slots=True)
class SnapshotRequest:
    """A request for the tenant's state.

    Attributes:
        until: the position of the snapshot, at which the client is sent it.
    """

    request_id: RequestId = None
    until: int = 0
    snapshot: SharedSnapshot | None = None


class ChangeRequest(NamedTuple):
    """A change of the subscription, which is in force for what is sent after it."""

    change: SubscriptionChange
    request_id: RequestId = None


Request = ReplayRequest | SnapshotRequest
