"""A tenant's snapshot, encoded once for all clients that request it at the same position.

When a thousand agents reconnect together, each is sent the whole state. What they may see they have in common, so it is
filtered and encoded once per group, in slices, and their outboxes hold the same bytes until these are sent.

A large snapshot is one message in several frames. The frames in the middle are the same objects for all clients of a
group; only the first and the last, and those with publications for one user alone, are made for one client. Snapshots
at different positions share what has not changed (``snapshot_parts``).
"""

from __future__ import annotations

import weakref
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import attrgetter
from types import MappingProxyType

from callcenter_ws.delivery.figure_feed import FigureFeed
from callcenter_ws.delivery.prepared_views import PreparedViews
from callcenter_ws.delivery.snapshot_parts import FRAGMENT_BYTES, Part, PartCache, encode, encode_part, fragment
from callcenter_ws.delivery.subscriber import Subscriber
from callcenter_ws.delivery.subscription import FixedSubscription, Subscription
from callcenter_ws.events.catalogue import EntityKey
from callcenter_ws.events.event import Event
from callcenter_ws.events.frames import ControlFrame, WireFormat, text_frame
from callcenter_ws.events.principal import Principal
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import Snapshot
from callcenter_ws.runtime.json import encode_json

MaySee = Callable[[Principal, Event], bool]

Run = Callable[[Iterator[None]], Awaitable[None]]
"""Takes the steps of an iterator in slices; see ``FewAtATime.run``."""

RequestId = str | int | None
"""The ``id`` of a client's request, which its answer repeats as ``in_reply_to``."""

MAX_FRAME_BYTES = 262_144
"""Size of the largest snapshot that is sent as one frame."""

EVENTS_PER_STEP = 500
"""Publications that are examined in one step."""

_PUBLICATION_BYTES = 16
"""Bytes of a view for each publication: the reference to it, and its position."""

_FIGURES = b'],"figures":['
_END = b"]}}"


