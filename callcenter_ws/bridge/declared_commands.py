"""The commands that a source declares to the gateway: those that its exchange can carry out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol

import msgspec

from callcenter_ws.bridge.outgoing import Unit
from callcenter_ws.events.commands import COMMANDS
from callcenter_ws.remote import Command
from callcenter_ws.runtime.json import JsonObject, encode_json

_RECORD = "commands"

CarryOut = Callable[[Command], Awaitable[JsonObject | None]]
"""Carries a command out, and returns its data."""


class CommandRegistrar(Protocol):
    """The part of ``EventBroadcaster`` that is used here."""

    @property
    def records(self) -> Mapping[str, bytes]:
        """The records of the source."""

    def on_command(self, name: str, function: CarryOut | None) -> None:
        """Set or remove the function of a command."""


class DeclaredCommands:
    """Declares commands, and stores what was declared.

    A bridge that starts again declares the same before it knows the exchange: so the gateway is not told twice.

    Args:
        carry_out: is to carry out all of them.
    """

    def __init__(self, registrar: CommandRegistrar, carry_out: CarryOut) -> None:
        self._registrar = registrar
        self._carry_out = carry_out
        self._names: frozenset[str] = frozenset()

    def restore(self) -> None:
        """Declare what was declared last, as soon as the records are known."""
        try:
            names = msgspec.json.decode(self._registrar.records.get(_RECORD, b"[]"), type=list[str])
        except msgspec.MsgspecError:
            names = []
        self._register(frozenset(names) & COMMANDS.keys())

    def declare(self, names: Collection[str]) -> Unit:
        """Declare commands, instead of those before; return what has to be stored."""
        self._register(frozenset(names))
        record = encode_json(sorted(self._names)) if self._names else None
        if self._registrar.records.get(_RECORD) == record:
            return Unit()
        return Unit(records={_RECORD: record})

    def _register(self, names: frozenset[str]) -> None:
        removed, added = self._names - names, names - self._names
        self._names = names
        for name in sorted(removed):
            self._registrar.on_command(name, None)
        for name in sorted(added):
            self._registrar.on_command(name, self._carry_out)
