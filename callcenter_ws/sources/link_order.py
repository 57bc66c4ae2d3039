"""The order of the numbers of one source and tenant on one connection."""

from __future__ import annotations

from bisect import bisect_left, insort

from twisted.internet.defer import Deferred

MAX_REFUSED = 4_096
"""Refused numbers that a connection remembers until they come again; with more, the connection is closed."""


class RefusedCount:
    """How many refused numbers of a connection have not come again, over all of the source's tenants."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class LinkOrder:
    """Keeps events in order although some are refused while later ones are under way.

    A number may be passed to the store unless a lower one was refused and has not come again. The store is told which
    number must be stored before it: the highest lower one that has no outcome yet.

    Args:
        count: counts the refused numbers of all orders of the connection.
    """

    __slots__ = ("_count", "_open", "_refused", "_waiting")

    def __init__(self, count: RefusedCount) -> None:
        self._count = count
        # Both ascending: numbers passed to the store without an outcome; numbers refused that have not come again.
        self._open: list[int] = []
        self._refused: list[int] = []
        # A number that waits until no lower one is open.
        self._waiting: tuple[int, Deferred[bool]] | None = None

    def begin(self, number: int) -> int | None:
        """Count a number as passed to the store.

        Returns:
            The number that must be stored before it, 0 if there is none; None: the number is refused.
        """
        refused = self._refused
        if refused and number >= refused[0]:
            if number != refused[0]:
                self._refuse(number)
                return None
            del refused[0]
            self._count.value -= 1
        at = bisect_left(self._open, number)
        self._open.insert(at, number)
        return self._open[at - 1] if at else 0

    def end(self, number: int, *, refused: bool) -> None:
        """Record the outcome of a number that was passed to the store.

        Args:
            refused: whether it was refused and is to be sent again.
        """
        del self._open[bisect_left(self._open, number)]
        if refused:
            self._refuse(number)
        if self._waiting is not None:
            self._check_waiting()

    def alone(self, number: int) -> Deferred[bool]:
        """Wait until no lower number is passed to the store without an outcome; one number at a time may wait.

        Returns:
            Fires with whether all of them were taken; False: the number must be sent again after a lower one.
        """
        answer: Deferred[bool] = Deferred()
        self._waiting = (number, answer)
        self._check_waiting()
        return answer

    def _check_waiting(self) -> None:
        if self._waiting is None:
            return
        number, answer = self._waiting
        if self._open and self._open[0] < number:
            return
        self._waiting = None
        answer.callback(not self._refused or self._refused[0] > number)

    def _refuse(self, number: int) -> None:
        at = bisect_left(self._refused, number)
        if at == len(self._refused) or self._refused[at] != number:
            insort(self._refused, number)
            self._count.value += 1