class _Done:
    """An Awaitable of what has been done already; may be awaited any number of times."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


@dataclass(slots=True, weakref_slot=True)
class _View:
    """What the clients of one group see of a snapshot.

    Attributes:
        answered: the calls whose answering they may not see.
        figures: the live figures, as texts of ``FRAGMENT_BYTES``; None: the tenant has no statistics.
        figure_frames: the frames of ``figures`` in the middle of a large message.
        is_large: whether it is sent in several frames.
        preparing: what to await before ``is_prepared``; without a result.
    """

    publications: list[Publication] = field(default_factory=list)
    answered: set[EntityKey | None] = field(default_factory=set)
    parts: list[Part] = field(default_factory=list)
    figures: list[bytes] | None = None
    figure_frames: list[ControlFrame] = field(default_factory=list)
    is_large: bool = False
    preparing: Awaitable[None] = field(default_factory=_Done)
    is_prepared: bool = False
    _unasked: list[ControlFrame] = field(default_factory=list)

    @property
    def size(self) -> int:
        """The bytes that it holds, except for publications themselves; text that is encoded counts before it is."""
        text = sum(part.size for part in self.parts) + self.figure_bytes
        # The message of a small view holds the text of its parts once more.
        return _PUBLICATION_BYTES * len(self.publications) + (text if self.is_large else 2 * text)

    @property
    def figure_bytes(self) -> int:
        """The size of the live figures."""
        return sum(map(len, self.figures or ()))

    def unasked(self, head: bytes, wire_format: WireFormat) -> list[ControlFrame]:
        """Return the message that answers no request: the same objects for all clients of the group."""
        if not self._unasked:
            self._unasked = _assemble(self, head, wire_format)
            if wire_format.deflater is not None and not self.is_large:
                self._unasked = [ControlFrame(wire_format.deflater.deflated(self._unasked[0]))]
        return self._unasked


class SharedSnapshot:
    """One snapshot, as each group of a tenant's clients sees it.

    Args:
        may_see, group_may_see: whether a principal, and every one of its group, may see an event
            (``events.visibility``).
        run: takes the steps of preparing a view of a large snapshot.
        cache: the parts of earlier snapshots.
        prepared: bounds what the views of all snapshots hold.
        feed: the live figures, as they are now; None: the tenant has no statistics.

    Attributes:
        figures_version: the version of the table of these figures.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        may_see: MaySee,
        group_may_see: MaySee,
        run: Run,
        cache: PartCache,
        prepared: PreparedViews,
        feed: FigureFeed | None = None,
    ) -> None:
        self.snapshot = snapshot
        self._feed = feed
        self._figures = [] if feed is None else list(feed.table)
        self.figures_version = -1 if feed is None else feed.table.version
        self._cache = cache
        self._prepared = prepared
        self._may_see = may_see
        self._group_may_see = group_may_see
        self._run = run
        self._for_all: list[Publication] = []
        self._for_user: dict[str, list[Publication]] = {}
        self._of_session: dict[str, list[Publication]] = {}
        # Of chats that are assigned.
        self._of_agent: dict[str, list[Publication]] = {}
        self._indexing = self._index()
        self._views: dict[tuple[object, ...], _View] = {}
        # By interest: what is read without a connection.
        self._found: dict[tuple[object, ...], _View] = {}

    async def frames_for(self, client: Subscriber, request_id: RequestId) -> Sequence[ControlFrame]:
        """Return the ``snapshot`` message for a client, in one or more frames.

        Clients that see the same are given the same objects, except for what differs.
        """
        principal, group, wire_format = client.principal, client.outbox.group, client.outbox.wire_format
        head = self._head(principal.tenant_id, request_id)
        if group is None:
            view = _View()
            await self._take(self._prepare_for_visitor(view, client))
            return _assemble(view, head, wire_format)
        view = await self._view_of(group.key, client)
        own = self._own(principal, client.subscription, view)
        if not own:
            return _assemble(view, head, wire_format) if request_id is not None else view.unasked(head, wire_format)
        if view.is_large and len(own) <= EVENTS_PER_STEP:
            changed: dict[int, Part] = {}
            await self._take(_merge(view, own, wire_format, changed))
            return _assemble(view, head, wire_format, changed)
        merged = _View(sorted([*view.publications, *own], key=attrgetter("seq")), figures=view.figures)
        await self._take(_encode(merged, wire_format))
        return _assemble(merged, head, wire_format)

    async def publications_for(
        self, interest: tuple[object, ...], principal: Principal, subscription: Subscription
    ) -> Sequence[Publication]:
        """Return what a principal without a connection sees; it must be no visitor.

        Args:
            interest: a key that is equal for those that may see the same of what is for all, as ``Tenant.interest_of``.
        """
        view = self._found.get(interest)
        if view is None:
            view = self._found[interest] = _View()
            view.preparing = self._take(self._find_for(interest, view, principal, subscription.fixed()))
        else:
            self._prepared.use(view)
        await view.preparing
        if not view.is_prepared:
            raise RuntimeError("the snapshot could not be prepared")
        own = self._own(principal, subscription, view)
        if not own:
            return view.publications
        return sorted([*view.publications, *own], key=attrgetter("seq"))

    def _find_for(
        self, interest: tuple[object, ...], view: _View, principal: Principal, subscription: FixedSubscription
    ) -> Iterator[None]:
        """Find what a principal without a connection sees of what is for all, and encode nothing."""
        try:
            yield from self._find(view, principal, subscription)
            view.is_prepared = True
            self._keep(interest, view)
        except Exception:
            # The next request tries again.
            self._found.pop(interest, None)
            raise

    async def _view_of(self, key: tuple[object, ...], client: Subscriber) -> _View:
        """Return the prepared view of a client's group; the first that requests it has it prepared for all."""
        view = self._start(key, client)
        await view.preparing
        if not view.is_prepared:
            raise RuntimeError("the snapshot could not be prepared")
        return view

    def begin(self, client: Subscriber) -> None:
        """Begin to prepare what a client's group sees, which it will request."""
        if client.outbox.group is not None:
            self._start(client.outbox.group.key, client)

    def _start(self, key: tuple[object, ...], client: Subscriber) -> _View:
        view = self._views.get(key)
        if view is None:
            view = self._views[key] = _View()
            steps = self._prepare(view, key, client.principal, client.subscription.fixed(), client.outbox.wire_format)
            view.preparing = self._take(steps)
        else:
            self._prepared.use(view)
        return view

    def _keep(self, key: tuple[object, ...], view: _View) -> None:
        """Count a prepared view; when there is too much, it is dropped, and prepared again for the next client."""
        # Weak, or the views would be kept for as long as they are counted.
        reference = weakref.ref(self)

        def drop() -> None:
            snapshot = reference()
            if snapshot is not None:
                # No key of one is a key of the other.
                snapshot._views.pop(key, None)
                snapshot._found.pop(key, None)

        self._prepared.keep(view, view.size, drop)

    def preparing(self) -> Awaitable[None] | None:
        """Return what to await until a view is prepared that is not; None if there is none."""
        for view in self._views.values():
            if not view.is_prepared:
                return view.preparing
        return None

    def _take(self, steps: Iterator[None]) -> Awaitable[None]:
        """Take the steps: at once if the snapshot is small, else in slices."""
        if len(self.snapshot.publications) + len(self._figures) > EVENTS_PER_STEP:
            return self._run(steps)
        for _ in steps:
            pass
        return _Done()

    # What a client sees

    def _index(self) -> Iterator[None]:
        for number, publication in enumerate(self.snapshot.publications, 1):
            event = publication.event
            if event.session_id is not None:
                self._of_session.setdefault(event.session_id, []).append(publication)
            if event.user_id is None:
                self._for_all.append(publication)
                for agent in event.agents if event.type.of_chat else ():
                    self._of_agent.setdefault(agent, []).append(publication)
            else:
                self._for_user.setdefault(event.user_id, []).append(publication)
            if number % (4 * EVENTS_PER_STEP) == 0:
                yield

    def _visible(
        self, principal: Principal, subscription: Subscription, publications: Iterable[Publication]
    ) -> list[Publication]:
        admits, may_see = subscription.admits, self._may_see
        return [p for p in publications if admits(p.event) and may_see(principal, p.event)]

    def _own(self, principal: Principal, subscription: Subscription, view: _View) -> list[Publication]:
        """Return what a principal sees beyond its group: what is for its user, and the chats assigned to it."""
        own = self._visible(principal, subscription, self._for_user.get(principal.user_id, ()))
        chats = self._visible(principal, subscription, self._of_agent.get(principal.user_id, ()))
        own += [publication for publication in chats if not self._group_may_see(principal, publication.event)]
        return _without_unanswered(own, view.answered)

    def _prepare(
        self,
        view: _View,
        key: tuple[object, ...],
        principal: Principal,
        subscription: FixedSubscription,
        wire_format: WireFormat,
    ) -> Iterator[None]:
        """Find and encode what the clients of a group see of what is for all."""
        try:
            yield from self._find(view, principal, subscription)
            yield from self._find_figures(view, principal, subscription)
            cached = (principal.tenant_id, self.snapshot.epoch, key)
            yield from _encode(view, wire_format, self._cache.get(cached))
            if view.is_large:
                self._cache.keep(cached, view.parts)
            self._keep(key, view)
        except Exception:
            # The next client that requests it tries again.
            self._views.pop(key, None)
            raise

    def _find(self, view: _View, principal: Principal, subscription: FixedSubscription) -> Iterator[None]:
        """Find what principals of one interest see of what is for all."""
        yield from self._index_once()
        seen, answered = [], view.answered
        for number, publication in enumerate(self._for_all, 1):
            event = publication.event
            if subscription.includes_queue(event) and self._group_may_see(principal, event):
                if event.type.name in subscription.names:
                    seen.append(publication)
            elif _is_answer(publication):
                answered.add(event.entity)
            if number % EVENTS_PER_STEP == 0:
                yield
        view.publications = _without_unanswered(seen, answered)

    def _find_figures(self, view: _View, principal: Principal, subscription: FixedSubscription) -> Iterator[None]:
        """Find the live figures that a group sees, and join them."""
        if self._feed is None:
            return
        joined: list[bytes] = []
        messages: list[bytes] = []
        size = 0
        for begin in range(0, len(self._figures), EVENTS_PER_STEP):
            some = self._figures[begin : begin + EVENTS_PER_STEP]
            for figure in self._feed.seen_by(principal, subscription, some):
                messages.append(figure.message)
                size += len(figure.message)
                if size >= FRAGMENT_BYTES:
                    joined.append(b",".join(messages))
                    messages, size = [], 0
            yield
        view.figures = [*joined, b",".join(messages)] if messages else joined

    def _prepare_for_visitor(self, view: _View, client: Subscriber) -> Iterator[None]:
        """Find and encode what a client in no group sees: that of its session."""
        yield from self._index_once()
        view.publications = self._visible(
            client.principal, client.subscription, self._of_session.get(client.principal.session_id or "", ())
        )
        yield from _encode(view, client.outbox.wire_format)

    def _index_once(self) -> Iterator[None]:
        # Not "yield from": when one of those that share the steps is closed, they must continue for the others.
        for _ in self._indexing:
            yield

    def _head(self, tenant_id: str, request_id: RequestId) -> bytes:
        """Return the message up to the first publication."""
        envelope: dict[str, object] = {"type": "snapshot", "tenant_id": tenant_id}
        if request_id is not None:
            envelope["in_reply_to"] = request_id
        epoch, seq = self.snapshot.epoch, self.snapshot.seq
        return b'%b,"payload":{"epoch":%b,"seq":%d,"events":[' % (encode_json(envelope)[:-1], encode_json(epoch), seq)


