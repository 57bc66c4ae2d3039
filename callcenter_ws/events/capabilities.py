"""What a source may do itself, as its ``Hello`` declares."""

from __future__ import annotations

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


def capability_problem(name: str) -> str | None:
    """Return why a capability is probably a misspelling of a known one; None if it is not."""
    if name in CAPABILITIES or not (meant := closest_name(name, CAPABILITIES)):
        return None
    return f"there is no capability {name!r}; did you mean {meant}?"
