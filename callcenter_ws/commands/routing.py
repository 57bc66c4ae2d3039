"""Selects the source that carries out a command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import CommandType
from callcenter_ws.interfaces import CommandSource

MAX_NAMED = 5
"""Sources that a refusal names."""


def route(
    type_: CommandType, sources: Sequence[CommandSource], owners: Sequence[str], configured: Mapping[str, str]
) -> CommandSource:
    """Return the source that is to carry out a command.

    A call or a chat belongs to the source whose event created it, which must be able to do it. For anything else the
    owner decides only between several sources that can; where it does not, the settings decide.

    Args:
        sources: all sources of the tenant.
        owners: the sources that created what the command is about, the nearest first.
        configured: by command or prefix (``call.*``), the source that the settings name.

    Raises:
        Refusal: ``no_source``, ``unsupported``, ``source_down``.
    """
    candidates = {source.name: source for source in sources if type_.name in source.capabilities}
    known = {source.name for source in sources}
    if type_.subject in ("call_id", "session_id"):
        for owner in owners:
            if owner in known and owner not in candidates:
                raise Refusal(ErrorCode.UNSUPPORTED, f"source {owner!r}, to which it belongs, cannot do this")
    if not candidates:
        raise Refusal(ErrorCode.NO_SOURCE)
    chosen = _chosen(type_, candidates, owners, configured)
    if not chosen.connected:
        raise Refusal(ErrorCode.SOURCE_DOWN, f"source {chosen.name!r} is not connected")
    return chosen


def _chosen(
    type_: CommandType, candidates: Mapping[str, CommandSource], owners: Sequence[str], configured: Mapping[str, str]
) -> CommandSource:
    for owner in owners:
        if owner in candidates:
            return candidates[owner]
    if len(candidates) == 1:
        return next(iter(candidates.values()))
    named = configured_source(type_.name, configured)
    if named is not None and named in candidates:
        return candidates[named]
    names = ", ".join(sorted(candidates)[:MAX_NAMED])
    text = f"several sources can do this ({names}): set [tenants.NAME.commands] route for {type_.name!r}"
    if named is not None:
        text = f"source {named!r}, which [tenants.NAME.commands] route names for {type_.name!r}, cannot do this"
    raise Refusal(ErrorCode.UNSUPPORTED, text)


def configured_source(name: str, configured: Mapping[str, str]) -> str | None:
    """Return the source that the settings name for a command, by its name or else by its longest prefix."""
    if name in configured:
        return configured[name]
    patterns = [pattern for pattern in configured if pattern.endswith("*") and name.startswith(pattern[:-1])]
    return configured[max(patterns, key=len)] if patterns else None
