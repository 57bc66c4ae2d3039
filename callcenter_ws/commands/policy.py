"""What the settings say about commands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from callcenter_ws.events.commands import COMMANDS, CommandType, Scope
from callcenter_ws.events.principal import Role
from callcenter_ws.events.visibility import AgentCalls, AgentChats

DESTINATION = re.compile(r"\+?[0-9*#]{1,32}")
"""What may be dialed unless the settings say otherwise."""

_ISSUERS = (Role.AGENT, Role.SUPERVISOR, Role.ADMIN, Role.SERVICE)
_SCOPE_WHERE_ALLOWED = {Role.AGENT: Scope.OWN, Role.SUPERVISOR: Scope.ANY}


class Disposition(NamedTuple):
    """A result of a call: what is stored and counted, and what people read."""

    code: str
    label: str


class Destination(NamedTuple):
    """Where calls are often transferred to: what people read, what a command names, and the queue there, if any."""

    name: str
    destination: str
    queue_name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandChoices:
    """What the commands of one tenant may name.

    Attributes:
        pause_reasons: the reasons of breaks and pauses; empty: any.
        dispositions: the results of ``call.disposition``; empty: there are none, and it is refused.
        destinations: what clients offer beside what the user types.
        route: by command or prefix (``call.*``), the source that carries it out where several can.
    """

    pause_reasons: tuple[str, ...] = ()
    dispositions: tuple[Disposition, ...] = ()
    destinations: tuple[Destination, ...] = ()
    route: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandPolicy:
    """The rules for commands at this gateway.

    Attributes:
        enabled: whether commands are accepted.
        allowed: the commands that a role may issue, in place of its default.
        destination: what must match a destination in full.
        agent_calls, agent_chats: which calls and chats an agent sees (``events.visibility``).
        choices: for tenants without choices of their own, ``tenants``.
    """

    enabled: bool = False
    allowed: Mapping[Role, frozenset[str]] = field(default_factory=dict)
    destination: re.Pattern[str] = DESTINATION
    agent_calls: AgentCalls = "all"
    agent_chats: AgentChats = "own"
    choices: CommandChoices = field(default_factory=CommandChoices)
    tenants: Mapping[str, CommandChoices] = field(default_factory=dict)

    def choices_of(self, tenant_id: str) -> CommandChoices:
        """Return what the commands of a tenant may name."""
        return self.tenants.get(tenant_id, self.choices)

    def scope_of(self, role: Role, type_: CommandType) -> Scope | None:
        """Return for whom a role may issue a command; None: it may not."""
        allowed = self.allowed.get(role)
        default = type_.scope_of(role)
        if allowed is None or role not in _SCOPE_WHERE_ALLOWED:
            return default
        return (default or _SCOPE_WHERE_ALLOWED[role]) if type_.name in allowed else None

    def names_for(self, role: Role) -> list[str]:
        """Return the commands that a role may issue."""
        if role not in _ISSUERS:
            return []
        return [name for name, type_ in COMMANDS.items() if self.scope_of(role, type_) is not None]
