"""A command as the scripts see it: checked, with its payload decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from callcenter_ws.events.commands import COMMANDS, CommandPayload, OutcomeCode
from callcenter_ws.events.identifiers import has_control_character
from callcenter_ws.events.principal import Role
from callcenter_ws.remote import CommandFailed
from callcenter_ws.runtime.json import JsonValue

MAX_TEXT = 200
"""Characters of a text of the exchange that the asker is shown."""

Data = dict[str, JsonValue]
"""What the outcome of a command that was carried out tells."""


@dataclass(frozen=True, slots=True)
class CheckedCommand:
    """A command of the gateway that is to be carried out.

    Attributes:
        user_id, role: who asks.
        extension: that of the asker's token; None: it has none.
        deadline: nothing may be started from then on, in seconds of the runner's clock.
    """

    name: str
    tenant_id: str
    user_id: str
    role: Role
    payload: CommandPayload
    deadline: float
    extension: str | None = None

    @property
    def is_of_agent(self) -> bool:
        """Whether the asker may act on what it handles only."""
        return self.role is Role.AGENT


def subject_of(command: CheckedCommand, user_id: str | None) -> str:
    """Return the user whom a command is about: the asker, unless another one is named.

    Raises:
        CommandFailed: ``not_allowed``: an agent names another user.
    """
    if command.is_of_agent and user_id not in (None, command.user_id):
        raise CommandFailed(OutcomeCode.NOT_ALLOWED, "agents may do that for themselves only")
    return user_id or command.user_id


def check_command(
    name: str,
    tenant_id: str,
    user_id: str,
    role: str,
    payload: Mapping[str, JsonValue],
    deadline: float,
    extension: str | None = None,
) -> CheckedCommand:
    """Return a command, checked again: the gateway may be older or newer than this bridge.

    Raises:
        CommandFailed: ``unsupported``: the bridge does not know the command; ``rejected``: its fields are not those of
            the command, or hold a line break or another control character.
    """
    declared = COMMANDS.get(name)
    if declared is None:
        raise CommandFailed(OutcomeCode.UNSUPPORTED, f"the bridge does not know the command {name[:64]!r}")
    texts = (tenant_id, user_id, extension or "", *(value for value in payload.values() if isinstance(value, str)))
    if any(has_control_character(text) for text in texts):
        raise CommandFailed(OutcomeCode.REJECTED, "a value holds a line break or another control character")
    try:
        fields = msgspec.convert(dict(payload), declared.payload)
        return CheckedCommand(name, tenant_id, user_id, Role(role), fields, deadline, extension)
    except (msgspec.ValidationError, ValueError):
        raise CommandFailed(OutcomeCode.REJECTED, "the fields are not those of this command") from None


def exchange_text(text: str) -> str:
    """Return a text of the exchange, fit to be shown: without control characters, and not too long."""
    return "".join(character if character.isprintable() else "?" for character in text[:MAX_TEXT])
