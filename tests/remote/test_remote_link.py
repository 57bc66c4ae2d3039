"""How a daemon behaves without a usable connection: delays, log lines, state, and answers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from amp_doubles import SECRET, LoopbackGateway, until
from doubles import SteppingClock
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    UNIXClientEndpoint,
    clientFromString,
)
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionRefusedError
from twisted.internet.error import TimeoutError as ConnectTimedOut
from twisted.internet.protocol import Factory, Protocol

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.remote import EventBroadcaster, LinkState
from callcenter_ws.remote.link_state import LinkFailure, LinkStatus
from callcenter_ws.remote.reasons import connection_reason, endpoint_text

Connect = Callable[..., EventBroadcaster]
States = list[tuple[LinkState, str]]


@pytest.fixture
def _short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_RECONNECT_SECONDS", "FIRST_REFUSED_SECONDS", "MAX_RECONNECT_SECONDS", "MAX_IN_USE_SECONDS"):
        monkeypatch.setattr(f"callcenter_ws.remote.link_state.{name}", 0.02)


@pytest_twisted.async_yield_fixture
async def daemon(gateway: LoopbackGateway) -> AsyncIterator[Connect]:
    """Create and start EventBroadcasters without a token."""
    started: list[EventBroadcaster] = []

    def start(**options: Any) -> EventBroadcaster:
        remote = EventBroadcaster(gateway.endpoint, reactor, **{"stop_timeout": 0, **options})
        remote.startService()
        started.append(remote)
        return remote

    yield start
    for remote in started:
        await remote.stopService()


async def refusal_of(answer: Deferred[Any]) -> Refusal:
    with pytest.raises(Refusal) as refused:
        await answer
    return refused.value


# Without a token over TCP


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
@pytest.mark.usefixtures("_short_delays")
@pytest.mark.parametrize(
    ("token", "code"), [(None, "unauthorized"), ("wrong", "unauthorized"), ("acme-agent", "forbidden")]
)
async def test_events_of_a_daemon_that_is_refused_are_answered(
    gateway: LoopbackGateway, daemon: Connect, error_log: Any, token: str | None, code: str
) -> None:
    states: States = []
    remote = daemon(token=token, state_changed=lambda *state: states.append(state))
    answers = [remote.call_hold("acme", "u1"), remote.user_online("acme", "7"), remote.subscribe(["*"], print)]
    refusals = [await refusal_of(answer) for answer in answers]
    assert {refusal.code for refusal in refusals} == {code}
    # From now on an event is refused at once, and the state says why.
    assert (await refusal_of(remote.call_hold("acme", "u2"))).code == code
    assert (await refusal_of(remote.ping())).code == code
    assert remote.unacknowledged == 0
    assert remote.state is LinkState.REFUSED
    assert {state for state, _ in states} == {LinkState.CONNECTING, LinkState.REFUSED}
    # One line for all attempts, with the address and the reason.
    (line,) = re.findall("this daemon is refused by the gateway.*", str(error_log))
    assert f"at {gateway.endpoint}: " in line
    assert remote.state_reason in line
    assert "retrying in 0." in line


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
@pytest.mark.usefixtures("_short_delays")
async def test_a_spool_keeps_the_events_of_a_refused_daemon(
    gateway: LoopbackGateway, daemon: Connect, tmp_path: Path
) -> None:
    tokens = ["wrong"] * 5
    remote = daemon(token=lambda: tokens.pop() if tokens else SECRET.decode(), spool=tmp_path / "events.spool")
    kept = [remote.call_hold("acme", "u1")]
    assert (await refusal_of(remote.ping())).code is ErrorCode.UNAUTHORIZED
    kept.append(remote.call_hold("acme", "u2"))
    assert remote.state is LinkState.REFUSED
    assert not any(answer.called for answer in kept)
    assert [(await answer).seq for answer in kept] == [1, 2]
    assert (remote.state, remote.state_reason) == (LinkState.CONNECTED, "")


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
@pytest.mark.usefixtures("_short_delays")
async def test_a_daemon_that_is_accepted_again_publishes_again(gateway: LoopbackGateway, daemon: Connect) -> None:
    tokens = ["wrong"] * 4
    remote = daemon(token=lambda: tokens.pop() if tokens else SECRET.decode())
    received: list[Any] = []
    assert (await refusal_of(remote.subscribe(["chat.*"], received.append))).code is ErrorCode.UNAUTHORIZED
    await until(reactor, lambda: remote.state is LinkState.CONNECTED)
    assert (await remote.call_hold("acme", "u1")).seq == 1
    # The subscription was made nevertheless.
    await remote.ping()
    gateway.publish_chat_message(1)
    await until(reactor, lambda: received)


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
@pytest.mark.usefixtures("_short_delays")
async def test_a_token_function_that_fails_is_a_refusal(
    gateway: LoopbackGateway, daemon: Connect, error_log: Any
) -> None:
    def read_token() -> str:
        raise FileNotFoundError(2, "No such file or directory", "/etc/secret")

    remote = daemon(token=read_token)
    refusal = await refusal_of(remote.call_hold("acme", "u1"))
    assert (refusal.code, refusal.message) == (
        ErrorCode.UNAUTHORIZED,
        "the daemon has no token: No such file or directory",
    )
    assert "Traceback" not in str(error_log)


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_delays_grow_while_the_gateway_refuses_everything(
    gateway: LoopbackGateway, daemon: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As fault 19: an attempt without a token connects, and counts as a failure nevertheless."""
    delays: list[float] = []
    retry_delay = LinkStatus.retry_delay

    def record(status: LinkStatus) -> float:
        delays.append(retry_delay(status))
        return 0.01

    monkeypatch.setattr(LinkStatus, "retry_delay", record)
    remote = daemon(buffer=5)
    await until(reactor, lambda: len(delays) >= 8)
    await remote.stopService()
    for delay, planned in zip(delays, [1, 2, 4, 8, 16, 30, 30, 30], strict=False):
        assert 0.75 * planned <= delay <= planned


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
@pytest.mark.usefixtures("_short_delays")
async def test_gateway_logs_a_command_before_authenticate(
    gateway: LoopbackGateway, daemon: Connect, info_log: Any
) -> None:
    remote = daemon()
    await until(reactor, lambda: remote.state is LinkState.REFUSED)
    assert re.search(r"AMP peer \S+: Ping before Authenticate is refused", str(info_log))


