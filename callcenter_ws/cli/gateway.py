"""What commands that make requests to a gateway over HTTP have in common: its address, a token, errors, tables."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from callcenter_ws.cli.arguments import add_settings, add_timeout, add_token
from callcenter_ws.cli.http_request import NotConnected
from callcenter_ws.cli.target import CommandFailed, Target, demo_hint, given_token, target_of, tenant_of
from callcenter_ws.events.principal import Role
from callcenter_ws.runtime.json import JsonObject


def add_url(command: argparse.ArgumentParser) -> None:
    """Add the option for the address of the gateway."""
    text = "address of the gateway, such as https://gw.example.com (SSL_CERT_FILE: file with the CAs to trust)"
    command.add_argument("--url", help=text)


def add_access(command: argparse.ArgumentParser) -> None:
    """Add the options for the token, the configuration and the time."""
    add_token(command)
    add_settings(command)
    add_timeout(command)


def gateway_of(arguments: argparse.Namespace) -> tuple[Target, str]:
    """Return the gateway that the options name, and its address.

    Raises:
        CommandFailed: there is none, or its address is not known.
    """
    target = target_of(arguments, arguments.url)
    address = arguments.url or target.url
    if address is None:
        raise CommandFailed("no URL known: give --url https://gw.example.com, with the name in the certificate")
    return target, address


def token_of(
    arguments: argparse.Namespace, target: Target, subject: str, role: Role = Role.ADMIN, tenant: str | None = None
) -> str:
    """Return the token that the options hold, or a new one.

    Args:
        subject: of a new one.
        tenant: the same; None: the one that the command is about.
    """
    given = given_token(arguments)
    if given is not None:
        return given
    return target.token({"sub": subject, "tenant_id": tenant or tenant_of(arguments, target), "role": role})


@contextmanager
def hinting_at_demo(target: Target) -> Iterator[None]:
    """Add what to do to the error of a demo that cannot be reached."""
    try:
        yield
    except NotConnected as failure:
        raise CommandFailed(f"{failure}{demo_hint(target)}") from None


def print_lines(
    lines_of: Callable[[JsonObject], Iterable[str]], answer: JsonObject, missing: str, head: str = ""
) -> None:
    """Print the lines that show an answer.

    Args:
        missing: the error if the answer is of another kind.
        head: printed before them.
    """
    try:
        lines = list(lines_of(answer))
    except (LookupError, TypeError, ValueError, AttributeError):
        raise CommandFailed(missing) from None
    print(head + "\n".join(lines))
