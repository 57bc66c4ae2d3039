"""The exchange's own lists of its channels, bridges, queues, members and waiting callers at one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from callcenter_ws.bridge.asterisk.message import AmiMessage


@dataclass(frozen=True, slots=True)
class AmiSnapshot:
    """The answers to CoreStatus, QueueStatus, CoreShowChannels and BridgeList, after one login.

    Attributes:
        boot: identifies the run of the exchange: its start time.
        version: of the exchange's software.
        channels: the messages ``CoreShowChannel``.
        bridges: the messages ``BridgeListItem``.
        queues, members, entries: the messages ``QueueParams``, ``QueueMember`` and ``QueueEntry``.
        meanwhile: the events that came while the lists were answered, and when. They are handled afterwards.
        listed: when the first channel of the list arrived, in Unix seconds; None: with the end of the lists.
        is_audit: whether all events before are known; else there was no connection for some time.
    """

    boot: str
    version: str
    channels: Sequence[AmiMessage]
    bridges: Sequence[AmiMessage]
    queues: Sequence[AmiMessage]
    members: Sequence[AmiMessage]
    entries: Sequence[AmiMessage]
    meanwhile: Sequence[tuple[AmiMessage, float]] = ()
    is_audit: bool = False
    listed: float | None = None