# Gateways that cannot be reached


@pytest_twisted.ensureDeferred
@pytest.mark.usefixtures("_short_delays")
async def test_unreachable_gateway_is_logged_once_with_its_address(
    gateway: LoopbackGateway, daemon: Connect, info_log: Any
) -> None:
    await gateway.kill()
    states: States = []
    attempts: list[None] = []
    remote = daemon(token=lambda: SECRET.decode(), state_changed=lambda *state: states.append(state))
    answer = remote.call_hold("acme", "u1")
    service = remote._connector._endpoint
    connect = service.connect
    service.connect = lambda factory: (attempts.append(None), connect(factory))[1]  # type: ignore[method-assign]  # counts
    await until(reactor, lambda: len(attempts) >= 5)
    assert (remote.state, remote.state_reason) == (LinkState.UNREACHABLE, "connection refused")
    gateway.listen()
    assert (await answer).seq == 1
    assert [state for state, _ in states] == [LinkState.CONNECTING, LinkState.UNREACHABLE, LinkState.CONNECTED]
    (line,) = re.findall("cannot reach the gateway.*", str(info_log))
    assert f"cannot reach the gateway at {gateway.endpoint}: connection refused; retrying in 0.1 s" in line
    assert str(info_log).count(f"connected to the gateway at {gateway.endpoint}") == 1
    assert " object at 0x" not in str(info_log)


class ClosesAtOnce(Protocol):
    """Accepts connections and closes them."""

    def connectionMade(self) -> None:
        self.factory.connections += 1
        self.transport.loseConnection()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("token", [None, "secret"])
async def test_gateway_that_closes_each_connection_at_once_is_retried_with_growing_delays(
    gateway: LoopbackGateway, daemon: Connect, monkeypatch: pytest.MonkeyPatch, token: str | None, info_log: Any
) -> None:
    delays: list[float] = []
    retry_delay = LinkStatus.retry_delay
    monkeypatch.setattr(LinkStatus, "retry_delay", lambda status: delays.append(retry_delay(status)) or 0.01)
    await gateway.kill()
    closing = Factory.forProtocol(ClosesAtOnce)
    closing.noisy, closing.connections = False, 0
    gateway.listen(closing)
    states: States = []
    remote = daemon(token=token, state_changed=lambda *state: states.append(state))
    await until(reactor, lambda: len(delays) >= 6)
    await remote.stopService()
    assert any("is this the port of amp.listen?" in str(reason) for _, reason in states)
    assert delays[5] > 4.5
    assert "GatewayConnection" not in str(info_log), "attempts are logged once, not each"
    assert remote.state is LinkState.STOPPED


