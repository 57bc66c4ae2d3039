"""Measures what permessage-deflate costs the gateway in CPU and saves in bytes."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

from bench.closed_loop import SubscriberGroup
from bench.compiler import ZLIB
from bench.loader import Loader
from bench.peers.gateway_server import GatewayServer
from bench.report import Limit, Report, Row, print_progress
from bench.scale import Scale

OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
"""The offer of browsers."""

WITHOUT, WITH = "not offered", "permessage-deflate"


def measure(folder: Path, scale: Scale) -> Report:
    """Measure deliveries to clients with and without permessage-deflate; return the report.

    Figures: rate, CPU and bytes per message, for each window.

    Raises:
        InvalidRun: an event was lost, repeated or out of order, or a client was disconnected.
    """
    report = Report(
        "compression", f"every event to each of {scale.clients:,} subscribers of the gateway, compressed and not"
    )
    with ExitStack() as stack:
        loader = stack.enter_context(closing(Loader(folder)))
        offers = {WITHOUT: (), WITH: (OFFER,)}
        if ZLIB.package in loader.missing:
            del offers[WITH]
            report.rows.append(Row(WITH, unavailable=f"{ZLIB.package} is not installed; bench/setup installs it"))
        subscriber_groups: dict[str, SubscriberGroup] = {}
        for index, (label, headers) in enumerate(offers.items()):
            gateway = stack.enter_context(closing(GatewayServer(folder / f"compression-{index}", loader, None)))
            clients = gateway.client_group(scale.clients, *headers)
            subscriber_groups[label] = SubscriberGroup(gateway, loader, scale.clients, clients)
        granted = subscriber_groups[WITH].group.stats().deflated if WITH in subscriber_groups else 0
        for number in range(scale.rounds):
            print_progress(f"compression: round {number + 1} of {scale.rounds}")
            for window, count in scale.fan_out.items():
                for label, subscribers in subscriber_groups.items():
                    delivery = subscribers.measure(window, count, scale.fan_out_seconds)
                    report.add_delivery(delivery.renamed(f"{label}, {window} outstanding"))
        _add_results(subscriber_groups, report, granted == scale.clients)
    report.notes.append("each message is inflated and checked; bytes are those of the frames as received")
    return report


def _add_results(subscriber_groups: dict[str, SubscriberGroup], report: Report, granted: bool) -> None:
    for window in subscriber_groups[WITHOUT].results_by_window:
        for label, subscribers in subscriber_groups.items():
            shown = label if granted or label == WITHOUT else f"{label}, not negotiated"
            report.rows.append(subscribers.results_by_window[window].row(f"{shown} | {window} outstanding"))
    if not granted:
        return
    for window, plain in subscriber_groups[WITHOUT].results_by_window.items():
        deflated = subscriber_groups[WITH].results_by_window[window]
        label = f"{WITH} / {WITHOUT} | {window} outstanding"
        report.ratios.append(deflated.measurement.over(plain.measurement, label))
        sizes = [above / below for above, below in zip(deflated.wire_bytes, plain.wire_bytes, strict=True)]
        report.ratios.append(Limit(label, "bytes", sizes))
