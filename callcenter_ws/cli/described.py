"""Reads the commands and their arguments from the parser, for the manual and for shells."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """A command of ``callcenter-ws``.

    Attributes:
        name: its name, with that of the command that it belongs to: ``source list``.
    """

    name: str
    parser: argparse.ArgumentParser

    @property
    def example(self) -> str:
        """The example of its help text."""
        text, _, _ = (self.parser.epilog or "").removeprefix("example:\n").partition("\n\n")
        return text.strip()

    @property
    def arguments(self) -> list[argparse.Action]:
        """Its arguments, those without a name first."""
        shown = [action for action in actions_of(self.parser) if not isinstance(action, argparse._HelpAction)]
        return sorted(shown, key=lambda action: bool(action.option_strings))


def commands_of(parser: argparse.ArgumentParser, prefix: str = "") -> Iterator[Command]:
    """Yield the commands of a parser that do something themselves, in the order of its help text."""
    for action in actions_of(parser):
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                below = list(commands_of(child, f"{prefix}{name} "))
                yield from below or [Command(f"{prefix}{name}", child)]


def actions_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return what argparse calls the actions of a parser, of which it has no public list."""
    return parser._actions


def all_actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the actions of a parser and of all its commands."""
    for action in actions_of(parser):
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from all_actions(child)


def spelling(action: argparse.Action) -> str:
    """Return how an argument is written: ``--tenant ID``, ``TYPE``, ``[SHELL]``."""
    if action.choices is not None:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    else:
        value = str(action.metavar or action.dest.upper())
    if not action.option_strings:
        return f"[{value}]" if action.nargs == "?" else value
    name = action.option_strings[-1]
    if action.nargs == 0:
        return name
    return f"{name} {value} ..." if action.nargs == "+" else f"{name} {value}"
