"""A bridge that is not started, and what Prometheus would read of it."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from twisted.internet.task import Clock

from callcenter_ws.bridge.metrics import BridgeMetrics
from callcenter_ws.bridge.reload import BridgeReload
from callcenter_ws.bridge.service import BridgeService
from callcenter_ws.bridge.settings import BridgeSettings, GatewaySettings, SourceSettings
from callcenter_ws.runtime.endpoints import EndpointDescription


def new_bridge(folder: Path) -> BridgeService:
    """Return a bridge with one source."""
    (folder / "secret").write_text("secret")
    source = SourceSettings(
        name="pbx1",
        kind="asterisk",
        endpoint=EndpointDescription.parse("tcp:127.0.0.1:1"),
        username="callcenter",
        secret_file=folder / "secret",
        tenant="acme",
    )
    gateway = GatewaySettings(endpoint=EndpointDescription.parse(f"unix:{folder}/amp"), spool=folder / "spool")
    return BridgeService(BridgeSettings(gateway=gateway, sources=(source,)), Clock())


def count_everything(bridge: BridgeService) -> None:
    """Count something in each family that has no series before something happens."""
    (exchange,) = bridge.exchanges
    exchange.counters.count_refused("invalid_event")
    exchange.counters.count_loss("timeout")
    exchange.counters.count_command("done")
    exchange.traffic.skipped["Newexten"] = 3
    exchange._unmatched["queue"] = exchange._over_limit["calls"] = exchange._strays["Hangup"] = 1


def exposition(bridge: BridgeService) -> str:
    """Return the metrics of a bridge without those of the process."""
    registry = CollectorRegistry()
    reload = BridgeReload(bridge, lambda: bridge.settings, lambda level: None, lambda: 0.0)
    registry.register(BridgeMetrics(bridge, reload))
    return generate_latest(registry).decode()
