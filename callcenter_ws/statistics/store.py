"""Where the rows of folds are kept: the Protocol of the stores, and its value types. No logic."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import HistoryPage
from callcenter_ws.statistics.checkpoint import RowKey, Rows
from callcenter_ws.statistics.state import State


@dataclass(frozen=True, slots=True)
class LiveFigure:
    """The current value of one live figure.

    Attributes:
        key: the event type, and what the figure is about: ``queue.stats:sales``, ``agent.stats:7``, ``tenant.stats:``.
        message: the message for clients as JSON, without ``id`` and ``seq``; empty when there is no value any more.
    """

    key: str
    message: bytes


@dataclass(frozen=True, slots=True)
class FigureClaim:
    """The answer to a claim.

    Attributes:
        fence: the number of the claim, higher than that of every earlier holder. 0 where one process has the store.
        is_held: whether this process folds the tenant now.
    """

    fence: int
    is_held: bool


@dataclass(frozen=True, slots=True)
class FigurePosition:
    """The position that rows belong to: everything up to and including ``seq`` of ``epoch`` is in them."""

    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class FigureCheckpoint:
    """What the store has of a tenant: the position, and rows that belong to it.

    Attributes:
        common: up to this position, the present stream is that of the rows, although its epoch may be another one: the
            store has lost what followed. Only ``FigureStore.load`` says it.
    """

    position: FigurePosition
    rows: Sequence[tuple[RowKey, bytes]]
    common: int = 0


@dataclass(frozen=True, slots=True)
class FigureWrite:
    """Changed rows, with the position that they belong to; the store takes all of it or nothing.

    Attributes:
        fence: of the claim of the writer.
        after: the position of the writer's last write, None if it found nothing in the store.
        position: the new position; in another epoch than ``after`` if the store has lost history.
        hold: positions above this one are needed (by the fold or the archive), so the store does not trim them, up to
            ``statistics.unfolded_events`` and ``unfolded_bytes``. At most ``position.seq``.
        rows: changed rows; None: to delete.
        live: live figures that changed; announced to all nodes when the write is accepted.
    """

    fence: int
    after: FigurePosition | None
    position: FigurePosition
    hold: int
    rows: Rows = field(default_factory=dict)
    live: Sequence[LiveFigure] = ()


FiguresAnnounced = Callable[[str, Sequence[LiveFigure] | None], None]
"""Reports live figures of a tenant that changed, at every node; None: they must be read from the store."""


def ignore_figures(tenant_id: str, changed: Sequence[LiveFigure] | None) -> None:
    """Do nothing: a ``FiguresAnnounced`` for stores that are used without statistics."""


class FigureStore(Protocol):
    """Keeps the rows of all tenants, beside their events. Every store passes ``tests/figure_store_contract.py``.

    Methods raise ``Refusal`` with ``unavailable`` when the store cannot be reached.
    """

    announced: FiguresAnnounced
    """Called at each node when live figures change; set before the store is opened."""

    def tenants(self) -> Awaitable[Sequence[str]]:
        """Return the tenants that have rows: also those whose statistics are not enabled any more."""

    def claim(self, tenant_id: str) -> Awaitable[FigureClaim]:
        """Take the tenant if no other process folds it, or extend the claim; call it again each third of the lease.

        A claim that has expired is extended under its fence if no other process has taken the tenant.
        """

    def release(self, tenant_id: str, fence: int) -> Awaitable[None]:
        """Release the claim, so that another process can take the tenant at once."""

    def remove_live(self, tenant_id: str) -> Awaitable[None]:
        """Remove the live figures and the hold of a tenant whose statistics were switched off; days stay.

        Also ends the claim of this process. Does nothing while another process has the tenant.
        """

    def load(self, tenant_id: str, since_day: int) -> Awaitable[FigureCheckpoint | None]:
        """Return the rows without a day, and those of days from ``since_day`` on; None: nothing was ever written."""

    def write(self, tenant_id: str, write: FigureWrite) -> Awaitable[bool]:
        """Take a write; False if another process has taken the tenant, or ``after`` is not the store's position.

        Also False while the claim has expired, until it is extended. A write may have any size; one call at a time.
        Also False if ``position`` is not of the store's present epoch. Readers see the write as soon as the call
        returns. When the call returns True, the rows are durable together with all later transactions, or already.
        """

    def days(
        self, tenant_id: str, kind: str, names: Iterable[str] | None, first_day: int, last_day: int, limit: int
    ) -> Awaitable[Sequence[tuple[RowKey, bytes]]]:
        """Return rows of sums, both days included, of the given names or of all; off the reactor.

        Raises:
            Refusal: ``too_large`` if there are more than ``limit``.
        """

    def head(self, tenant_id: str, kinds: Sequence[str]) -> Awaitable[FigureCheckpoint | None]:
        """Return the rows without a day of some kinds, with the position that they belong to."""

    def live(self, tenant_id: str) -> Awaitable[Sequence[LiveFigure]]:
        """Return the current live figures; the store of one process has none until they are written after a start."""

    def forget_days(self, tenant_id: str, before: int) -> Awaitable[None]:
        """Remove the rows of days before one; may take several steps."""

    def read_log(self, tenant_id: str, after: int, limit: int) -> Awaitable[HistoryPage]:
        """Return what the store physically has after a position, whatever ``history_*`` say that clients may read.

        ``reachable`` is False if events after ``after`` are gone; the caller then reads from ``oldest_in_log``.
        """

    def oldest_in_log(self, tenant_id: str) -> Awaitable[int]:
        """Return the position before the oldest event that the store physically has."""


class FigurePolicy(Protocol):
    """What the settings say about the statistics of tenants; read for each decision, since a reload changes it."""

    def is_enabled(self, tenant_id: str) -> bool:
        """Return whether the gateway derives the figures of this tenant."""

    def takes_producers(self, tenant_id: str, queue_name: str | None) -> bool:
        """Return whether ``queue.stats`` of producers are shown for a queue; always, if statistics are not enabled."""


class FoldedPart(Protocol):
    """What is folded from a tenant's stream besides the figures: alerts, webhooks, the archive.

    Its rows are written together with those of the figures, so they belong to one position. All calls are made by the
    process that folds the tenant, in one thread. Parts never raise.
    """

    kinds: frozenset[str]
    """The kinds of its rows; no other part has them. Their days are ``NO_DAY``."""

    types: frozenset[str] | None
    """The types of the publications that it applies; None: all."""

    def load(self, rows: Mapping[RowKey, bytes]) -> None:
        """Begin with the rows of a checkpoint, those of ``kinds``; empty: begin without any."""

    def apply(self, publication: Publication) -> None:
        """Apply a publication of ``types``: each once, in order of ``seq``, after the fold of the figures has."""

    def second(self, state: State, second_ms: int) -> None:
        """Act on the end of a full second: every publication received until then is applied, none received later.

        Also called while the part is not ``started``, as the fold catches up with the stream.
        """

    def take_changes(self) -> Rows:
        """Return the rows that changed since the last call."""

    def hold(self) -> int | None:
        """Return the position above which the part still needs the log of events; None: it needs none."""

    def start(self, fence: int) -> None:
        """Act from now on: the fold has caught up, and this process holds the tenant under ``fence``."""

    def stop(self) -> Awaitable[None]:
        """Stop acting: this process ends, or another has taken the tenant. It may be loaded and started again."""
