"""Logs what has no tenant and is dropped: each name once, within limits."""

from __future__ import annotations

from twisted.logger import Logger

from callcenter_ws.runtime.log_fields import Name

MAX_NAMES = 20
"""Names of each kind that are logged; further ones are counted only."""

_KINDS = {"member": "members of the queue"}
"""What the name of a kind is that of, where it is not that of the kind itself."""

_log = Logger()


class DroppedLog:
    """Logs what has no tenant. Its calls are counted in ``TenantRules.unmatched``.

    Args:
        source: the name of the source.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._logged: dict[str, set[str]] = {}

    def report(self, kind: str, name: str) -> None:
        """Log that a call, queue, member or agent is dropped, unless that was logged."""
        logged = self._logged.setdefault(kind, set())
        # The names of calls never recur: one line tells enough.
        if name in logged or len(logged) >= (1 if kind == "call" else MAX_NAMES):
            return
        logged.add(name)
        _log.warn(
            "source {source}: no rule gives the {kind} {name} a tenant: its events are dropped. See {key}",
            source=self._source,
            kind=_KINDS.get(kind, kind),
            name=Name(name),
            key=f"sources.{self._source}.tenants",
        )
