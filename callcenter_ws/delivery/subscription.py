"""The event types that a client is subscribed to, within those that its role may see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.catalogue import CATALOGUE, EVERYTHING, names_matching
from callcenter_ws.events.mistakes import unknown_pattern
from callcenter_ws.events.principal import Role
from callcenter_ws.events.visibility import may_ever_see


@cache
def names_visible_to(role: Role) -> frozenset[str]:
    """Return the event types that ``role`` may ever see."""
    return frozenset(name for name, type_ in CATALOGUE.items() if may_ever_see(role, type_.audience))


class Subscription:
    """The list of a client's patterns; None: it never subscribed, and is sent all that it may see.

    A ``service`` starts with the empty list: it is sent nothing unless it subscribes by name.

    Attributes:
        names: the event types that the patterns match.
    """

    __slots__ = ("_patterns", "_visible", "names", "role")

    def __init__(self, role: Role) -> None:
        self.role = role
        self._visible = names_visible_to(role)
        self._patterns: tuple[str, ...] | None = () if role is Role.SERVICE else None
        self.names = self._resolve()

    @property
    def events(self) -> list[str] | None:
        """The list now in force, as in the ``subscribed`` message."""
        return None if self._patterns is None else list(self._patterns)

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


@lru_cache(maxsize=1_024)
def _names(patterns: tuple[str, ...], role: Role) -> frozenset[str]:
    """Return the names that patterns match; cached, so that equal subscriptions share one object."""
    return frozenset[str]().union(*map(names_matching, patterns)) & names_visible_to(role)