class Recorder:
    """A LinkStatus with a clock, and what it has reported."""

    def __init__(self) -> None:
        self.clock = SteppingClock()
        self.refusals: list[Refusal] = []
        self.status = LinkStatus("tcp:gw:1", self.clock, None, self.refusals.append)
        self.status.started()

    def fail(self, failure: LinkFailure) -> float:
        self.status.failed(failure)
        return self.status.retry_delay()


def test_delays_start_anew_after_a_stable_or_useful_connection_only() -> None:
    recorder = Recorder()
    unreachable = LinkFailure.unreachable("connection refused")
    for _ in range(10):
        delay = recorder.fail(unreachable)
    assert delay > 20
    recorder.status.connected()
    recorder.status.lost("the gateway closed the connection", is_proven=False)
    assert recorder.status.retry_delay() > 20
    recorder.status.connected()
    recorder.status.lost("the gateway closed the connection", is_proven=True)
    assert recorder.status.retry_delay() < 0.3
    for _ in range(10):
        recorder.fail(unreachable)
    recorder.status.connected()
    recorder.clock.advance(11)
    recorder.status.lost("the gateway closed the connection", is_proven=False)
    assert recorder.status.retry_delay() < 0.3


def test_reasons_are_logged_once_and_then_sampled(info_log: Any) -> None:
    recorder = Recorder()
    for number in range(100):
        recorder.fail(LinkFailure.unreachable("connection refused" if number % 2 else "the connection timed out"))
    assert len(info_log.events) == 2
    recorder.clock.advance(301)
    recorder.fail(LinkFailure.unreachable("connection refused"))
    assert "connection refused (and 49 times since the last such line); retrying" in str(info_log)
    # Reasons that never repeat are logged, each time; the number of those remembered is bounded.
    for number in range(100):
        recorder.fail(LinkFailure.unreachable(f"reason {number}"))
    assert len(recorder.status._log._reasons) == 32


def test_source_in_use_is_retried_soon_and_is_never_final() -> None:
    recorder = Recorder()
    in_use = LinkFailure.of_handshake(Refusal(ErrorCode.SOURCE_IN_USE))
    delays = [recorder.fail(in_use) for _ in range(20)]
    assert 0.75 <= delays[0] <= 1
    assert 6 <= delays[-1] <= 8
    assert recorder.refusals == []
    assert recorder.status.state is LinkState.SOURCE_IN_USE


@pytest.mark.logs_errors
def test_failing_state_changed_is_logged(error_log: Any) -> None:
    def broken(state: LinkState, reason: str) -> None:
        raise RuntimeError("the callback is broken")

    status = LinkStatus("tcp:gw:1", SteppingClock(), broken, lambda _: None)
    status.started()
    assert "unhandled error in state_changed" in str(error_log)


# Words


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        ("tcp:gateway:8081", "tcp:gateway:8081"),
        (TCP4ClientEndpoint(reactor, "10.0.0.1", 8081), "tcp:10.0.0.1:8081"),
        (HostnameEndpoint(reactor, "gateway", 8081), "tcp:gateway:8081"),
        (UNIXClientEndpoint(reactor, "/run/x.sock"), "unix:/run/x.sock"),
        (clientFromString(reactor, "tls:gateway:8082"), "a _WrapperEndpoint"),
    ],
)
def test_endpoints_are_named_by_their_address(endpoint: Any, text: str) -> None:
    assert endpoint_text(endpoint) == text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionRefusedError(), "connection refused"),
        (ConnectTimedOut(), "the connection timed out"),
        (ConnectError(2), "No such file or directory"),
        (OSError(13, "Permission denied"), "Permission denied"),
        (ConnectionDone(), "the gateway closed the connection"),
        (ValueError("a\nb"), "a"),
        (ValueError(), "ValueError"),
    ],
)
def test_reasons_are_in_words(error: Exception, text: str) -> None:
    assert connection_reason(error) == text


def test_a_reason_names_the_peer() -> None:
    assert connection_reason(ConnectionDone(), "the exchange") == "the exchange closed the connection"


def test_an_attempt_that_the_daemon_ends_itself_is_no_failure(info_log: Any) -> None:
    recorder = Recorder()
    recorder.status.renewed()
    assert recorder.status.retry_delay() < 0.3
    assert "retrying" not in str(info_log)
    recorder.status.failed(LinkFailure.unreachable("connection refused"))
    recorder.status.retry_delay()
    assert "cannot reach the gateway at tcp:gw:1: connection refused; retrying" in str(info_log)
