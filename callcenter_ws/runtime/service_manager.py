"""Notifications to the service manager that runs this process: the protocol of sd_notify(3).

The protocol is one datagram of ``NAME=value`` lines to a unix socket. The libraries for it do not fit:
``systemd-python`` needs a C compiler, ``sdnotify`` has had no release since 2017, ``cysystemd`` cannot send
``RELOADING`` with its time nor ``EXTEND_TIMEOUT_USEC``, and all of them block while the service manager does not read,
which would hold the reactor.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from callcenter_ws.runtime.reactor import Reactor

READY_TIMEOUT_SECONDS = 20.0
"""Seconds after which a start counts as complete although the gateway cannot serve, as while its Redis is away.

The status tells the reason. Otherwise ``systemctl start`` would not return, and the watchdog would not work.
"""

MAX_INTERVAL_SECONDS = 5.0
"""Seconds between two reports, at most: the status line of ``systemctl status`` is as old as that."""

STARTING_INTERVAL_SECONDS = 0.2
STOPPING_INTERVAL_SECONDS = 1.0

STOP_EXTENSION_SECONDS = 20
"""Each report during a stop extends its time limit by this: a stop that proceeds is not ended by ``TimeoutStopSec``."""

_MICROSECONDS = 1_000_000

_log = Logger()


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What a process reports about itself.

    Attributes:
        serves: whether it serves clients.
        text: one line for people.
        is_alive: whether it works; if not, the service manager restarts it after the time of its watchdog.
    """

    serves: bool
    text: str
    is_alive: bool = True


class NotifySocket:
    """The socket of the service manager, if there is one.

    Args:
        address: ``NOTIFY_SOCKET``: a path, or ``@`` and the name of an abstract socket; empty: nothing is sent.
        watchdog: seconds within which the service manager expects a sign of life; None if it does not.
    """

    def __init__(self, address: str, watchdog: float | None = None) -> None:
        self.watchdog = watchdog
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if not address:
            return
        if not address.startswith(("/", "@")):
            _log.warn("NOTIFY_SOCKET is neither a path nor an abstract socket: the service manager is not notified")
            return
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    @classmethod
    def pop(cls, environ: MutableMapping[str, str], pid: int) -> Self:
        """Remove the variables from an environment, so that no child process inherits them, and return the socket."""
        address = environ.pop("NOTIFY_SOCKET", "")
        microseconds, watched = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", str(pid))
        is_watched = microseconds.isdecimal() and int(microseconds) > 0 and watched == str(pid)
        return cls(address, int(microseconds) / _MICROSECONDS if is_watched else None)

    @property
    def is_used(self) -> bool:
        """Whether there is a service manager that wants notifications."""
        return self._socket is not None

    def send(self, **fields: str | int) -> bool:
        """Send fields, such as ``READY=1``; return whether they were sent. Never blocks and never raises."""
        if self._socket is None:
            return False
        lines = [f"{name}={' '.join(str(value).split())}" for name, value in fields.items()]
        try:
            self._socket.sendto("\n".join(lines).encode(errors="replace"), self._address)
        except OSError:
            # The service manager does not read now, or was restarted. The next report follows.
            return False
        return True

    def close(self) -> None:
        """Close the socket; nothing is sent any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class ServiceReports(Service):
    """Reports to the service manager while the reactor turns: ready, status, watchdog, reload and stop.

    Its service is stopped together with those that it reports about, and it continues to report until the process ends.

    Args:
        status: returns the status of the process.
        stop_timeout: returns the seconds that a stop may take; then its time limit is not extended any more.
    """

    def __init__(
        self,
        reactor: Reactor,
        notify: NotifySocket,
        status: Callable[[], ServiceStatus],
        stop_timeout: Callable[[], float],
    ) -> None:
        self._reactor = reactor
        self._notify = notify
        self._status = status
        self._stop_timeout = stop_timeout
        self._next_report: IDelayedCall | None = None
        self._last_text = ""
        self._started_at = 0.0
        self._stop_until: float | None = None
        self._is_ready = False

    def startService(self) -> None:
        """Begin to report, if there is a service manager."""
        super().startService()
        if self._notify.is_used:
            self._reactor.callWhenRunning(self._begin)

    def stopService(self) -> None:
        """Report that the process stops, and how far it is."""
        super().stopService()
        if self._next_report is None:
            return
        self._stop_until = self._reactor.seconds() + self._stop_timeout()
        self._notify.send(STOPPING=1)
        self._next_report.cancel()
        # Those that it reports about may be stopped after it.
        self._next_report = self._reactor.callLater(0, self._report)

    @contextmanager
    def reload(self) -> Iterator[None]:
        """Tell the service manager that the settings are being loaded again, and at the end that this is over."""
        if not self._is_ready or self._stop_until is not None:
            yield
            return
        # systemd compares the time with that of its own request (Type=notify-reload).
        self._notify.send(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000)
        try:
            yield
        finally:
            self._notify.send(READY=1)

    def _begin(self) -> None:
        self._started_at = self._reactor.seconds()
        self._reactor.addSystemEventTrigger("after", "shutdown", self._notify.close)
        self._report()

    def _report(self) -> None:
        status = self._status()
        fields: dict[str, str | int] = {}
        now = self._reactor.seconds()
        if self._stop_until is not None:
            if now < self._stop_until:
                fields["EXTEND_TIMEOUT_USEC"] = STOP_EXTENSION_SECONDS * _MICROSECONDS
        elif not self._is_ready and (status.serves or now - self._started_at >= READY_TIMEOUT_SECONDS):
            fields["READY"] = 1
        if status.is_alive and self._notify.watchdog is not None:
            fields["WATCHDOG"] = 1
        if status.text != self._last_text:
            fields["STATUS"] = status.text
        if fields and self._notify.send(**fields):
            self._is_ready = self._is_ready or "READY" in fields
            self._last_text = status.text
        self._next_report = self._reactor.callLater(self._interval(), self._report)

    def _interval(self) -> float:
        """Return the seconds until the next report; sd_watchdog_enabled(3) recommends half the time of the watchdog."""
        longest = MAX_INTERVAL_SECONDS
        if self._stop_until is not None:
            longest = STOPPING_INTERVAL_SECONDS
        elif not self._is_ready:
            longest = STARTING_INTERVAL_SECONDS
        return longest if self._notify.watchdog is None else min(longest, self._notify.watchdog / 2)
