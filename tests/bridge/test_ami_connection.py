"""The connection of a bridge to an exchange that is played: reconnects, refusals, floods, silence, TLS."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
from amp_doubles import until
from asterisk_captures import capture
from exchange_world import SECRET, Bridge, Exchange, OpenBridge, PlayerUser
from tls_material import make_certificate, new_certificate
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol

from callcenter_ws.bridge.asterisk import connection as module
from callcenter_ws.bridge.asterisk import session_protocol
from callcenter_ws.bridge.asterisk.connection import FIRST_REFUSED_SECONDS, MAX_REFUSED_SECONDS
from callcenter_ws.bridge.asterisk.framing import parse_all
from callcenter_ws.bridge.asterisk.login import is_private
from callcenter_ws.bridge.asterisk.played_events import live_events
from callcenter_ws.bridge.loss import LostReason
from callcenter_ws.runtime.backoff import Backoff
from callcenter_ws.runtime.endpoints import EndpointDescription

NEW_CHANNEL = "Event: Newchannel\nPrivilege: call,all\nChannel: PJSIP/201-1\nUniqueid: {0}\nLinkedid: {0}"


@pytest.fixture(autouse=True)
def _short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_RETRY_SECONDS", "MAX_RETRY_SECONDS", "FIRST_REFUSED_SECONDS", "MAX_REFUSED_SECONDS"):
        monkeypatch.setattr(module, name, 0.02)
    monkeypatch.setattr(session_protocol, "TICK_SECONDS", 0.02)


@pytest_twisted.async_yield_fixture
async def exchange() -> AsyncIterator[Exchange]:
    exchange = Exchange(cuts=random.Random(1))
    exchange.listen()
    yield exchange
    await exchange.close()


@pytest_twisted.async_yield_fixture
async def bridge() -> AsyncIterator[OpenBridge]:
    opened: list[Bridge] = []

    def start(endpoint: str, **options: object) -> Bridge:
        opened.append(Bridge(endpoint, **options))
        return opened[-1]

    yield start
    for one in opened:
        await one.connection.stop()


async def turns(count: int) -> None:
    """Let the reactor make some turns."""
    made: list[None] = []

    def turn() -> None:
        made.append(None)
        if len(made) < count:
            reactor.callLater(0, turn)  # type: ignore[attr-defined]

    turn()
    await until(reactor, lambda: len(made) >= count)


@pytest_twisted.ensureDeferred
async def test_a_bridge_synchronizes_and_follows(exchange: Exchange, bridge: OpenBridge) -> None:
    exchange.player.send_text(NEW_CHANNEL.format("1.1"))
    one = bridge(exchange.endpoint)
    await one.until("up 22.10.1")
    assert one.reports == ["logged in", "synchronize", "up 22.10.1"]
    assert [channel.get("Uniqueid") for channel in one.machine.snapshots[0].channels] == ["1.1"]
    exchange.player.send_text(NEW_CHANNEL.format("1.2"))
    await one.until("1.2")
    assert exchange.player.actions[:2] == ["Challenge", "Login"]


@pytest_twisted.ensureDeferred
async def test_an_exchange_that_breaks_the_connection_is_connected_again(
    exchange: Exchange, bridge: OpenBridge
) -> None:
    one = bridge(exchange.endpoint)
    await one.until("up 22.10.1")
    exchange.player.cut()
    await one.until("up 22.10.1", 2)
    assert "down connection_lost" in one.reports
    assert one.connection.traffic.sessions == 2


@pytest_twisted.ensureDeferred
async def test_the_events_before_a_shutdown_come_before_the_loss(exchange: Exchange, bridge: OpenBridge) -> None:
    one = bridge(exchange.endpoint)
    await one.until("up 22.10.1")
    for number in range(500):
        exchange.player.send_text(NEW_CHANNEL.format(f"9.{number}"))
    exchange.player.shut_down()
    await one.until("up 22.10.1", 2)
    loss = one.reports.index("down shutdown")
    assert one.reports[loss - 2 : loss] == ["9.499", "Shutdown"]
    assert one.machine.snapshots[0].boot != one.machine.snapshots[1].boot


@pytest_twisted.ensureDeferred
async def test_a_crash_is_another_boot_without_the_calls(exchange: Exchange, bridge: OpenBridge) -> None:
    one = bridge(exchange.endpoint)
    await one.until("up 22.10.1")
    exchange.player.send_text(NEW_CHANNEL.format("1.1"))
    await one.until("1.1")
    exchange.player.crash()
    await one.until("up 22.10.1", 2)
    first, second = one.machine.snapshots
    assert first.boot != second.boot
    assert second.channels == []


@pytest_twisted.ensureDeferred
async def test_a_wrong_secret_is_a_clear_reason_and_a_new_secret_is_tried(
    exchange: Exchange, bridge: OpenBridge
) -> None:
    one = bridge(exchange.endpoint, secret="wrong")
    await one.until("down login_refused", 2)
    assert "no user 'callcenter' with this secret" in one.losses[0].text
    one.secret = SECRET
    await one.until("up 22.10.1")


def test_attempts_after_a_refusal_are_rare() -> None:
    # Programs that lock out who fails to log in count five attempts in ten minutes or more.
    backoff = Backoff(FIRST_REFUSED_SECONDS, MAX_REFUSED_SECONDS, uniform=lambda low, _: low)
    assert sum(backoff.delay() for _ in range(6)) > 600


@pytest_twisted.ensureDeferred
async def test_a_user_without_rights_is_told_so(bridge: OpenBridge) -> None:
    exchange = Exchange(PlayerUser("callcenter", SECRET, write=frozenset()))
    exchange.listen()
    one = bridge(exchange.endpoint)
    await one.until("down no_permission")
    assert "write = reporting" in one.losses[0].text
    await exchange.close()


@pytest_twisted.ensureDeferred
async def test_events_of_classes_that_the_user_may_not_read_do_not_come(bridge: OpenBridge) -> None:
    exchange = Exchange(PlayerUser("callcenter", SECRET, read=frozenset({"system", "call"})))
    exchange.listen()
    one = bridge(exchange.endpoint)
    await one.until("up 22.10.1")
    exchange.player.send_text("Event: QueueCallerJoin\nPrivilege: agent,all\nUniqueid: 1.1")
    exchange.player.send_text(NEW_CHANNEL.format("1.2"))
    await one.until("1.2")
    assert "1.1" not in one.reports
    await exchange.close()


@pytest_twisted.ensureDeferred
async def test_an_exchange_that_stops_in_mid_message_is_lost_and_reconnected(
    exchange: Exchange, bridge: OpenBridge
) -> None:
    one = bridge(exchange.endpoint, ping_interval=0.05)
    await one.until("up 22.10.1")
    exchange.player.freeze()
    await one.until("down timeout")
    assert "Ping" in one.losses[0].text
    await one.until("up 22.10.1", 2)


@pytest_twisted.ensureDeferred
async def test_an_exchange_that_is_not_there_is_tried_again_with_growing_delays(
    exchange: Exchange, bridge: OpenBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_RETRY_SECONDS", 30.0)
    await exchange.close()
    one = bridge(exchange.endpoint)
    await one.until("down unreachable", 3)
    assert one.losses[0].text == "cannot connect: connection refused"
    assert one.retries[0] < one.retries[1] < one.retries[2]
    exchange.listen()
    await one.until("up 22.10.1")


@pytest_twisted.ensureDeferred
async def test_a_flood_is_handled_completely_in_many_turns(exchange: Exchange, bridge: OpenBridge) -> None:
    one = bridge(exchange.endpoint)
    await one.until("up 22.10.1")
    count = 5_000
    text = "".join(NEW_CHANNEL.format(f"7.{number}") + "\n\n" for number in range(count))
    exchange.player.send_raw(text.replace("\n", "\r\n").encode())
    await one.until(f"7.{count - 1}")
    assert [report for report in one.reports if report.startswith("7.")] == [f"7.{number}" for number in range(count)]


@pytest_twisted.ensureDeferred
async def test_events_that_come_too_fast_for_long_end_the_session(
    exchange: Exchange, bridge: OpenBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_protocol, "MAX_BACKLOG_BYTES", 100_000)
    # No step is made while this is read.
    monkeypatch.setattr(session_protocol, "STEP_SECONDS", -1.0)
    one = bridge(exchange.endpoint)
    await one.until("up 22.10.1")
    exchange.player.send_raw((NEW_CHANNEL.format("7.1") + "\n\n").replace("\n", "\r\n").encode() * 20_000)
    await one.until("down overloaded")
    await one.until("up 22.10.1", 2)


@pytest_twisted.ensureDeferred
async def test_an_endless_message_ends_the_session(exchange: Exchange, bridge: OpenBridge) -> None:
    one = bridge(exchange.endpoint)
    await one.until("up 22.10.1")
    exchange.player.send_raw(b"Event: A\r\n" + b"Header: value\r\n" * 100_000)
    await one.until("down protocol_error")
    await one.until("up 22.10.1", 2)


@pytest_twisted.ensureDeferred
async def test_a_peer_that_is_no_exchange_is_named(bridge: OpenBridge) -> None:
    class Web(Protocol):
        def connectionMade(self) -> None:
            assert self.transport is not None
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    port = reactor.listenTCP(0, Factory.forProtocol(Web), interface="127.0.0.1")  # type: ignore[attr-defined]
    one = bridge(f"tcp:127.0.0.1:{port.getHost().port}")
    await one.until("down not_ami")
    assert "HTTP/1.1 400" in one.losses[0].text
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_an_exchange_without_challenges_gets_the_secret_only_where_allowed(
    exchange: Exchange, bridge: OpenBridge
) -> None:
    exchange.player.offers_challenge = False
    careful = bridge(exchange.endpoint)
    await careful.until("down login_refused")
    trusting = bridge(exchange.endpoint, plain=True)
    await trusting.until("up 22.10.1")


@pytest_twisted.ensureDeferred
async def test_an_exchange_that_boots_is_waited_for(exchange: Exchange, bridge: OpenBridge) -> None:
    exchange.player.is_booted = False
    one = bridge(exchange.endpoint)
    await one.until("logged in")
    await turns(20)
    assert "CoreStatus" not in exchange.player.actions
    exchange.player.boot()
    await one.until("up 22.10.1")


@pytest_twisted.ensureDeferred
async def test_an_audit_on_request_is_another_synchronization(exchange: Exchange, bridge: OpenBridge) -> None:
    one = bridge(exchange.endpoint)
    one.connection.audit()
    await one.until("up 22.10.1")
    one.connection.audit()
    await one.until("up 22.10.1", 2)
    assert one.reports.count("logged in") == 1


@pytest_twisted.ensureDeferred
async def test_time_passes_for_the_machine_without_events(exchange: Exchange, bridge: OpenBridge) -> None:
    one = bridge(exchange.endpoint)
    await one.until("up 22.10.1")
    first = one.machine.passed
    await until(reactor, lambda: one.machine.passed > first)


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_a_failure_of_the_machine_ends_the_session_and_is_logged(exchange: Exchange, bridge: OpenBridge) -> None:
    one = bridge(exchange.endpoint)
    await one.until("up 22.10.1")
    one.machine.handle = None  # type: ignore[assignment,method-assign]
    exchange.player.send_text(NEW_CHANNEL.format("1.1"))
    await one.until("down protocol_error")


@pytest_twisted.ensureDeferred
async def test_tls_is_verified(bridge: OpenBridge, tmp_path: Path) -> None:
    trusted, other = tmp_path / "trusted", tmp_path / "other"
    trusted.mkdir()
    other.mkdir()
    files = make_certificate(trusted)
    make_certificate(other, new_certificate())
    files[1].rename(tmp_path / "key.pem")
    (other / "key.pem").unlink()
    exchange = Exchange()
    exchange.listen((files[0], tmp_path / "key.pem"))
    good = bridge(f"tls:127.0.0.1:{exchange.port}:trustRoots={trusted}")
    await good.until("up 22.10.1")
    bad = bridge(f"tls:127.0.0.1:{exchange.port}:trustRoots={other}")
    await bad.until("down tls_failed")
    assert bad.losses[0].reason is LostReason.TLS_FAILED
    assert "logged in" not in bad.reports
    await exchange.close()


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("tcp:127.0.0.1:5038", True),
        ("tcp:localhost:5038", True),
        ("tcp:host=127.0.0.1:port=5038", True),
        ("unix:path=/run/ami", True),
        ("tls:pbx.example:5039", True),
        ("tcp:pbx.example:5038", False),
        ("tcp:10.0.0.1:5038", False),
    ],
)
def test_where_others_cannot_listen(endpoint: str, expected: bool) -> None:
    assert is_private(EndpointDescription.parse(endpoint)) is expected


@pytest_twisted.ensureDeferred
async def test_a_shift_is_played_with_compressed_times(exchange: Exchange, bridge: OpenBridge) -> None:
    recorded = capture("01-answered-caller-hangs-up")
    events = list(live_events(recorded))
    exchange.player.state.introduce_members([event.message for event in events])
    one = bridge(exchange.endpoint)
    await one.until("up 22.10.1")
    assert {member.get("Location") for member in one.machine.snapshots[0].members} >= {"PJSIP/201", "PJSIP/202"}
    await exchange.player.play(events, speed=1_000)
    wanted = [
        message.get("Uniqueid") or message.name
        for message in parse_all(recorded.content)
        if message.name not in ("", "FullyBooted") and message.get("Privilege").startswith(("call", "agent", "system"))
    ]
    await until(reactor, lambda: len(one.reports) >= 3 + len(wanted))
    assert one.reports[3:] == wanted
    # All channels have hung up.
    one.connection.audit()
    await one.until("up 22.10.1", 2)
    assert one.machine.snapshots[1].channels == []


def test_a_shift_is_moved_in_time_with_its_ids() -> None:
    (event, *_) = [
        event for event in live_events(capture("01-answered-caller-hangs-up")) if event.message.get("Linkedid")
    ]
    seconds = int(event.message.get("Linkedid").partition(".")[0])
    moved = event.moved(event.time + 1_000, 1_000)
    assert moved.message.get("Linkedid").startswith(f"{seconds + 1_000}.")
    assert moved.message.get("Uniqueid").startswith(f"{seconds + 1_000}.")
    assert moved.message.get("Channel") == event.message.get("Channel")
