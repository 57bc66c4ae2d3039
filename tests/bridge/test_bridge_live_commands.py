"""callcenter-ws bridge watch and record, at a played exchange."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
from amp_doubles import until
from asterisk_captures import capture
from exchange_world import SECRET, Exchange
from twisted.internet import reactor, utils
from twisted.internet.defer import Deferred

from callcenter_ws.bridge.asterisk.played_events import live_events
from callcenter_ws.cli.main import main


@pytest_twisted.async_yield_fixture
async def exchange() -> AsyncIterator[Exchange]:
    exchange = Exchange()
    exchange.listen()
    yield exchange
    await exchange.close()


def write_config(folder: Path, port: int, secret: str = SECRET) -> str:
    (folder / "ami.secret").write_text(secret + "\n")
    (folder / "ami.secret").chmod(0o600)
    config = folder / "bridge.toml"
    config.write_text(
        f"""
        [gateway]
        endpoint = "unix:path=/nowhere/amp.sock"
        [[sources]]
        name = "pbx1"
        kind = "asterisk"
        endpoint = "tcp:127.0.0.1:{port}"
        username = "callcenter"
        secret_file = "ami.secret"
        tenant = "acme"
        agent_pattern = "PJSIP/(?P<user_id>[0-9]+)"
        directions = {{ inbound = ["from-trunk-.*"], internal = ["internal", "agents"] }}
        """
    )
    return str(config)


def run(*arguments: str) -> Deferred[tuple[bytes, bytes, int]]:
    """Run the command; the result is what it printed, and its status."""
    code = "import sys; from callcenter_ws.cli.main import main; sys.exit(main())"
    started: Deferred[tuple[bytes, bytes, int]] = utils.getProcessOutputAndValue(
        sys.executable, ("-c", code, "bridge", *arguments), reactor=reactor
    )
    return started


def files_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


async def play(exchange: Exchange, name: str) -> None:
    """Play a scenario to the command once it has the lists, and shut the exchange down."""
    await until(reactor, lambda: "BridgeList" in exchange.player.actions)
    await exchange.player.play(list(live_events(capture(name))), speed=100)
    exchange.player.shut_down()


@pytest_twisted.ensureDeferred
async def test_events_are_shown_beside_those_that_are_made_of_them(exchange: Exchange, tmp_path: Path) -> None:
    running = run("watch", "--config", write_config(tmp_path, exchange.port))
    await play(exchange, "01-answered-caller-hangs-up")
    output, errors, status = await running
    assert status == 1
    assert errors.decode() == "pbx1: the exchange shuts down\n"
    lines = output.decode().splitlines()
    assert "the lists of Asterisk 22.10.1: 0 channels" in lines[0]
    begun = next(number for number, line in enumerate(lines) if " Newchannel " in line)
    assert "CallerIDNum=15550101" in lines[begun] and 'CallerIDName="Zed Zephyr"' in lines[begun]
    assert lines[begun + 1].startswith("    → ") and "call.incoming" in lines[begun + 1]
    shown = [line.split()[2] for line in lines if line.startswith("    → ")]
    assert [name for name in shown if name.startswith(("call.", "queue.joined", "queue.left"))] == [
        *("call.incoming", "queue.joined", "call.ringing", "call.ringing", "call.ringing"),
        *("queue.left", "call.answered", "call.ended"),
    ]
    assert not any(" DeviceStateChange " in line for line in lines)


@pytest_twisted.ensureDeferred
async def test_all_events_are_shown_if_asked_for(exchange: Exchange, tmp_path: Path) -> None:
    running = run("watch", "--config", write_config(tmp_path, exchange.port), "--all", "--seconds", "600")
    await play(exchange, "26-direct-caller-cancels")
    output, errors, status = await running
    assert status == 0 and errors == b""
    assert b" DeviceStateChange " in output


@pytest_twisted.ensureDeferred
async def test_a_recording_is_played_with_its_own_settings(exchange: Exchange, tmp_path: Path) -> None:
    file = tmp_path / "monday.txt"
    running = run("record", str(file), "--config", write_config(tmp_path, exchange.port))
    await play(exchange, "12-attended-transfer")
    output, errors, status = await running
    assert (status, errors) == (0, b"")
    assert b"The session has ended: the exchange shuts down" in output
    for suffix in (".txt", ".times", ".sent", ".toml"):
        made = file.with_suffix(suffix)
        assert made.stat().st_mode & 0o077 == 0
        for name in ("1555", "Otto", "Alice", "acme", SECRET, "callcenter\n"):
            assert name not in made.read_text()
    replaying = run("replay", "--config", str(file.with_suffix(".toml")), "--check", str(file))
    output, errors, status = await replaying
    assert status == 0, errors
    types = [json.loads(line)["type"] for line in output.decode().splitlines()]
    assert types.count("call.incoming") == types.count("call.ended") == 2
    assert types.count("call.transferred") == 1


@pytest_twisted.ensureDeferred
async def test_a_refused_login_leaves_no_files(exchange: Exchange, tmp_path: Path) -> None:
    config = write_config(tmp_path, exchange.port, secret="not-the-secret")
    output, errors, status = await run("record", str(tmp_path / "monday.txt"), "--config", config)
    assert (output, status) == (b"", 1)
    assert b"pbx1: the exchange refuses the login" in errors and b"not-the-secret" not in errors
    assert files_in(tmp_path) == ["ami.secret", "bridge.toml"]


@pytest_twisted.ensureDeferred
async def test_an_exchange_that_is_not_there(exchange: Exchange, tmp_path: Path) -> None:
    await exchange.close()
    _, errors, status = await run("watch", "--config", write_config(tmp_path, exchange.port))
    assert (status, errors) == (1, b"callcenter-ws bridge: pbx1: cannot connect: connection refused\n")


def test_no_file_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, 5038)
    (tmp_path / "monday.times").write_text("mine")
    assert main(["bridge", "record", str(tmp_path / "monday.txt"), "--config", config]) == 1
    assert capsys.readouterr().err == f"callcenter-ws bridge: {tmp_path}/monday.times exists already\n"
    assert files_in(tmp_path) == ["ami.secret", "bridge.toml", "monday.times"]
