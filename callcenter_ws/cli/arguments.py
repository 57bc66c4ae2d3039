"""Adds commands to the parser, and the options that several commands share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from callcenter_ws.runtime.suggestions import did_you_mean
from callcenter_ws.statistics.occurrence import milliseconds

Commands = Any  # the subparsers of argparse, whose class is private

TOKEN_VARIABLE = "CALLCENTER_WS_TOKEN"  # noqa: S105 - the name of a variable


class Parser(argparse.ArgumentParser):
    """A parser that suggests the name that was probably meant by an unknown command or value."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, and exit with status 2."""
        found = _INVALID_CHOICE.search(message)
        if found:
            # Later versions of Python do not quote the choices.
            choices = [choice.strip("'") for choice in found[2].split(", ")]
            message += did_you_mean(found[1], choices).replace("; d", "\nD")
        super().error(message)


_INVALID_CHOICE = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)", re.DOTALL)


def add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], text: str, example: str
) -> argparse.ArgumentParser:
    """Add a command.

    Args:
        run: called with the arguments; returns the exit status.
        text: what the command does, beginning with a verb in lower case.
    """
    description = f"{text[0].upper()}{text[1:]}."
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def add_settings(command: argparse.ArgumentParser) -> None:
    """Add the options that name a configuration."""
    command.add_argument("--config", metavar="FILE", type=Path, help="the gateway's TOML file")
    command.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="override one setting, such as web.demo=true"
    )


def add_amp(command: argparse.ArgumentParser) -> None:
    """Add the options of a command that calls a gateway over AMP."""
    command.add_argument(
        "--amp",
        metavar="ENDPOINT",
        help="AMP listener, such as tcp:host=127.0.0.1:port=8081 or unix:path=/run/amp.sock",
    )
    command.add_argument("--amp-token-file", metavar="FILE", type=Path, help="file with the shared secret or a token")
    add_timeout(command)


def add_timeout(command: argparse.ArgumentParser) -> None:
    """Add the option for how long to wait for the gateway."""
    command.add_argument(
        "--timeout", metavar="SECONDS", type=positive, default=10, help="how long to wait for the gateway (default: 10)"
    )


def add_token(command: argparse.ArgumentParser) -> None:
    """Add the options with which a command is given a token; see ``target.given_token``."""
    command.add_argument("--token", help=f"token; visible in the list of processes, so prefer {TOKEN_VARIABLE}")
    command.add_argument("--token-file", metavar="FILE", type=Path, help="file with the token; - for standard input")


# Types of arguments


def names(text: str) -> list[str]:
    """Return the names in a list that is separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def positive(text: str) -> float:
    """Return a finite number that is more than 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


def count(text: str) -> int:
    """Return a whole number that is 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def position(text: str) -> tuple[str, int]:
    """Return the epoch and the number of a position in the stream."""
    epoch, _, seq = text.rpartition(":")
    if not epoch or not seq.isdecimal():
        raise argparse.ArgumentTypeError("must be EPOCH:SEQ, both as in the welcome message")
    return epoch, int(seq)


def instant(text: str) -> int:
    """Return an instant in Unix milliseconds; a date is its midnight in UTC."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        if len(text) > len("2026-11-23"):
            raise argparse.ArgumentTypeError("the offset is missing, write Z or +01:00")
        found = found.replace(tzinfo=UTC)
    return milliseconds(found)
