"""Metrics of connections, and of what is delivered over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import Metric

from callcenter_ws.delivery.counters import HubCounters
from callcenter_ws.errors import CLOSES, ErrorCode
from callcenter_ws.ops.families import counter, counters, gauge, gauges, histogram
from callcenter_ws.runtime.histogram import Histogram

_CLOSE_NAMES = tuple(close.name for close in CLOSES.values())
_REPLAY_OUTCOMES = ("resumed", "epoch_changed", "ahead", "too_many", "too_old", "rights_changed")
_RESET_REASONS = _REPLAY_OUTCOMES[1:]
_HANDSHAKE_REFUSALS = (
    ErrorCode.UNAUTHORIZED,
    ErrorCode.FORBIDDEN,
    ErrorCode.CONNECTION_LIMIT,
    ErrorCode.RATE_LIMITED,
    ErrorCode.DRAINING,
)


class DeliveryMetrics:
    """Reads the counters of the Hub.

    Args:
        outgoing_bytes: returns the bytes that wait to be read by all peers (``delivery.outgoing``).
        outgoing_limit: returns ``limits.outgoing_bytes``.
        connections_limit: returns how many WebSockets there may be.
        latency: from receiving an event to passing it to the sockets.
    """

    def __init__(
        self,
        hub: HubCounters,
        outgoing_bytes: Callable[[], int],
        outgoing_limit: Callable[[], int],
        connections_limit: Callable[[], int],
        latency: Histogram,
    ) -> None:
        self._hub = hub
        self._outgoing_bytes = outgoing_bytes
        self._outgoing_limit = outgoing_limit
        self._connections_limit = connections_limit
        self._latency = latency

    def __call__(self) -> Iterator[Metric]:
        """Return the families with their present values."""
        yield from self._connections()
        yield from self._slow_peers()
        yield from self._messages()
        yield from self._history()

    def _connections(self) -> Iterator[Metric]:
        hub = self._hub
        by_both: dict[tuple[str, ...], float] = dict(hub.connections_by.items())
        yield gauges("connections", "Open WebSocket connections.", ("role", "endpoint"), by_both)
        yield gauge("connections_limit", "WebSocket connections that this process accepts.", self._connections_limit())
        yield counter("connections_opened", "WebSocket connections opened.", hub.opened)
        yield counters(
            "connections_closed", "WebSocket connections closed, by close code.", "code", hub.closed, _CLOSE_NAMES
        )
        refused = hub.handshakes_refused
        yield counters("handshakes_refused", "WebSocket handshakes refused.", "reason", refused, _HANDSHAKE_REFUSALS)
        yield counters(
            "requests_refused", "Messages of clients answered with an error.", "reason", hub.requests_refused
        )

    def _slow_peers(self) -> Iterator[Metric]:
        hub = self._hub
        yield gauge("outgoing_bytes", "Bytes that wait to be read by slow peers.", self._outgoing_bytes())
        yield gauge("outgoing_bytes_limit", "Bytes above which slow peers are closed.", self._outgoing_limit())
        yield counter(
            "closed_for_outgoing_bytes",
            "Connections closed because more than limits.outgoing_bytes waited to be read.",
            hub.closed_for_outgoing_bytes,
        )
        yield gauge("lagging_clients", "Clients that are behind and receive events from the history.", hub.lagging)
        yield counter("client_lags", "How often a client fell behind.", hub.lags)
        yield counter(
            "messages_conflated", "Messages that lagging clients were not sent: a newer one follows.", hub.conflated
        )

    def _messages(self) -> Iterator[Metric]:
        hub = self._hub
        yield counter("messages_received", "Messages that clients sent over WebSocket.", hub.received)
        yield counter("messages_delivered", "Messages written to clients.", hub.delivered)
        dropped = "Messages that clients were notified of missing."
        yield counters("messages_dropped", dropped, "reason", hub.dropped, ("history_exceeded",))
        yield histogram(
            "publish_to_socket_seconds",
            "Time from receiving an event to writing it to a client's socket, in seconds.",
            self._latency,
        )

    def _history(self) -> Iterator[Metric]:
        hub = self._hub
        yield counters(
            "messages_from_history",
            "Messages queued from the history, by what for.",
            "cause",
            hub.from_history,
            ("replay", "lag", "connect"),
        )
        yield counters(
            "replays", "Replays that clients asked for, by outcome.", "outcome", hub.replays, _REPLAY_OUTCOMES
        )
        yield counters("resets", "Resets sent to clients, by reason.", "reason", hub.resets, _RESET_REASONS)
        yield counters(
            "snapshots", "Snapshots sent to clients, by what for.", "cause", hub.snapshots, ("request", "reset", "gap")
        )
