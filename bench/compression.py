"""What permessage-deflate costs the gateway, and what it saves."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

from bench.closed_loop import Audience
from bench.compiler import ZLIB
from bench.loader import Loader
from bench.peers.own import OwnGateway
from bench.report import Limit, Report, Row, progress
from bench.scale import Scale

OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
"""As browsers say it."""

WITHOUT, WITH = "not offered", "permessage-deflate"


def measure(folder: Path, scale: Scale) -> Report:
    """Measure it."""
    report = Report(
        "compression", f"every event to each of {scale.clients:,} subscribers of the gateway, compressed and not"
    )
    with ExitStack() as stack:
        loader = stack.enter_context(closing(Loader(folder)))
        offers = {WITHOUT: (), WITH: (OFFER,)}
        if ZLIB.package in loader.missing:
            del offers[WITH]
            report.rows.append(Row(WITH, unavailable=f"{ZLIB.package} is not installed; bench/setup installs it"))
        audiences: dict[str, Audience] = {}
        for place, (label, headers) in enumerate(offers.items()):
            gateway = stack.enter_context(closing(OwnGateway(folder / f"compression-{place}", loader, None)))
            audiences[label] = Audience(gateway, loader, scale.clients, gateway.crowd(scale.clients, *headers))
        granted = audiences[WITH].crowd.catch().deflated if WITH in audiences else 0
        for number in range(scale.rounds):
            progress(f"compression: round {number + 1} of {scale.rounds}")
            for window, count in scale.fan_out.items():
                for label, audience in audiences.items():
                    delivery = audience.measure(window, count, scale.fan_out_seconds)
                    report.deliver(delivery.renamed(f"{label}, {window} outstanding"))
        _tell(audiences, report, granted == scale.clients)
    report.notes.append("each message is inflated and checked; bytes are those of the frames as they came")
    return report


def _tell(audiences: dict[str, Audience], report: Report, granted: bool) -> None:
    for window in audiences[WITHOUT].tracks:
        for label, audience in audiences.items():
            shown = label if granted or label == WITHOUT else f"{label}, not negotiated"
            report.rows.append(audience.tracks[window].row(f"{shown} | {window} outstanding"))
    if not granted:
        return
    for window, plain in audiences[WITHOUT].tracks.items():
        deflated = audiences[WITH].tracks[window]
        label = f"{WITH} / {WITHOUT} | {window} outstanding"
        report.ratios.append(deflated.course.over(plain.course, label))
        bytes_ = [above / below for above, below in zip(deflated.wires, plain.wires, strict=True)]
        report.ratios.append(Limit(label, "bytes", bytes_))
