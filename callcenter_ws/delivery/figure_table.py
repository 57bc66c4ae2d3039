"""The present figures of a tenant at this node, each with the version at which it changed."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import chain
from operator import attrgetter

import msgspec

from callcenter_ws.delivery.subscription import FixedSubscription, Subscription
from callcenter_ws.events.catalogue import CATALOGUE, EventType
from callcenter_ws.events.frames import PLAIN, WireFormat, text_frame
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.redaction import View
from callcenter_ws.runtime.json import encode_json

AGENT_STATS, QUEUE_STATS, TENANT_STATS = "agent.stats", "queue.stats", "tenant.stats"
FIGURE_TYPES = (QUEUE_STATS, AGENT_STATS, TENANT_STATS)
"""The event types of live figures; the key of a figure begins with its type."""

FIGURES_BYTES = 61_440
"""Size at which a batch of figures ends; it exceeds this by one figure at most."""


class _Payload(msgspec.Struct):
    epoch: str = ""
    as_of_seq: int = 0
    generated_at: str = ""
    queue_name: str | None = None
    user_id: str | None = None
    queues: list[str] | None = None


class _Message(msgspec.Struct):
    type: str
    payload: _Payload


_decode = msgspec.json.Decoder(_Message).decode


class Figure(msgspec.Struct, eq=False):
    """A live figure, and its frames.

    Attributes:
        type: the declaration of its type.
        queue_name: the queue that it is about.
        user_id: the agent that it is about.
        queues: the queues whose member the agent is.
        order: epoch, ``as_of_seq`` and ``generated_at``: of two figures with one key, that with the greater one is
            newer. Epochs are ULIDs, so that of a later history is greater.
        message: the message as JSON.
        is_shown: whether it is derived by the settings; otherwise the figures of senders are shown in its place.
        version: of the table, when it changed.
    """

    type: EventType
    queue_name: str | None
    user_id: str | None
    queues: frozenset[str]
    order: tuple[str, int, str]
    message: bytes
    is_shown: bool = True
    version: int = 0
    _frame: bytes = b""
    _deflated: bytes = b""

    @classmethod
    def parse(cls, message: bytes) -> Figure | None:
        """Return the figure of a message; None if this version of the gateway does not know it."""
        try:
            decoded = _decode(message)
        except msgspec.MsgspecError:
            return None
        declared, payload = CATALOGUE.get(decoded.type), decoded.payload
        if declared is None or declared.name not in FIGURE_TYPES:
            return None
        return cls(
            declared,
            payload.queue_name,
            payload.user_id if declared.name == AGENT_STATS else None,
            frozenset(payload.queues or ()),
            (payload.epoch, payload.as_of_seq, payload.generated_at),
            message,
        )

    def frame(self, wire_format: WireFormat) -> bytes:
        """Return the frame for a group; made once for each kind of frames. All views of a figure are equal."""
        if not self._frame:
            self._frame = text_frame(self.message)
        if wire_format.deflater is None:
            return self._frame
        if not self._deflated:
            self._deflated = wire_format.deflater.deflated(self._frame)
        return self._deflated

    def ready_frame(self, wire_format: WireFormat) -> bytes:
        """Return the frame, compressed if it was compressed before: many are needed at once by one client."""
        if wire_format.deflater is not None and self._deflated:
            return self._deflated
        return self.frame(PLAIN[View.FULL])

    def own_message(self) -> bytes:
        """Return the message for the agent that it is about, with the agent's ``user_id``."""
        return b'{"user_id":%b,%b' % (encode_json(self.user_id), self.message[1:])

    @staticmethod
    def types_seen_by(principal: Principal, subscription: FixedSubscription) -> list[str]:
        """Return the types of the figures that all principals of one interest may see some of."""
        return [
            name
            for name in FIGURE_TYPES
            if name in subscription.names
            and principal.role in CATALOGUE[name].audience
            and not (name == AGENT_STATS and principal.role is Role.AGENT)
        ]

    def is_seen_by(self, principal: Principal) -> bool:
        """Return whether all principals of one interest see it; an agent's own figure is apart from that.

        It must be a figure of the principal's tenant.
        """
        if principal.role not in self.type.audience:
            return False
        queues = principal.queues
        if self.user_id is not None:
            return principal.role is not Role.AGENT and (queues is None or not queues.isdisjoint(self.queues))
        return queues is None or self.queue_name in queues

    def is_admitted_by(self, subscription: Subscription | FixedSubscription) -> bool:
        """Return whether a client with this subscription is subscribed to it."""
        if self.type.name not in subscription.names:
            return False
        return subscription.queues is None or not self.type.of_queue or self.queue_name in subscription.queues


class FigureTable:
    """The present figures of a tenant; the newest of each key.

    Args:
        version: of an earlier table of the tenant, by which clients remember what they were sent.

    Attributes:
        version: the figures that changed since a client's version are those that it has not been sent.
    """

    def __init__(self, version: int = 0) -> None:
        self.version = version
        # By type; of each, those that changed last are at the end.
        self._types: dict[str, OrderedDict[str, Figure]] = {name: OrderedDict() for name in FIGURE_TYPES}

    def __len__(self) -> int:
        return sum(map(len, self._types.values()))

    def __iter__(self) -> Iterator[Figure]:
        return chain.from_iterable(figures.values() for figures in self._types.values())

    @property
    def keys(self) -> list[str]:
        """The keys of the figures, also while these are changed."""
        return list(chain.from_iterable(self._types.values()))

    def of_queues(self) -> list[tuple[str, Figure]]:
        """Return the figures of queues with their keys, also while these are changed."""
        return list(self._types[QUEUE_STATS].items())

    def get(self, key: str) -> Figure | None:
        """Return a figure."""
        figures = self._types.get(key.partition(":")[0])
        return None if figures is None else figures.get(key)

    def of_agent(self, user_id: str) -> Figure | None:
        """Return the figure of an agent."""
        return self._types[AGENT_STATS].get(f"{AGENT_STATS}:{user_id}")

    def put(self, key: str, figure: Figure, version: int) -> None:
        """Replace the figure of a key; the caller sets ``version`` of the table to the same."""
        figure.version = version
        figures = self._types[figure.type.name]
        figures[key] = figure
        figures.move_to_end(key)

    def remove(self, key: str) -> None:
        """Remove a figure, of which there is no value any more."""
        figures = self._types.get(key.partition(":")[0])
        if figures is not None:
            figures.pop(key, None)

    def changed_since(self, version: int, types: Iterable[str], limit: int) -> tuple[list[Figure], int]:
        """Return figures of some types that changed since a version, oldest first, and up to which version.

        Args:
            limit: they are about as many at most. As many figures as change at one version are returned beyond it.
        """
        found = []
        for name in types:
            for figure in reversed(self._types[name].values()):
                if figure.version <= version:
                    break
                found.append(figure)
        found.sort(key=attrgetter("version"))
        if len(found) <= limit:
            return found, self.version
        last = found[limit - 1].version
        return found[: bisect_right(found, last, key=attrgetter("version"))], last


class FigureFrames(bytes):
    """The frames of several figures in one piece; no publications, and not for the history to bring again."""

    messages: int


def batches(frames: list[bytes]) -> list[FigureFrames]:
    """Join the frames of figures to pieces of ``FIGURES_BYTES``."""
    found: list[FigureFrames] = []
    begin = size = 0
    for end, frame in enumerate(frames, 1):
        size += len(frame)
        if size >= FIGURES_BYTES or end == len(frames):
            batch = FigureFrames(b"".join(frames[begin:end]))
            batch.messages = end - begin
            found.append(batch)
            begin, size = end, 0
    return found
