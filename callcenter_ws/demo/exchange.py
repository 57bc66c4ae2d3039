"""The sender of ``./demo --exchange``: a real bridge, connected over TCP to an Asterisk that plays a recorded shift.

It works with any gateway: ``python -m callcenter_ws.demo.exchange ENDPOINT --tenant demo --folder FOLDER``. It ends on
SIGTERM and when its standard input is closed, so it does not outlive the process that started it.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from pathlib import Path
from typing import cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import react
from twisted.logger import Logger

from callcenter_ws.bridge.asterisk.player import AmiPlayer, PlayerUser
from callcenter_ws.bridge.load import load
from callcenter_ws.bridge.service import BridgeService
from callcenter_ws.demo.child import call_at_end_of_input, log_to_stderr
from callcenter_ws.demo.sample_data import AGENTS
from callcenter_ws.demo.shift import Shift, play_rounds
from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.runtime.reactor import Reactor

_log = Logger()

_USER = "callcenter"
_SETTINGS = """\
# The settings of the bridge of ./demo --exchange, written anew at each start.
[gateway]
endpoint = {endpoint}
spool = "spool"

[[sources]]
name = "pbx1"
kind = "asterisk"
endpoint = "tcp:127.0.0.1:{port}"
username = "{user}"
secret_file = "ami.secret"
tenant = {tenant}
directions = {{ inbound = ["from-trunk"], internal = ["internal"] }}
commands = {{ enabled = true }}

[sources.agents]
"""


def write_settings(folder: Path, endpoint: str, tenant: str, port: int) -> Path:
    """Write the settings of the bridge and the secret of its user; return the file of the settings.

    Args:
        endpoint: the AMP listener of the gateway.
        port: that of the manager interface, on this machine.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    secret = folder / "ami.secret"
    secret.touch(mode=0o600)
    secret.write_text(secrets.token_hex(24))
    # Strings of JSON are strings of TOML.
    text = _SETTINGS.format(endpoint=json.dumps(endpoint), port=port, user=_USER, tenant=json.dumps(tenant))
    for person in AGENTS:
        entry = f'user_id = "{person.user_id}", username = "{person.name}", extension = "{person.extension}"'
        text += f'"PJSIP/{person.extension}" = {{ {entry} }}\n'
    file = folder / "bridge.toml"
    file.write_text(text)
    return file


async def run(reactor: Reactor, arguments: argparse.Namespace) -> None:
    """Play the shift to a bridge until the standard input is closed."""
    clock = ReactorClock(reactor)
    player = AmiPlayer(clock, ())
    port = reactor.listenTCP(0, player, interface="127.0.0.1")
    number = cast(IPv4Address, port.getHost()).port
    file = write_settings(arguments.folder, arguments.endpoint, arguments.tenant, number)
    rights = frozenset({"reporting", "agent", "call"})
    user = PlayerUser(_USER, (arguments.folder / "ami.secret").read_text(), write=rights)
    player.users[_USER] = user
    bridge = BridgeService(load(file), reactor)
    _log.info(
        "playing a shift of an Asterisk, pid {pid}, on port {port}; its bridge has {file}",
        pid=os.getpid(),
        port=number,
        file=str(file),
    )
    bridge.startService()
    running: Deferred[None] = Deferred.fromCoroutine(play_rounds(player, Shift.load(), clock, arguments.speed))
    call_at_end_of_input(reactor, running.cancel)
    try:
        await running
    except CancelledError:
        _log.info("the standard input is closed: the shift ends")
    finally:
        await bridge.stopService()


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Return the arguments of the command line; exit with an error message if they are invalid."""
    parser = argparse.ArgumentParser(
        prog="python -m callcenter_ws.demo.exchange",
        description="Play the recorded shift of an Asterisk to a bridge, which sends its events to a gateway over AMP.",
    )
    parser.add_argument("endpoint", metavar="ENDPOINT", help="AMP listener, such as unix:path=/run/amp.sock")
    parser.add_argument("--tenant", default="demo", help="the tenant of the events (default: %(default)s)")
    parser.add_argument("--speed", type=float, default=1.0, metavar="X", help="seconds of the shift per second")
    parser.add_argument("--folder", type=Path, required=True, help="for the settings and the spool of the bridge")
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    """Run the exchange and its bridge; does not return."""
    arguments = parse_arguments(argv)
    log_to_stderr()
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, arguments)))


if __name__ == "__main__":
    main(sys.argv[1:])
