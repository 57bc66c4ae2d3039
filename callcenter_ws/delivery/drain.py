"""The drain: closes the clients of a node that stops, at paced moments, each after it was sent what waits for it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from callcenter_ws.delivery.hub import CLOSED_PER_STEP, Hub
from callcenter_ws.delivery.subscriber import Subscriber
from callcenter_ws.errors import CloseCode
from callcenter_ws.events.frames import control_frame

RECONNECT_PAUSE_SECONDS = 1.0
"""Seconds from the close of a connection to the reconnect that the client is asked for, if other nodes take over."""

MAX_CLOSE_MARGIN_SECONDS = 6.0
CLOSE_MARGIN_SHARE = 0.2
"""The end of ``limits.drain_timeout`` in which no close is planned: for the last client's messages and close frame."""

ALONE_CLOSES_PER_SECOND = 2_000
ALONE_CLOSE_SHARE = 0.2
"""The pace of closes of a node that no other node replaces, and the largest share of the timeout that they take."""

MAX_RESTART_SECONDS = 2.0
RESTART_SHARE = 0.1
"""Time for the restart of such a node, in addition to the pause, and the largest share of the timeout that it takes."""

FLUSH_TIMEOUT_SECONDS = 5.0
"""Seconds after its moment within which a client is sent what waits for it; then it is closed anyway."""

STALL_TIMEOUT_SECONDS = 2.0
"""Seconds after which a client is closed that reads nothing of what waits for it."""

BEGUN_PER_STEP = 500
"""Clients that reach their moment in one step of a slice."""

TICK_SECONDS = 0.1
"""Seconds between two looks at which clients are due."""


@dataclass(frozen=True, slots=True)
class DrainPlan:
    """The moments of a drain, in seconds since its begin.

    Attributes:
        clients: the number of clients.
        close_window: the closes are spread evenly over this time, which begins with the drain.
        first_reconnect: the first client is asked to reconnect after this time.
        reconnect_window: the reconnects are spread evenly over this time, which begins with the first.
        end: clients that are still connected are closed, whatever waits for them.
    """

    clients: int
    close_window: float
    first_reconnect: float
    reconnect_window: float
    end: float

    @classmethod
    def make(cls, clients: int, timeout: float, *, others_take_over: bool) -> DrainPlan:
        """Return the plan of a node with so many clients.

        If others take over, each client is closed shortly before it is asked to reconnect. If not, the events end with
        the process: the closes come quickly, and the reconnects are spread over the time after the restart.

        Args:
            timeout: ``limits.drain_timeout``.
        """
        margin = min(CLOSE_MARGIN_SHARE * timeout, MAX_CLOSE_MARGIN_SECONDS)
        window = timeout - margin
        if others_take_over:
            return cls(clients, window, RECONNECT_PAUSE_SECONDS, window, timeout - margin / 2)
        closes = min(clients / ALONE_CLOSES_PER_SECOND, ALONE_CLOSE_SHARE * timeout)
        return cls(clients, closes, closes + restart_pause(timeout), timeout, timeout - margin / 2)

    def due(self, elapsed: float) -> int:
        """Return how many clients have reached their moment after so many seconds."""
        if elapsed >= self.close_window:
            return self.clients
        return min(self.clients, 1 + int(self.clients * elapsed / self.close_window))

    def reconnect_after_ms(self, index: int) -> int:
        """Return after which time a client is asked to reconnect."""
        return int(1000 * (self.first_reconnect + self.reconnect_window * index / self.clients))

    def max_connects(self, milliseconds: int = 100) -> int:
        """Return the most connects that clients are asked for within so many milliseconds, whenever these begin."""
        window = 1000 * self.reconnect_window
        return min(self.clients, 1 + int(self.clients * milliseconds / window)) if window else self.clients


def longest_timeout(seconds: float) -> float:
    """Return the longest timeout of a drain whose last close is planned within so many seconds."""
    return min(seconds / (1 - CLOSE_MARGIN_SHARE / 2), seconds + MAX_CLOSE_MARGIN_SECONDS / 2)


def restart_pause(timeout: float) -> float:
    """Return the seconds from the last close of a node without others to the first reconnect."""
    return RECONNECT_PAUSE_SECONDS + min(RESTART_SHARE * timeout, MAX_RESTART_SECONDS)


