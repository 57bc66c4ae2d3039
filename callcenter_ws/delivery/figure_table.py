"""The present figures of a tenant at this node, each with the version at which it changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from callcenter_ws.delivery.subscription import FixedSubscription, Subscription
from callcenter_ws.events.catalogue import CATALOGUE, EventType
from callcenter_ws.events.frames import PLAIN, WireFormat, text_frame
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.redaction import View
from callcenter_ws.runtime.json import encode_json
from callcenter_ws.statistics.store import LiveFigure

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
        order: of two figures with one key and ``epoch``, that with the greater one is newer.
        message: the message as JSON.
        version: of the table, when it changed.
    """

    type: EventType
    queue_name: str | None
    user_id: str | None
    queues: frozenset[str]
    epoch: str
    order: tuple[int, str]
    message: bytes
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
        if declared is None or declared.figure is None:
            return None
        return cls(
            declared,
            payload.queue_name,
            payload.user_id if declared.name == "agent.stats" else None,
            frozenset(payload.queues or ()),
            payload.epoch,
            (payload.as_of_seq, payload.generated_at),
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

    Attributes:
        version: the figures that changed since a client's version are those that it has not been sent.
    """

    def __init__(self) -> None:
        self.version = 0
        # Those that changed last are at the end.
        self._figures: OrderedDict[str, Figure] = OrderedDict()

    def __len__(self) -> int:
        return len(self._figures)

    def __iter__(self) -> Iterator[Figure]:
        return iter(self._figures.values())

    def get(self, key: str) -> Figure | None:
        """Return a figure."""
        return self._figures.get(key)

    def of_agent(self, user_id: str) -> Figure | None:
        """Return the figure of an agent."""
        return self._figures.get(f"agent.stats:{user_id}")

    def remove(self, key: str) -> None:
        """Remove a figure, of which there is no value any more."""
        self._figures.pop(key, None)

    def unchanged_since(self, version: int) -> list[str]:
        """Return the keys of the figures that have not changed since a version."""
        return [key for key, figure in self._figures.items() if figure.version <= version]

    def update(self, changed: LiveFigure, version: int) -> Figure | None:
        """Take a changed figure; return it if it is newer than the present one of its key."""
        figure = Figure.parse(changed.message)
        if figure is None:
            return None
        known = self._figures.get(changed.key)
        if known is not None and known.epoch == figure.epoch and known.order >= figure.order:
            return None
        figure.version = version
        self._figures[changed.key] = figure
        self._figures.move_to_end(changed.key)
        return figure

    def changed_since(self, version: int) -> list[Figure]:
        """Return the figures that changed since a version, oldest first."""
        if version < 0:
            return list(self._figures.values())
        found = []
        for figure in reversed(self._figures.values()):
            if figure.version <= version:
                break
            found.append(figure)
        found.reverse()
        return found


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
