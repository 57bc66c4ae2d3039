"""The feed of live figures: brings the figures of a tenant that change to the clients that may see them.

Figures have no place in the stream: a client has a *version* of the table, and is sent what changed since. Groups of
equal clients are offered one batch. A client that cannot be sent it keeps its version, owes the rest, and is sent the
newest of each figure as soon as it can: nothing is queued meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

from callcenter_ws.delivery.figure_table import Figure, FigureFrames, FigureTable, batches
from callcenter_ws.delivery.group import Group
from callcenter_ws.delivery.group_index import GroupIndex
from callcenter_ws.delivery.subscriber import Subscriber
from callcenter_ws.delivery.subscription import FixedSubscription
from callcenter_ws.events.frames import text_frame
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.runtime.slicer import Slicer
from callcenter_ws.statistics.store import FigurePolicy, LiveFigure

FIGURES_PER_STEP = 50
"""Figures that are taken, or matched with groups, in one step."""

GROUPS_PER_STEP = 20
"""Groups that are offered figures in one step."""

MAX_SHARED = 1_000
"""Groups for which all figures are kept joined, until the next change; beyond that they are joined for each client."""

QUEUE_STATS = "queue.stats"


class FigureFeed:
    """The live figures of one tenant at this node.

    Args:
        slicer: takes the steps of delivering changes.
        policy: decides for which queues figures are derived; may be replaced.
        indexes: returns the indexes of the tenant's groups.
        clients_of: returns the clients of a user.
    """

    def __init__(
        self,
        tenant_id: str,
        slicer: Slicer,
        policy: FigurePolicy,
        indexes: Callable[[], Sequence[GroupIndex]],
        clients_of: Callable[[str], Iterable[Subscriber]],
    ) -> None:
        self.table = FigureTable()
        self._tenant_id = tenant_id
        self._slicer = slicer
        self.policy = policy
        self._indexes = indexes
        self._clients_of = clients_of
        # Announced, and not delivered yet: the newest of each key.
        self._waiting: dict[str, LiveFigure] = {}
        self._is_running = False
        self._shared: dict[tuple[object, ...], list[FigureFrames]] = {}

    def announce(self, changed: Sequence[LiveFigure]) -> None:
        """Deliver figures that changed, in slices."""
        for figure in changed:
            # An older one that waits is not removed if another process announced it late: the table decides.
            self._waiting.pop(figure.key, None)
            self._waiting[figure.key] = figure
        if self._waiting and not self._is_running:
            self._is_running = True
            self._slicer.run(self._deliver())

    def replace(self, figures: Sequence[LiveFigure], since: int) -> None:
        """Take all figures as they were read from the store.

        Args:
            since: the version of the table when reading began.
        """
        keys = {figure.key for figure in figures}
        for key in self.table.unchanged_since(since):
            if key not in keys:
                self.table.remove(key)
        self.announce([figure for figure in figures if figure.key not in self._waiting])

    def fill(self, figures: Sequence[LiveFigure]) -> Iterator[None]:
        """Take all figures of a tenant that has no clients, in steps."""
        yield from self._take(list(figures))

    def _deliver(self) -> Iterator[None]:
        try:
            while self._waiting:
                waiting, self._waiting = list(self._waiting.values()), {}
                changed = yield from self._take(waiting)
                if changed:
                    yield from self._offer_to_groups(changed)
                    yield from self._offer_to_agents(changed)
        finally:
            self._is_running = False

    def _take(self, waiting: list[LiveFigure]) -> Generator[None, None, list[Figure]]:
        """Put announced figures into the table; return those that were not older than the present ones."""
        version = self.table.version + 1
        changed: list[Figure] = []
        for number, live in enumerate(waiting, 1):
            if not live.message:
                self.table.remove(live.key)
            else:
                figure = self.table.update(live, version)
                if figure is not None and self._is_shown(figure):
                    changed.append(figure)
            if number % FIGURES_PER_STEP == 0:
                yield
        self.table.version = version
        self._shared.clear()
        return changed

    def _is_shown(self, figure: Figure) -> bool:
        """Return whether the figures of a queue are derived: if not, its senders' figures are shown."""
        return figure.type.name != QUEUE_STATS or not self.policy.takes_producers(self._tenant_id, figure.queue_name)

    def _offer_to_groups(self, changed: list[Figure]) -> Iterator[None]:
        version = self.table.version
        offered: dict[Group, list[Figure]] = {}
        for number, figure in enumerate(changed, 1):
            for index in self._indexes():
                for group in index.candidates_of_figure(figure.type.of_queue, figure.queue_name):
                    if figure.type.name in group.names and figure.is_seen_by(group.principal):
                        offered.setdefault(group, []).append(figure)
            if number % FIGURES_PER_STEP == 0:
                yield
        yield
        for number, (group, figures) in enumerate(offered.items(), 1):
            group.offer_figures(batches([figure.frame(group.wire_format) for figure in figures]), version)
            if number % GROUPS_PER_STEP == 0:
                yield

    def _offer_to_agents(self, changed: list[Figure]) -> Iterator[None]:
        version = self.table.version
        for number, figure in enumerate(changed, 1):
            for client in () if figure.user_id is None else list(self._clients_of(figure.user_id)):
                if _is_own(figure, client):
                    client.outbox.offer_own_figure(_own_frame(figure), version)
            if number % FIGURES_PER_STEP == 0:
                yield

    # What one client is sent

    def send_owed(self, client: Subscriber) -> None:
        """Queue what has changed since the client was sent figures, in as few pieces as possible."""
        outbox, version = client.outbox, self.table.version
        group = outbox.group
        if group is None:
            return
        key = (group.key, outbox.figures)
        found = self._shared.get(key)
        if found is None:
            fixed = client.subscription.fixed()
            changed = self.table.changed_since(outbox.figures)
            seen = self.seen_by(client.principal, fixed, changed)
            found = batches([figure.ready_frame(outbox.wire_format) for figure in seen])
            if len(self._shared) < MAX_SHARED:
                self._shared[key] = found
        own = self.table.of_agent(client.principal.user_id)
        if own is not None and own.version > outbox.figures and _is_own(own, client):
            found = [*found, _own_frame(own)]
        outbox.add_figures(found, version)

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
            if figure.is_admitted_by(subscription) and figure.is_seen_by(principal) and self._is_shown(figure)
        ]

    def read(self, principal: Principal, subscription: FixedSubscription) -> list[bytes]:
        """Return the messages that a principal without a connection sees."""
        messages = [figure.message for figure in self.seen_by(principal, subscription, self.table)]
        own = self.table.of_agent(principal.user_id)
        if own is not None and principal.role is Role.AGENT and own.is_admitted_by(subscription):
            messages.append(own.own_message())
        return messages


def _is_own(figure: Figure, client: Subscriber) -> bool:
    return client.principal.role is Role.AGENT and figure.is_admitted_by(client.subscription)


def _own_frame(figure: Figure) -> FigureFrames:
    frame = FigureFrames(text_frame(figure.own_message()))
    frame.messages = 1
    return frame