# Encoding


def _encode(view: _View, wire_format: WireFormat, known: Sequence[Part] = ()) -> Iterator[None]:
    """Encode a view in steps.

    Args:
        known: the parts of an earlier snapshot.
    """
    yield from encode(view.publications, wire_format, known, view.parts)
    view.is_large = sum(part.size for part in view.parts) + view.figure_bytes > MAX_FRAME_BYTES
    if not view.is_large and known:
        # It was large; the text of its parts is needed now.
        view.parts = []
        yield from encode(view.publications, wire_format, (), view.parts)
    for part in view.parts if view.is_large else ():
        part.make_frame(wire_format.deflater)
        yield
    for index, text in enumerate(view.figures or () if view.is_large else ()):
        view.figure_frames.append(fragment((b"," if index else b"") + text, wire_format.deflater))
        yield
    view.is_prepared = True


def _merge(view: _View, own: list[Publication], wire_format: WireFormat, changed: dict[int, Part]) -> Iterator[None]:
    """Encode again the parts of a large view into which publications for one user belong, with these."""
    last_seqs = [part.seqs[-1] for part in view.parts]
    ends = list(accumulate(len(part.seqs) for part in view.parts))
    added: dict[int, list[Publication]] = {}
    for publication in own:
        added.setdefault(min(bisect_left(last_seqs, publication.seq), len(ends) - 1), []).append(publication)
    for index, publications in added.items():
        part = view.parts[index]
        publications += view.publications[ends[index] - len(part.seqs) : ends[index]]
        publications.sort(key=attrgetter("seq"))
        changed[index] = encode_part(publications, wire_format, is_last=part.is_last)
        changed[index].make_frame(wire_format.deflater)
        yield


def _assemble(
    view: _View, head: bytes, wire_format: WireFormat, changed: Mapping[int, Part] = MappingProxyType({})
) -> list[ControlFrame]:
    """Return the message of a view, with some parts replaced."""
    figures = b"" if view.figures is None else _FIGURES
    if not view.is_large:
        events = b",".join([part.text for part in view.parts])
        return [ControlFrame(text_frame(b"".join([head, events, figures, b",".join(view.figures or ()), _END])))]
    parts = [changed.get(index, part).frame for index, part in enumerate(view.parts)]
    return [
        fragment(head, wire_format.deflater, is_first=True),
        *(frame for frame in parts if frame is not None),
        *([fragment(figures, wire_format.deflater)] if figures else ()),
        *view.figure_frames,
        fragment(_END, wire_format.deflater, is_last=True),
    ]


def _is_answer(publication: Publication) -> bool:
    slot = publication.event.slot
    return slot is not None and slot.keeps == "answered"


def _without_unanswered(publications: list[Publication], answered: set[EntityKey | None]) -> list[Publication]:
    """Remove the publications that present a call as unanswered although it was answered."""
    if not answered:
        return publications
    return [p for p in publications if not (p.event.type.unanswered and p.event.entity in answered)]
