"""The feed of live figures: brings the figures of a tenant that change to the clients that may see them.

Figures have no place in the stream: a client has a *version* of the table, and is sent what changed since. Groups of
equal clients are offered one batch. A client that cannot be sent it keeps its version, owes the rest, and is sent the
newest of each figure as soon as it can: nothing is queued meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

from callcenter_ws.delivery.figure_table import QUEUE_STATS, Figure, FigureFrames, FigureTable, batches
from callcenter_ws.delivery.figure_updates import FigureUpdates
from callcenter_ws.delivery.group import Group
from callcenter_ws.delivery.group_index import GroupIndex
from callcenter_ws.delivery.outbox import SharedOutbox
from callcenter_ws.delivery.subscriber import Subscriber
from callcenter_ws.delivery.subscription import FixedSubscription
from callcenter_ws.events.frames import text_frame
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.runtime.single_flight import SingleFlight
from callcenter_ws.runtime.slicer import Slicer
from callcenter_ws.statistics.store import FigurePolicy, LiveFigure

FIGURES_PER_STEP = 50
"""Figures that are matched with groups in one step."""

GROUPS_PER_STEP = 5
"""Groups that are offered figures in one step."""

MAX_AT_ONCE = 300
"""Figures that one client is sent at once, or that are examined for it in one step."""

MAX_SHARED_BYTES = 33_554_432
"""Bytes of figures that are kept joined for groups until the next change; others are joined for each client."""

SHARED_COST = 500
"""Bytes that one entry of these takes besides the figures."""


class FigureFeed:
    """The live figures of one tenant at this node.

    Args:
        slicer: takes the steps of delivering changes.
        policy: decides for which queues figures are derived.
        indexes: returns the indexes of the tenant's groups.
        clients_of: returns the clients of a user.
        version: of the table of the tenant's last feed.

    Attributes:
        reading: reads the table from the store; set by the owner.
        is_closed: whether figures are delivered no more.
    """

    def __init__(
        self,
        tenant_id: str,
        slicer: Slicer,
        policy: FigurePolicy,
        indexes: Callable[[], Sequence[GroupIndex]] = tuple,
        clients_of: Callable[[str], Iterable[Subscriber]] = lambda user_id: (),
        version: int = 0,
    ) -> None:
        self.table = FigureTable(version)
        self.reading: SingleFlight | None = None
        self.is_closed = False
        self._updates = FigureUpdates(self.table, self._is_derived, self.request_reading)
        self._tenant_id = tenant_id
        self._slicer = slicer
        self._policy = policy
        self._was_read = False
        self._indexes = indexes
        self._clients_of = clients_of
        # The keys of figures that the settings did not show before.
        self._shown: list[str] = []
        self._delivery: Generator[None, None, None] | None = None
        # Joined figures, by group and version of the client; of one version of the table.
        self._shared: dict[tuple[object, ...], tuple[list[FigureFrames], int]] = {}
        self._shared_version = -1
        self._shared_bytes = 0

    @property
    def is_complete(self) -> bool:
        """Whether the table has all figures that were read and announced."""
        return self._was_read and not self._updates

    def request_reading(self) -> None:
        """Request that the table is read from the store, once more if it is being read."""
        if self.reading is not None:
            self.reading.request()

    def begin_reading(self) -> None:
        """Note that the store is being read from now on."""
        self._updates.begin_reading()

    def announce(self, changed: Sequence[LiveFigure]) -> None:
        """Deliver figures that changed, in slices."""
        self._updates.announce(changed)
        self._deliver()

    def replace(self, figures: Sequence[LiveFigure]) -> None:
        """Take all figures as they were read from the store, and deliver those that differ."""
        self._was_read = True
        self._updates.replace(figures)
        self._deliver()

    def fill(self, figures: Sequence[LiveFigure]) -> Iterator[None]:
        """Take all figures of a tenant that has no clients, in steps."""
        self._updates.replace(figures)
        while self._updates:
            yield from self._updates.take()

    def use_policy(self, policy: FigurePolicy) -> None:
        """Show other figures from now on: the settings were changed."""
        self._policy = policy
        for key, figure in self.table.of_queues():
            if figure.is_shown != self._is_derived(figure):
                figure.is_shown = not figure.is_shown
                # A version of its own for each: what is joined for clients, by version, is not valid any more.
                self.table.version += 1
                if figure.is_shown:
                    self.table.put(key, figure, self.table.version)
                    self._shown.append(key)
        self._deliver()

    def close(self) -> None:
        """Deliver no further figure: the tenant has no statistics, or no clients."""
        self.is_closed = True
        if self.reading is not None:
            self.reading.stop()
        self._updates.clear()
        self._shown.clear()
        if self._delivery is not None:
            self._delivery.close()

    def _deliver(self) -> None:
        if self._delivery is None and (self._updates or self._shown):
            self._delivery = self._steps()
            self._slicer.run(self._delivery)

    def _steps(self) -> Generator[None, None, None]:
        try:
            while self._updates or self._shown:
                changed = yield from self._updates.take()
                shown, self._shown = map(self.table.get, self._shown), []
                # Each once.
                changed = list(dict.fromkeys([*changed, *(figure for figure in shown if figure is not None)]))
                changed = [figure for figure in changed if figure.is_shown]
                version = self.table.version
                yield from self._offer_to_groups(changed, version)
                yield from self._offer_to_agents(changed, version)
        finally:
            self._delivery = None

    def _is_derived(self, figure: Figure) -> bool:
        """Return whether the figures of a queue are derived: if not, its senders' figures are shown."""
        return figure.type.name != QUEUE_STATS or not self._policy.takes_producers(self._tenant_id, figure.queue_name)

    def _offer_to_groups(self, changed: list[Figure], version: int) -> Iterator[None]:
        offered: dict[Group, list[bytes]] = {}
        for number, figure in enumerate(changed, 1):
            for index in self._indexes():
                for group in index.candidates_of_figure(figure.type.of_queue, figure.queue_name):
                    if figure.type.name in group.names and figure.is_seen_by(group.principal):
                        offered.setdefault(group, []).append(figure.frame(group.wire_format))
            if number % FIGURES_PER_STEP == 0:
                yield
        for number, (group, frames) in enumerate(offered.items(), 1):
            group.offer_figures(batches(frames), version)
            if number % GROUPS_PER_STEP == 0:
                yield

    def _offer_to_agents(self, changed: list[Figure], version: int) -> Iterator[None]:
        for number, figure in enumerate(changed, 1):
            for client in () if figure.user_id is None else list(self._clients_of(figure.user_id)):
                if _is_own(figure, client):
                    client.outbox.offer_own_figure(_own_frame(figure), figure.version, version)
            if number % FIGURES_PER_STEP == 0:
                yield

    # What one client is sent

    def send_owed(self, client: Subscriber) -> None:
        """Queue what has changed since the client was sent figures; of much, a part: the rest once that is written."""
        outbox = client.outbox
        group, since = outbox.group, outbox.figures
        if group is None:
            return
        found, until = self._owed(client, group, since)
        own = self.table.of_agent(client.principal.user_id)
        if own is not None and since < own.version <= until and _is_own(own, client):
            found = [*found, _own_frame(own)]
        outbox.add_figures(found, until, is_all=until == self.table.version)

    def _owed(self, client: Subscriber, group: SharedOutbox, since: int) -> tuple[list[FigureFrames], int]:
        """Return what the clients of a group see of the figures that changed since a version, and up to which one."""
        if self._shared_version != self.table.version:
            self._shared.clear()
            self._shared_version, self._shared_bytes = self.table.version, 0
        known = self._shared.get((group.key, since))
        if known is not None:
            return known
        principal, subscription = client.principal, client.subscription.fixed()
        types = Figure.types_seen_by(principal, subscription)
        changed, until = self.table.changed_since(since, types, MAX_AT_ONCE)
        seen = self.seen_by(principal, subscription, changed)
        found = batches([figure.ready_frame(client.outbox.wire_format) for figure in seen])
        size = SHARED_COST + sum(map(len, found))
        if self._shared_bytes + size <= MAX_SHARED_BYTES:
            self._shared_bytes += size
            self._shared[group.key, since] = found, until
        return found, until

    def send_own(self, client: Subscriber) -> None:
        """Queue an agent's own figure, which is not in the snapshot that it shares with others."""
        own = self.table.of_agent(client.principal.user_id)
        if own is not None and _is_own(own, client):
            client.outbox.add_figures([_own_frame(own)], client.outbox.figures)

    def seen_by(self, principal: Principal, subscription: FixedSubscription, figures: Iterable[Figure]) -> list[Figure]:
        """Return those of some figures that all clients of a group see."""
        return [
            figure
            for figure in figures
            if figure.is_admitted_by(subscription) and figure.is_seen_by(principal) and figure.is_shown
        ]

    def read(self, principal: Principal, subscription: FixedSubscription, messages: list[bytes]) -> Iterator[None]:
        """Add the messages that a principal without a connection sees, in steps."""
        figures = list(self.table)
        for begin in range(0, len(figures), MAX_AT_ONCE):
            some = figures[begin : begin + MAX_AT_ONCE]
            messages += [figure.message for figure in self.seen_by(principal, subscription, some)]
            yield
        own = self.table.of_agent(principal.user_id)
        if own is not None and principal.role is Role.AGENT and own.is_admitted_by(subscription):
            messages.append(own.own_message())


def _is_own(figure: Figure, client: Subscriber) -> bool:
    return client.principal.role is Role.AGENT and figure.is_admitted_by(client.subscription)


def _own_frame(figure: Figure) -> FigureFrames:
    frame = FigureFrames(text_frame(figure.own_message()))
    frame.messages = 1
    return frame