def longest_absence(timeout: float) -> float:
    """Return the seconds that may pass from the close of a client to the time at which it is asked to reconnect.

    Args:
        timeout: ``limits.drain_timeout``.
    """
    return ALONE_CLOSE_SHARE * timeout + restart_pause(timeout) + timeout


@dataclass(slots=True)
class _WaitingClient:
    """A client that has reached its moment.

    Attributes:
        deadline: when it is closed, whatever waits for it.
        unsent: the bytes that it had not received when it read last.
        read_at: when it was seen to read last.
    """

    client: Subscriber
    deadline: float
    unsent: float
    read_at: float


class ClientDrain:
    """Sends ``drain`` to all clients of a node, then closes each at its moment.

    Until then a client is sent events, and its requests are answered. A client that is catching up, or that has
    answers or messages waiting, is closed when it has been sent them, at the latest after ``FLUSH_TIMEOUT_SECONDS``.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._clients: list[Subscriber] = []
        self._plan = DrainPlan(0, 0.0, 0.0, 0.0, 0.0)
        self._started_at = 0.0
        # How many clients have been sent ``drain``, and how many of them have reached their moment.
        self._announced = 0
        self._begun = 0
        self._waiting: deque[_WaitingClient] = deque()
        self._is_hurried = False

    def start(self, timeout: float, *, others_take_over: bool) -> DrainPlan:
        """Begin; the Hub registers no more clients."""
        self._clients = self._hub.begin_drain()
        self._started_at = self._hub.clock.monotonic()
        self._plan = DrainPlan.make(len(self._clients), timeout, others_take_over=others_take_over)
        self._hub.slicer.run(self._announce())
        self._tick()
        return self._plan

    @property
    def remaining(self) -> int:
        """The number of clients that are not closed."""
        return len(self._clients) - self._begun + len(self._waiting)

    def hurry(self) -> None:
        """Close all clients that remain now, whatever waits for them."""
        self._is_hurried = True

    def _announce(self) -> Iterator[None]:
        for index, client in enumerate(self._clients):
            message = {"reconnect_after_ms": self._plan.reconnect_after_ms(index)}
            self._hub.attempt(partial(client.send, control_frame("drain", message)), client)
            self._announced = index + 1
            if self._announced % CLOSED_PER_STEP == 0:
                yield

    def _tick(self) -> None:
        """Close the clients that are due, in slices; then, after a while, those that are due by then."""
        if self.remaining:
            self._hub.slicer.run(self._close_due())

    def _close_due(self) -> Iterator[None]:
        """Look once at each client that waits, and at each that has reached its moment since."""
        now = self._hub.clock.monotonic()
        is_over = self._is_hurried or now - self._started_at >= self._plan.end
        due = self._announced if is_over else min(self._announced, self._plan.due(now - self._started_at))
        while self._begun < due:
            client = self._clients[self._begun]
            self._waiting.append(_WaitingClient(client, now + FLUSH_TIMEOUT_SECONDS, math.inf, now))
            self._begun += 1
            if self._begun % BEGUN_PER_STEP == 0:
                yield
        for number in range(1, len(self._waiting) + 1):
            waiting = self._waiting.popleft()
            self._hub.attempt(partial(self._close_or_wait, waiting, now, is_over), waiting.client)
            if number % CLOSED_PER_STEP == 0:
                yield
        self._hub.clock.call_later(0 if self._is_hurried else TICK_SECONDS, self._tick)

    def _close_or_wait(self, waiting: _WaitingClient, now: float, is_over: bool) -> None:
        if is_over or self._is_done(waiting, now):
            waiting.client.close(CloseCode.DRAINING)
        else:
            self._waiting.append(waiting)

    def _is_done(self, waiting: _WaitingClient, now: float) -> bool:
        """Return whether a client has been sent what waits for it, or does not read it."""
        client = waiting.client
        if client.is_flushed():
            return True
        unsent = client.unsent_bytes()
        if not unsent or unsent < waiting.unsent:
            waiting.unsent, waiting.read_at = unsent, now
        return now >= waiting.deadline or now - waiting.read_at >= STALL_TIMEOUT_SECONDS
