"""What a source may do itself, as its ``Hello`` declares."""

from __future__ import annotations

from collections.abc import Iterable

from callcenter_ws.events.commands import COMMANDS
from callcenter_ws.runtime.suggestions import closest_name

HEALTH = "health"
"""The capability of a source that publishes ``source.up`` and ``source.down`` itself."""

CHATS = "chats"
"""The capability of a source that opens and ends chat sessions."""

CAPABILITIES = (HEALTH, CHATS, *COMMANDS)
"""Those that the gateway knows: the names of commands are the capabilities to carry them out.

Others are kept and shown: a later release may know them.
"""


def declared_commands(capabilities: Iterable[str]) -> list[str]:
    """Return the names of the commands among capabilities, sorted."""
    return sorted(name for name in capabilities if name in COMMANDS)


def has_other_commands(before: Iterable[str], now: Iterable[str]) -> bool:
    """Return whether the commands among capabilities have changed."""
    return declared_commands(before) != declared_commands(now)


def capability_problem(name: str) -> str | None:
    """Return why a capability is probably a misspelling of a known one; None if it is not."""
    if name in CAPABILITIES or not (meant := closest_name(name, CAPABILITIES)):
        return None
    return f"there is no capability {name!r}; did you mean {meant}?"
