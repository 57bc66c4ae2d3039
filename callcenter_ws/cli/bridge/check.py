"""``callcenter-ws bridge check``: examines the exchanges of a bridge, and says what is missing there."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory

from callcenter_ws.bridge.asterisk.actions import InvalidValueError
from callcenter_ws.bridge.asterisk.commands.capabilities import contexts_of
from callcenter_ws.bridge.asterisk.findings import Finding, Level, filter_form, findings, manager_section
from callcenter_ws.bridge.asterisk.login import credentials_of
from callcenter_ws.bridge.asterisk.machine import AsteriskMachine
from callcenter_ws.bridge.asterisk.probe import Facts, Probe, ProbeFailed
from callcenter_ws.bridge.loss import Loss, LostReason
from callcenter_ws.bridge.settings import SourceSettings
from callcenter_ws.cli.arguments import Commands, add_command
from callcenter_ws.cli.bridge.settings import add_source, sources_of
from callcenter_ws.cli.in_reactor import run_in_reactor
from callcenter_ws.cli.printable import printable
from callcenter_ws.remote.reasons import connection_reason
from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.runtime.secret_files import read_secret

_LISTEN_SECONDS = 5.0
_MAX_LISTEN_SECONDS = 3_600.0


def add(actions: Commands) -> None:
    """Add the action."""
    text = "connect to the exchanges, say what they are and what is missing there; changes nothing, needs no gateway"
    example = "callcenter-ws bridge check --config bridge.toml --source pbx1 --listen 60"
    command = add_command(actions, "check", check, text, example)
    add_source(command, default="all")
    text = f"how long to listen for events (default: {_LISTEN_SECONDS:g}); some rights show only by events of calls"
    command.add_argument("--listen", metavar="SECONDS", type=_seconds, default=_LISTEN_SECONDS, help=text)


def check(arguments: argparse.Namespace) -> int:
    """Examine the exchanges; return 1 if something is missing."""
    sources = sources_of(arguments)
    # Of all first: a reactor runs once only.
    examined = run_in_reactor(lambda reactor: _examine_all(reactor, sources, arguments.listen))
    has_problem = False
    for number, (source, result) in enumerate(zip(sources, examined, strict=True)):
        if number:
            print()
        has_problem |= _print_source(source, result)
    return int(has_problem)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= _MAX_LISTEN_SECONDS:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to {_MAX_LISTEN_SECONDS:g}")
    return seconds


def _print_source(source: SourceSettings, result: Facts | Loss) -> bool:
    """Print what one exchange is; return whether something is missing."""
    print(f"{printable(source.name)}: {printable(source.endpoint.text)}, user {printable(source.username)}")
    if isinstance(result, Loss):
        facts, found = Facts(), [Finding(Level.PROBLEM, result.text)]
    else:
        facts, found = result, list(findings(result, source))
    for finding in found:
        print(f"  {finding.level.value:8} {printable(finding.text)}")
    print("\n  For manager.conf, or a file that it includes; with FreePBX manager_custom.conf:\n")
    for line in _section(source, facts):
        print(f"    {printable(line)}")
    return any(finding.level is Level.PROBLEM for finding in found)


def _section(source: SourceSettings, facts: Facts) -> Iterator[str]:
    yield "[general]"
    yield "enabled = yes"
    yield "timestampevents = yes"
    yield ""
    yield f"; event filters: {filter_form(facts.version)}"
    yield from manager_section(facts, source, AsteriskMachine(source, {}).wanted)


async def _examine_all(reactor: Reactor, sources: Sequence[SourceSettings], listen: float) -> list[Facts | Loss]:
    results: list[Facts | Loss] = []
    for source in sources:
        try:
            results.append(await _examine(reactor, source, listen))
        except ProbeFailed as failed:
            results.append(failed.loss)
    return results


async def _examine(reactor: Reactor, source: SourceSettings, listen: float) -> Facts:
    """Connect and examine.

    Raises:
        ProbeFailed: the exchange cannot be examined.
    """
    try:
        credentials = credentials_of(source, read_secret(source.secret_file).decode())
    except (ValueError, InvalidValueError) as error:
        raise ProbeFailed(Loss(LostReason.LOGIN_REFUSED, str(error))) from None
    probes: list[Probe] = []

    def build() -> Probe:
        probes.append(Probe(credentials, reactor, contexts_of(source.commands)))
        return probes[-1]

    try:
        connected: Deferred[Probe] = clientFromString(reactor, source.endpoint.text).connect(Factory.forProtocol(build))
        await connected
    except Exception as error:
        reason = connection_reason(error, "the exchange")
        text = f"cannot connect: {reason}"
        raise ProbeFailed(Loss(LostReason.UNREACHABLE, text)) from None
    return await probes[-1].examine(listen)
