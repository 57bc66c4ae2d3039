"""Which commands an exchange can carry out, by the actions that its user may use and by the settings."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from callcenter_ws.bridge.settings import CommandSettings

_RECORDINGS_SINCE = (18, 3)
_VERSION = re.compile(r"(?:^|[^0-9.])(\d{2})\.(\d+)")

LIST_COMMANDS = "ListCommands"
"""The action that lists the actions which the user may use."""

_NEEDS: dict[str, tuple[str, ...]] = {
    "agent.state.set": ("QueuePause",),
    "queue.member.pause": ("QueuePause",),
    "queue.member.unpause": ("QueuePause",),
    "queue.member.add": ("QueueAdd",),
    "queue.member.remove": ("QueueRemove",),
    "call.originate": ("Originate",),
    "call.hangup": ("Hangup",),
    "call.transfer": ("Redirect",),
    "call.consult": ("Atxfer",),
    "call.consult.complete": ("Atxfer", "Hangup"),
    "call.consult.cancel": ("Atxfer", "CancelAtxfer"),
    "call.monitor": ("Originate",),
    "call.record": ("MixMonitor", "StopMixMonitor"),
}
"""The actions that each command needs."""

AVAILABLE = frozenset(
    {"BlindTransfer", "MixMonitorMute", "ShowDialPlan", *(name for names in _NEEDS.values() for name in names)}
)
"""All actions that commands use."""

_RIGHT_OF = {
    "QueuePause": "agent",
    "QueueAdd": "agent",
    "QueueRemove": "agent",
    "Originate": "originate",
    "Hangup": "call",
    "Redirect": "call",
    "BlindTransfer": "call",
    "Atxfer": "call",
    "CancelAtxfer": "call",
    "MixMonitor": "system",
    "StopMixMonitor": "call",
    "MixMonitorMute": "call",
}
"""The right that allows each action."""


def configured(settings: CommandSettings) -> Iterator[str]:
    """Yield the commands that the settings allow, whatever the exchange can."""
    if not settings.enabled:
        return
    yield from ("agent.state.set", "queue.member.pause", "queue.member.unpause", "call.hangup")
    if settings.queues:
        yield from ("queue.member.add", "queue.member.remove")
    if settings.context:
        yield "call.transfer"
    if settings.originate_context or settings.context:
        yield "call.originate"
    if settings.context and settings.consult:
        yield from ("call.consult", "call.consult.complete", "call.consult.cancel")
    if settings.monitor_context:
        yield "call.monitor"
    if settings.record_folder:
        yield "call.record"


def contexts_of(settings: CommandSettings) -> list[str]:
    """Return the contexts of the dialplan that commands use."""
    if not settings.enabled:
        return []
    found = (settings.context, settings.originate_context, settings.monitor_context)
    return list(dict.fromkeys(context for context in found if context))


def commands_of(actions: Collection[str], settings: CommandSettings, version: str = "") -> frozenset[str]:
    """Return the names of the commands that can be carried out.

    Args:
        actions: those that the user of the exchange may use.
        version: of the exchange; empty: not known, and taken for a present one.
    """
    return frozenset(name for name in configured(settings) if not _lacking(name, actions, version))


def missing(actions: Collection[str], settings: CommandSettings, version: str = "") -> dict[str, list[str]]:
    """Return the configured commands that cannot be carried out, each with what is missing for it."""
    lacking = {name: _lacking(name, actions, version) for name in configured(settings)}
    return {name: needs for name, needs in lacking.items() if needs}


def _lacking(name: str, actions: Collection[str], version: str) -> list[str]:
    lacking = [need for need in _NEEDS[name] if need not in actions]
    if name == "call.record" and not _tells_recordings(version):
        lacking.append(f"events of recordings, which Asterisk {version} does not send (18.3 and later do)")
    return lacking


def _tells_recordings(version: str) -> bool:
    """Return whether an Asterisk sends ``MixMonitorStart`` and the like."""
    found = _VERSION.search(version)
    return found is None or (int(found[1]), int(found[2])) >= _RECORDINGS_SINCE


def rights(settings: CommandSettings) -> list[str]:
    """Return the rights (``write``) that the configured commands need."""
    needed = {_RIGHT_OF[need] for name in configured(settings) for need in _NEEDS[name]}
    return [right for right in ("system", "call", "agent", "originate") if right in needed]
