"""Metrics of this process: whether it serves, its reactor, its certificates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import InfoMetricFamily, Metric

from callcenter_ws.ops.families import counter, gauge, gauges, histogram
from callcenter_ws.ops.health import Health
from callcenter_ws.ops.reactor_monitor import ReactorMonitor
from callcenter_ws.ops.reload_outcome import ReloadOutcome


class ProcessMetrics:
    """Reads the state of the process.

    Args:
        certificates: returns the end of the validity of each certificate in use, in Unix seconds, by endpoint.
    """

    def __init__(
        self,
        version: str,
        health: Health,
        reactor: ReactorMonitor,
        reload: ReloadOutcome,
        certificates: Callable[[], Mapping[str, float]],
    ) -> None:
        self._version = version
        self._health = health
        self._reactor = reactor
        self._reload = reload
        self._certificates = certificates

    def __call__(self) -> Iterator[Metric]:
        """Return the families with their present values."""
        yield InfoMetricFamily("callcenter_ws_build", "The version of callcenter-ws.", {"version": self._version})
        yield gauge("ready", "Whether /readyz answers 200: 1 or 0.", int(not self._health.reasons()))
        yield gauge("draining", "Whether the process is stopping: 1 or 0.", int(self._health.draining))
        reload = self._reload
        yield gauge("last_reload_successful", "Whether the last reload was applied: 1 or 0.", int(reload.successful))
        yield gauge(
            "last_reload_success_timestamp_seconds",
            "When the settings in use were read, in Unix seconds.",
            reload.applied_at,
        )
        yield histogram(
            "reactor_delay_seconds",
            "How late a timer was called, in seconds; measured twice a second.",
            self._reactor.delay,
        )
        turns = self._reactor.turns
        if turns is not None:
            yield gauge(
                "reactor_longest_turn_seconds",
                "The longest turn of the reactor in the last 30 to 60 seconds.",
                self._reactor.longest_turn,
            )
            yield counter("reactor_busy_seconds", "Seconds in turns of the reactor, in all.", turns.busy_seconds)
            yield counter("reactor_turns", "Turns of the reactor.", turns.turns)
        yield gauges(
            "certificate_not_after_timestamp_seconds",
            "The end of the validity of the TLS certificate in use, in Unix seconds.",
            ("endpoint",),
            {(endpoint,): end for endpoint, end in self._certificates().items()},
        )
