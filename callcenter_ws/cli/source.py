"""``callcenter-ws source``: lists the registered sources of events, and releases their names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from callcenter_ws.amp.commands import ForgetSource, ListSources
from callcenter_ws.cli.emit import call_gateway
from callcenter_ws.runtime.reactor import Reactor

_COLUMNS = ("source", "state", "kind", "version", "owner", "tenants")


async def list_sources(reactor: Reactor, endpoint: str, token: str | None, tenant_id: str | None) -> list[str]:
    """Return a table of the sources of a tenant, or of all; see ``call_gateway``."""
    answer = await call_gateway(reactor, endpoint, token, ListSources, {"tenant_id": tenant_id})
    sources = json.loads(answer["sources"])
    lines = list(_table([_COLUMNS, *[tuple(_shown(source, name) for name in _COLUMNS) for source in sources]]))
    return lines + ([f"and {answer['left_out']} more"] if answer["left_out"] else [])


async def forget_source(reactor: Reactor, endpoint: str, token: str | None, source: str, tenant_id: str | None) -> int:
    """Release a name; return in how many tenants it was released; see ``call_gateway``."""
    answer = await call_gateway(reactor, endpoint, token, ForgetSource, {"source": source, "tenant_id": tenant_id})
    released: int = answer["released"]
    return released


def _shown(source: dict[str, Any], name: str) -> str:  # values of several types, see sources.registry.description
    if name == "tenants":
        return ",".join(source["tenants"]) + (",…" if source["tenant_count"] > len(source["tenants"]) else "")
    return str(source[name]) or "-"


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
