"""The counters of one source as a line of the log."""

from __future__ import annotations

from collections.abc import Mapping

from callcenter_ws.bridge.exchange import ExchangeService


def summary_of(exchange: ExchangeService) -> str:
    """Return what was counted since the start of the process."""
    counters, traffic = exchange.counters, exchange.traffic
    parts = [f"{traffic.messages} messages of the exchange in {traffic.sessions} sessions"]
    parts.append(f"{counters.events} events made, {counters.reconciled} of them by comparing lists")
    if exchange.running:
        parts.append(f"{exchange.broadcaster.unacknowledged} wait for the gateway")
    parts.append(f"{counters.resyncs} synchronizations")
    parts += _named("refused", counters.refused)
    parts += _named("without tenant", exchange.unmatched)
    parts += _named("over a limit", exchange.over_limit)
    parts += _named("of unknown calls", exchange.strays)
    parts += _named("lost", counters.losses)
    return ", ".join(parts)


def _named(what: str, counts: Mapping[str, int]) -> list[str]:
    return [f"{what}: " + ", ".join(f"{name} {count}" for name, count in counts.items())] if counts else []
