"""PeerLogs: the logs of lines that peers can cause. Each has its own share, so that one kind does not hide another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.refusal_log import RefusalLog

LINES_OF_PEERS = 10
"""How many times as many lines there may be about authenticated peers, of each kind, as about networks."""


@dataclass(frozen=True, slots=True)
class PeerLogs:
    """What each log is limited by stands in parentheses.

    Attributes:
        networks: peers that have not authenticated (network): refused handshakes, requests, tokens.
        visitors: connections and refused requests of visitors, which any peer can be (network).
        connections: users who connect, and who end their connections (user).
        closes: connections of users that the gateway closes or refuses (user).
        requests: refused requests of users (user).
        daemons: connections of daemons over AMP (peer).
        commands: commands of daemons over AMP (peer).
    """

    networks: RefusalLog
    visitors: RefusalLog
    connections: RefusalLog
    closes: RefusalLog
    requests: RefusalLog
    daemons: RefusalLog
    commands: RefusalLog

    @classmethod
    def create(cls, clock: Clock, *, lines: int = 120, lines_per_network: int = 20) -> PeerLogs:
        """Return logs on a clock; see ``RefusalLog``."""
        logs = cls(*(RefusalLog(clock) for _ in fields(cls)))
        logs.set_limits(lines=lines, lines_per_network=lines_per_network)
        return logs

    def set_limits(self, *, lines: int, lines_per_network: int) -> None:
        """Change the limits; those about authenticated peers are ``LINES_OF_PEERS`` times as high."""
        for log in self:
            factor = 1 if log is self.networks else LINES_OF_PEERS
            log.set_limits(lines=lines * factor, lines_per_network=lines_per_network * factor)

    def __iter__(self) -> Iterator[RefusalLog]:
        return (getattr(self, each.name) for each in fields(self))

    @property
    def left_out(self) -> int:
        """The lines that were not logged, because there were too many."""
        return sum(log.left_out for log in self)

    def report(self) -> None:
        """Report now what was left out in this minute; the process is about to end."""
        for log in self:
            log.report()
