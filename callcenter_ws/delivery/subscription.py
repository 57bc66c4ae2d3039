"""The event types and queues that a client is subscribed to, within what its token allows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from functools import cache, lru_cache
from typing import NamedTuple

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.catalogue import CATALOGUE, EVERYTHING, names_matching
from callcenter_ws.events.event import Event
from callcenter_ws.events.identifiers import MAX_ID_LENGTH, has_control_character
from callcenter_ws.events.mistakes import unknown_pattern
from callcenter_ws.events.principal import Role
from callcenter_ws.events.visibility import may_ever_see

MAX_NAMES = 100
"""Names of event types or queues in one request, and queues that one client is subscribed to."""


_NOT_UTF8 = "\N{REPLACEMENT CHARACTER}"
"""What stands for bytes of a URL that are not UTF-8."""


class QueueChange(Enum):
    """Changes of the queues that a list of names cannot express."""

    NONE = "unchanged"
    ALL = "no restriction"


class SubscriptionChange(NamedTuple):
    """What a ``subscribe`` or ``unsubscribe`` asks for.

    Attributes:
        events: patterns of event types; empty: they are not changed.
        queues: names of queues, or how the queues change.
        removes: whether the names are removed, not added.
    """

    events: Sequence[str] = ()
    queues: Sequence[str] | QueueChange = QueueChange.NONE
    removes: bool = False


@cache
def names_visible_to(role: Role) -> frozenset[str]:
    """Return the event types that ``role`` may ever see."""
    return frozenset(name for name, type_ in CATALOGUE.items() if may_ever_see(role, type_.audience))


class FixedSubscription(NamedTuple):
    """A subscription as it was at one moment, for work that takes several turns.

    Attributes:
        names: see ``Subscription``.
        queues: see ``Subscription``.
    """

    names: frozenset[str]
    queues: frozenset[str] | None

    def includes_queue(self, event: Event) -> bool:
        """Return whether an event, of whatever type, is not left out for its queue."""
        return self.queues is None or not event.type.of_queue or event.queue_name in self.queues


class Subscription:
    """The lists of a client's patterns and queues; None: it never named any, and is sent all that it may see.

    A ``service`` starts with an empty list of patterns: it is sent nothing unless it subscribes by name.

    Attributes:
        names: the event types that the patterns match.
        queues: the queues of which call and queue events are sent; None: of all that the token allows.
    """

    __slots__ = ("_patterns", "_visible", "names", "queues", "role")

    def __init__(self, role: Role) -> None:
        self.role = role
        self._visible = names_visible_to(role)
        self._patterns: tuple[str, ...] | None = () if role is Role.SERVICE else None
        self.names = self._resolve()
        self.queues: frozenset[str] | None = None

    @classmethod
    def named(cls, role: Role, events: Sequence[str] | None, queues: Sequence[str] | None) -> Subscription:
        """Return the subscription of a client that names event types or queues when it connects.

        Raises:
            Refusal: ``invalid_message``, ``unknown_event`` or ``forbidden``, as for ``subscribe``.
        """
        subscription = cls(role)
        for field, names in (("events", events), ("queues", queues)):
            if names is not None:
                _check_list(field, names)
        change = SubscriptionChange(events or (), QueueChange.NONE if queues is None else queues)
        subscription.check(change)
        subscription.apply(change)
        return subscription

    @property
    def events(self) -> list[str] | None:
        """The list now in force, as in the ``subscribed`` message."""
        return None if self._patterns is None else list(self._patterns)

    @property
    def queue_list(self) -> list[str] | None:
        """The queues now in force, as in the ``subscribed`` message."""
        return None if self.queues is None else sorted(self.queues)

    def admits(self, event: Event) -> bool:
        """Return whether the client is subscribed to the type of an event and, if queues restrict it, to its queue."""
        type_ = event.type
        if type_.name not in self.names:
            return False
        return self.queues is None or not type_.of_queue or event.queue_name in self.queues

    def fixed(self) -> FixedSubscription:
        """Return the present subscription, which later changes do not affect."""
        return FixedSubscription(self.names, self.queues)

    def check(self, change: SubscriptionChange) -> None:
        """Check the names of a change.

        Raises:
            Refusal: ``unknown_event`` or ``forbidden``; ``invalid_message`` for a queue with a control character.
        """
        self._check(change.events)
        if not isinstance(change.queues, QueueChange) and any(map(has_control_character, change.queues)):
            # Refused in the claims of tokens, too.
            raise Refusal(ErrorCode.INVALID_MESSAGE, "queues: a name contains a control character")

    def apply(self, change: SubscriptionChange) -> bool:
        """Make a change whose names were checked; return whether the client may be sent more than before.

        Raises:
            Refusal: ``invalid_message`` for the queues; the subscription is unchanged.
        """
        names, queues = self.names, self.queues
        self.queues = self._changed_queues(change)
        if change.events:
            (self.remove if change.removes else self.add)(change.events)
        return not self.names <= names or not _within(self.queues, queues)

    def _changed_queues(self, change: SubscriptionChange) -> frozenset[str] | None:
        if change.queues is QueueChange.NONE:
            return self.queues
        if isinstance(change.queues, QueueChange):
            return None
        if not change.removes:
            queues = frozenset(change.queues).union(self.queues or ())
            if len(queues) > MAX_NAMES:
                raise Refusal(ErrorCode.INVALID_MESSAGE, f"queues: more than {MAX_NAMES} queues")
            return queues
        if self.queues is None:
            raise Refusal(ErrorCode.INVALID_MESSAGE, "queues: no list of queues is in force; subscribe to queues first")
        return self.queues.difference(change.queues)

    def add(self, patterns: Sequence[str]) -> None:
        """Add ``patterns``.

        Raises:
            Refusal: ``unknown_event`` or ``forbidden``; the subscription is unchanged.
        """
        self._check(patterns)
        self._patterns = tuple(dict.fromkeys((*(self._patterns or ()), *patterns)))
        self.names = self._resolve()

    def remove(self, patterns: Sequence[str]) -> None:
        """Remove ``patterns``; a wider pattern that covers one of them is replaced by the remaining names.

        Raises:
            Refusal: ``unknown_event`` or ``forbidden``; the subscription is unchanged.
        """
        self._check(patterns)
        removed = frozenset[str]().union(*map(names_matching, patterns))
        current = (EVERYTHING,) if self._patterns is None else self._patterns
        self._patterns = tuple(dict.fromkeys(kept for pattern in current for kept in self._without(pattern, removed)))
        self.names = self._resolve()

    def _without(self, pattern: str, removed: frozenset[str]) -> Iterable[str]:
        names = names_matching(pattern) & self._visible
        if not names & removed:
            return (pattern,)
        return sorted(names - removed)

    def _check(self, patterns: Sequence[str]) -> None:
        for pattern in patterns:
            names = names_matching(pattern)
            if not names:
                raise Refusal(ErrorCode.UNKNOWN_EVENT, unknown_pattern(pattern))
            if not names & self._visible:
                raise Refusal(ErrorCode.FORBIDDEN, f"the role {self.role} never sees {pattern[:64]!r}")
            if pattern == EVERYTHING and self.role is Role.SERVICE:
                raise Refusal(ErrorCode.FORBIDDEN, "a service subscribes by name, as 'call.ended' or 'call.*'")

    def _resolve(self) -> frozenset[str]:
        return self._visible if self._patterns is None else _names(self._patterns, self.role)


def list_in_url(text: str | None) -> list[str] | None:
    """Return the names in a query parameter of a URL, where commas separate them; None if it is absent."""
    return None if text is None else [name.strip(" ") for name in text.split(",")]


def _within(queues: frozenset[str] | None, others: frozenset[str] | None) -> bool:
    """Return whether ``queues`` are among ``others``; None: all queues."""
    return others is None or (queues is not None and queues <= others)


def _check_list(field: str, names: Sequence[str]) -> None:
    """Check the size of a list of names as the handlers of requests do."""
    if not 0 < len(names) <= MAX_NAMES:
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"{field}: expected 1 to {MAX_NAMES} names")
    if not all(0 < len(name) <= MAX_ID_LENGTH for name in names):
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"{field}: expected names of 1 to {MAX_ID_LENGTH} characters")
    if any(_NOT_UTF8 in name for name in names):
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"{field}: not UTF-8")


@lru_cache(maxsize=1_024)
def _names(patterns: tuple[str, ...], role: Role) -> frozenset[str]:
    """Return the names that patterns match; cached, so that equal subscriptions share one object."""
    return frozenset[str]().union(*map(names_matching, patterns)) & names_visible_to(role)
