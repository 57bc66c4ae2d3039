"""Metrics of peers: those that have not authenticated, HTTP requests, and AMP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import Metric

from callcenter_ws.ops.families import counter, counters, gauge, gauges
from callcenter_ws.runtime.peer_budget import Overdrawn
from callcenter_ws.runtime.peer_limits import PeerLimits


class PeerMetrics:
    """Reads the counters of the limits of unauthenticated peers."""

    def __init__(self, limits: PeerLimits) -> None:
        self._limits = limits

    def __call__(self) -> Iterator[Metric]:
        """Return the families with their present values."""
        limits = self._limits
        yield gauge(
            "unauthenticated_sockets", "Open sockets of peers that have not authenticated.", limits.budget.sockets
        )
        yield counters(
            "peer_limits_exceeded",
            "What was refused to networks of peers that have not authenticated, by limit.",
            "limit",
            {reason.value: count for reason, count in limits.budget.overdrawn.items()},
            (reason.value for reason in Overdrawn),
        )
        yield counters(
            "http_refused", "HTTP requests refused for their form, their token or a limit.", "reason", limits.refused
        )
        yield gauge("incoming_bytes", "Bytes of requests that are being received.", limits.incoming.total)
        yield gauge("incoming_bytes_limit", "Bytes above which requests are refused.", limits.incoming.bound)
        yield counter(
            "refused_for_incoming_bytes",
            "Requests refused because more than limits.incoming_bytes were being received.",
            limits.incoming.refused,
        )
        yield counters(
            "forwarded_unreadable",
            "Values of X-Forwarded-For from trusted proxies that are no address, by kind.",
            "kind",
            limits.proxies.unreadable,
        )
        yield counter("log_lines_left_out", "Log lines about peers that were left out.", limits.log_lines_left_out)


class AmpMetrics:
    """Reads the state of the AMP sessions.

    Args:
        sessions: returns the number of sessions by state.
        refused: commands and connections that were refused, by error code.
        waiting_events: returns the events that wait at the senders, as far as they tell.
    """

    def __init__(
        self,
        sessions: Callable[[], Mapping[str, int]],
        refused: Mapping[str, int],
        waiting_events: Callable[[], int],
    ) -> None:
        self._sessions = sessions
        self._refused = refused
        self._waiting_events = waiting_events

    def __call__(self) -> Iterator[Metric]:
        """Return the families with their present values."""
        sessions = self._sessions()
        yield gauge("amp_peers", "Connected AMP peers.", sum(sessions.values()))
        yield gauges(
            "amp_sessions",
            "Connected AMP peers, by what they are.",
            ("state",),
            {(state,): count for state, count in sessions.items()},
        )
        yield counters(
            "amp_refused",
            "Commands of AMP peers answered with an error, and connections refused.",
            "reason",
            self._refused,
        )
        yield gauge(
            "senders_waiting_events",
            "Events that connected senders have not sent or that are not answered, as they told with their last Ping.",
            self._waiting_events(),
        )
