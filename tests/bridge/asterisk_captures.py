"""The captures of a real Asterisk that the tests replay, and what its phones did meanwhile.

``captures/asterisk-22.tar.xz`` holds, of each scenario, one capture or several: those of AMI users with different
rights (``NAME``, ``NAME.full``, ``NAME.filtered``), or of one bridge that reconnected (``NAME.a``, ``NAME.b``). The
phones were driven by scripts and noted what they did; with Asterisk's own ``queue_log`` these notes are the truth.

``captures/lab-18.tar.xz`` and ``captures/lab-22.tar.xz`` hold others of an Asterisk 18 and 22 with other numbers, other
queues and options, FreePBX's way of naming things included; the names of these begin with ``v18-`` and ``v22-``.
"""

from __future__ import annotations

import json
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from callcenter_ws.bridge.asterisk.capture import Capture, parse_times
from callcenter_ws.bridge.asterisk.replay import Replay
from callcenter_ws.bridge.outgoing import BridgeEvent
from callcenter_ws.bridge.settings import AgentEntry, Directions, SourceSettings, TenantRule
from callcenter_ws.runtime.endpoints import EndpointDescription

ARCHIVES = tuple(
    Path(__file__).parent / "captures" / name for name in ("asterisk-22.tar.xz", "lab-18.tar.xz", "lab-22.tar.xz")
)

SETTINGS = SourceSettings(
    name="pbx1",
    kind="asterisk",
    endpoint=EndpointDescription.parse("tcp:127.0.0.1:5038"),
    username="callcenter",
    secret_file=Path("ami.secret"),
    tenant="acme",
    agent_pattern="(?:PJSIP|SIP)/(?P<user_id>[0-9]+)",
    agents={
        f"PJSIP/{number}": AgentEntry(user_id=number, username=name, extension=number)
        for number, name in (
            ("201", "Alice Adams"),
            ("202", "Bob Brown"),
            ("203", "Carol Clark"),
            ("204", "Dora Diaz"),
            ("205", "Eve Ender"),
        )
    },
    directions=Directions(inbound=("from-trunk-.*",), internal=("internal", "agents")),
    tenants=(
        TenantRule(tenant="globex", account_code="globex"),
        TenantRule(tenant="globex", queue="globex-"),
    ),
)
"""The settings with which the captures were made to be understood: two tenants, five agents, two trunks."""


@cache
def _files() -> dict[str, bytes]:
    found = {}
    for path in ARCHIVES:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile():
                    found[PurePosixPath(member.name).name] = archive.extractfile(member).read()  # type: ignore[union-attr]  # a file has content
    return found


@cache
def capture(name: str) -> Capture:
    """Return one capture, as ``01-answered-caller-hangs-up``, ``….full``, ``….filtered`` or ``46-reconnect.a``."""
    files = _files()
    times = parse_times(files[f"{name}.times"].decode()) if f"{name}.times" in files else []
    return Capture(files[f"{name}.txt"], times, files.get(f"{name}.sent", b""))


@cache
def truth(scenario: str) -> dict[str, Any]:  # Any, as JSON is
    """Return what the phones, the operator and ``queue_log`` say about a scenario."""
    found: dict[str, Any] = json.loads(_files()[f"{scenario}.truth.json"])
    return found


def scenario_of(name: str) -> str:
    """Return the scenario of a capture."""
    return name.partition(".")[0]


@cache
def names(*, of_lab: bool = False) -> tuple[str, ...]:
    """Return the names of the captures of ``asterisk-22``, or of the others."""
    found = (name.removesuffix(".txt") for name in _files() if name.endswith(".txt"))
    return tuple(sorted(name for name in found if name.startswith("v") == of_lab))


@cache
def recordings(kind: str, *, of_lab: bool = False) -> dict[str, tuple[str, ...]]:
    """Return the captures of each scenario by one user, in order; several are reconnects of one bridge.

    Args:
        kind: ``lean``, ``full`` or ``filtered``.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for name in names(of_lab=of_lab):
        scenario, _, part = name.partition(".")
        if f"{scenario}.truth.json" in _files() and (part if part in ("full", "filtered") else "lean") == kind:
            found[scenario].append(name)
    return {scenario: tuple(parts) for scenario, parts in found.items()}


def replayed(
    captures: Iterable[Capture] | Sequence[str] | str, settings: SourceSettings = SETTINGS
) -> list[BridgeEvent]:
    """Return the events of captures, which are given themselves or by name; several are reconnects of one bridge."""
    if isinstance(captures, str):
        captures = [captures]
    replay = Replay(settings)
    found: list[BridgeEvent] = []
    for played in captures:
        for unit in replay.play(capture(played) if isinstance(played, str) else played):
            found += unit.events
    for unit in replay.finish():
        found += unit.events
    return found
