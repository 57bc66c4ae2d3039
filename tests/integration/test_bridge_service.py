"""A real bridge between a real gateway and an exchange that is played: what clients see, whatever ends or is away."""

from __future__ import annotations

import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bridge_world import SECRET, Bridge, Exchange, member_event, source, write_config, write_secret
from processes import DEADLINE, wait_until
from running_gateway import RunningGateway, run_gateway

ALICE = "PJSIP/201"
BOB = "PJSIP/202"


@pytest.fixture
def processes() -> Iterator[list[Any]]:
    """Processes that are ended with the test. A traceback in the log of one fails the test."""
    started: list[Any] = []
    yield started
    for process in reversed(started):
        process.stop()
    for process in started:
        output = process.log if isinstance(process, RunningGateway) else process.output
        assert "Traceback" not in output, output
        assert SECRET not in output


@pytest.fixture
def exchange(processes: list[Any]) -> Exchange:
    played = Exchange()
    processes.append(played)
    return played


@pytest.fixture
def start_bridge(processes: list[Any]) -> Callable[..., Bridge]:
    def start(*arguments: Any, **options: Any) -> Bridge:
        bridge = Bridge(*arguments, **options)
        processes.append(bridge)
        return bridge

    return start


@pytest.fixture
def start_node(processes: list[Any], tmp_path: Path) -> Callable[..., RunningGateway]:
    """Starts the same node, with a store that it finds again."""

    def start(*arguments: str) -> RunningGateway:
        gateway = run_gateway(tmp_path, f'[store]\nurl = "sqlite:{tmp_path}/events.sqlite"\n', *arguments)
        processes.append(gateway)
        return gateway

    return start


def history(gateway: RunningGateway, tenant: str = "acme") -> list[dict[str, Any]]:
    """Return all events of a tenant, in order."""
    claims = {"tenant_id": tenant}
    status, snapshot = gateway.http("/ws/snapshot", token=gateway.token("supervisor", **claims))
    assert status == 200, snapshot
    client = gateway.connect("supervisor", f"/ws?epoch={snapshot['epoch']}&seq=0", claims=claims)
    events = []
    with client.socket:
        while (message := client.receive())["type"] != "resumed":
            assert message["type"] != "reset", message
            events.append(message)
    return [event for event in events if event["type"] != "presence.changed"]


def told(gateway: RunningGateway, tenant: str = "acme") -> list[str]:
    """Return the events of a tenant in short: their types, with the user or the reason."""
    shorts = []
    for event in history(gateway, tenant):
        payload = event["payload"]
        detail = payload.get("user_id") or payload.get("reason") or payload.get("source", "")
        shorts.append(f"{event['type']} {detail}")
    return shorts


def wait_for(gateway: RunningGateway, *expected: str, tenant: str = "acme", times: int = 1) -> list[str]:
    """Wait until each of the events that are expected was told so many times; return all that were told."""
    deadline = Deadline()
    while True:
        seen = told(gateway, tenant)
        if all(seen.count(text) >= times for text in expected):
            assert all(seen.count(text) == times for text in expected), seen
            return seen
        assert deadline.is_left, f"{times} x {expected} in {seen}"


class Deadline:
    """The time for which a test waits for a condition."""

    def __init__(self) -> None:
        self._end = time.monotonic() + DEADLINE

    @property
    def is_left(self) -> bool:
        """Whether there is time left; if so, some of it passes."""
        time.sleep(0.05)
        return time.monotonic() < self._end


ADDED = ["queue.member.added 201", "agent.login 201"]


@pytest.mark.parametrize("order", ["bridge exchange gateway", "bridge gateway exchange"])
def test_any_order_of_starts(
    order: str,
    tmp_path: Path,
    processes: list[Any],
    start_node: Callable[..., RunningGateway],
    start_bridge: Callable[..., Bridge],
) -> None:
    exchange = Exchange(listens=False)
    processes.append(exchange)
    config = write_config(tmp_path, tmp_path / "amp.sock", source(tmp_path, "pbx1", exchange.port))
    for part in order.split():
        if part == "gateway":
            gateway = start_node()
        elif part == "exchange":
            exchange.do("listen")
            exchange.add_member(ALICE)
        else:
            bridge = start_bridge(config)
            bridge.expect("callcenter-bridge .*: pbx1 at tcp:")
            bridge.expect("cannot reach the gateway at .*: No such file or directory")
    seen = wait_for(gateway, "source.up pbx1", *ADDED)
    assert [text for text in seen if not text.startswith("source.")].count("agent.login 201") == 1
    # Up only once its state is known, and told before it.
    assert seen.index("agent.login 201") < seen.index("source.up pbx1")
    assert bridge.output.count("cannot reach the gateway") == 1


def test_the_gateway_is_away(
    tmp_path: Path,
    exchange: Exchange,
    start_node: Callable[..., RunningGateway],
    start_bridge: Callable[..., Bridge],
) -> None:
    gateway = start_node()
    config = write_config(tmp_path, tmp_path / "amp.sock", source(tmp_path, "pbx1", exchange.port))
    bridge = start_bridge(config)
    wait_for(gateway, "source.up pbx1")
    exchange.add_member(ALICE)
    wait_for(gateway, *ADDED)
    gateway.process.kill()
    gateway.process.wait()
    bridge.expect("the connection to the gateway at .* is lost")
    exchange.add_member(BOB, name="Bob Brown")
    exchange.remove_member(ALICE)
    gateway = start_node()
    seen = wait_for(gateway, "agent.login 202", "agent.logout 201")
    agents = [text for text in seen if text.startswith(("queue.member.added", "queue.member.removed", "agent.log"))]
    assert sorted(agents) == sorted(set(agents))
    assert agents.index("agent.login 202") < agents.index("agent.logout 201")
    # On the new connection it says again that the exchange is up: the lease may have ended.
    wait_for(gateway, "source.up pbx1", times=2)


def test_the_exchange_is_lost_and_comes_back(
    tmp_path: Path,
    exchange: Exchange,
    start_node: Callable[..., RunningGateway],
    start_bridge: Callable[..., Bridge],
) -> None:
    gateway = start_node()
    config = write_config(tmp_path, tmp_path / "amp.sock", source(tmp_path, "pbx1", exchange.port))
    start_bridge(config)
    exchange.add_member(ALICE)
    wait_for(gateway, "source.up pbx1", *ADDED)
    exchange.do("cut")
    seen = wait_for(gateway, "source.down connection_lost")
    assert seen[-1] in ("source.down connection_lost", "source.up pbx1")
    wait_for(gateway, "source.up pbx1", times=2)
    exchange.do("shut_down")
    wait_for(gateway, "source.down shutdown")
    wait_for(gateway, "source.up pbx1", times=3)
    exchange.do("leave")
    seen = wait_for(gateway, "source.down unreachable")
    assert seen.count("agent.login 201") == 1
    assert seen.count("source.down unreachable") == 1
    down = [event for event in history(gateway) if event["type"] == "source.down"]
    assert {event["payload"]["version"] for event in down} == {"22.10.1"}
    assert all(event["payload"]["since"] <= event["timestamp"] for event in down)


def test_a_refused_login(
    tmp_path: Path,
    exchange: Exchange,
    start_node: Callable[..., RunningGateway],
    start_bridge: Callable[..., Bridge],
) -> None:
    """It is told, tried rarely, and a reload with the right secret connects at once."""
    gateway = start_node()
    settings = source(tmp_path, "pbx1", exchange.port, secret="another")
    bridge = start_bridge(write_config(tmp_path, tmp_path / "amp.sock", settings))
    bridge.expect(r"source pbx1: no exchange: the exchange refuses the login: .*; retrying in 1[0-9]\.")
    wait_for(gateway, "source.down login_refused")
    write_secret(tmp_path / "pbx1.secret", SECRET)
    bridge.process.send_signal(signal.SIGHUP)
    bridge.expect("the settings were loaded again: files with new contents: sources.pbx1.secret_file")
    wait_for(gateway, "source.up pbx1")


def test_a_bridge_that_is_killed_doubles_nothing_and_misses_nothing(
    tmp_path: Path,
    exchange: Exchange,
    start_node: Callable[..., RunningGateway],
    start_bridge: Callable[..., Bridge],
) -> None:
    gateway = start_node()
    config = write_config(tmp_path, tmp_path / "amp.sock", source(tmp_path, "pbx1", exchange.port))
    bridge = start_bridge(config)
    exchange.add_member(ALICE)
    wait_for(gateway, "source.up pbx1", *ADDED)
    bridge.process.kill()
    bridge.wait()
    exchange.remove_member(ALICE)
    exchange.add_member(BOB, name="Bob Brown")
    start_bridge(config)
    seen = wait_for(gateway, "agent.logout 201", "agent.login 202")
    assert seen.count("agent.login 201") == seen.count("queue.member.added 201") == 1
    assert seen.count("agent.logout 201") == seen.count("agent.login 202") == 1
    wait_for(gateway, "source.up pbx1", times=2)
    assert not any(text.startswith("source.down") for text in told(gateway))


def test_a_spool_that_is_lost(
    tmp_path: Path,
    exchange: Exchange,
    start_node: Callable[..., RunningGateway],
    start_bridge: Callable[..., Bridge],
) -> None:
    """What has ended unseen does not stay on the screens."""
    gateway = start_node("--set", "amp.source_lease=2")
    config = write_config(tmp_path, tmp_path / "amp.sock", source(tmp_path, "pbx1", exchange.port))
    bridge = start_bridge(config)
    exchange.add_member(ALICE)
    exchange.add_member(BOB, name="Bob Brown")
    wait_for(gateway, "source.up pbx1", *ADDED, "agent.login 202")
    bridge.process.kill()
    bridge.wait()
    exchange.remove_member(ALICE)
    shutil.rmtree(tmp_path / "spool")
    start_bridge(config)
    # Another instance has to wait for the lease of the one that was killed.
    wait_for(gateway, "source.down lease_ended")
    wait_for(gateway, "source.up pbx1", times=2)
    seen = told(gateway)
    assert "agent.logout 201" in seen
    assert seen.count("agent.login 201") == 1
    last = [text for text in seen if text.startswith("agent.log") and text.endswith("202")][-1]
    assert last == "agent.login 202"


def test_two_sources_of_two_tenants(
    tmp_path: Path,
    exchange: Exchange,
    processes: list[Any],
    start_node: Callable[..., RunningGateway],
    start_bridge: Callable[..., Bridge],
) -> None:
    """One that fails does not disturb the other, and no tenant is told of the other's agents."""
    gateway = start_node()
    second = Exchange()
    processes.append(second)
    config = write_config(
        tmp_path,
        tmp_path / "amp.sock",
        source(tmp_path, "pbx1", exchange.port),
        source(tmp_path, "pbx2", second.port, tenant="globex"),
    )
    start_bridge(config)
    exchange.add_member(ALICE)
    second.add_member(BOB)
    wait_for(gateway, "source.up pbx1", *ADDED)
    wait_for(gateway, "source.up pbx2", "agent.login 202", tenant="globex")
    second.do("leave")
    wait_for(gateway, "source.down unreachable", tenant="globex")
    exchange.add_member(ALICE, queue="sales")
    wait_for(gateway, "queue.member.added 201", times=2)
    assert not any("202" in text or "pbx2" in text or "source.down" in text for text in told(gateway))
    assert not any("201" in text or "pbx1" in text for text in told(gateway, "globex"))


def test_a_reload(
    tmp_path: Path,
    exchange: Exchange,
    start_node: Callable[..., RunningGateway],
    start_bridge: Callable[..., Bridge],
) -> None:
    """New agents and tenants are used at once, the rest is reported; settings with a mistake change nothing."""
    gateway = start_node()
    amp, settings = tmp_path / "amp.sock", source(tmp_path, "pbx1", exchange.port)
    bridge = start_bridge(write_config(tmp_path, amp, settings))
    exchange.add_member(ALICE)
    wait_for(gateway, "source.up pbx1", *ADDED)

    write_config(tmp_path, amp, settings.replace("(?P<user_id>", "(?P<user>"))
    bridge.process.send_signal(signal.SIGHUP)
    bridge.expect("the new settings are refused, and the old ones stay in use")
    bridge.expect("the settings have a problem: .*bridge.toml: sources.pbx1.agent_pattern: .*user_id")
    exchange.add_member(BOB, name="Bob Brown")
    wait_for(gateway, "agent.login 202")

    changed = settings.replace("PJSIP/(?P<user_id>", "PJSIP/2(?P<user_id>") + "\nping_interval = 30"
    write_config(tmp_path, amp, changed, more="buffer = 5000")
    bridge.process.send_signal(signal.SIGHUP)
    report = bridge.expect("the settings were loaded again: (.*)")[1].split("; ")
    assert report == [
        "in use now: sources.pbx1.agent_pattern",
        "not in use yet: gateway.buffer: after a restart",
        "not in use yet: sources.pbx1.ping_interval: after a restart",
    ]
    seen = wait_for(gateway, "agent.logout 201", "agent.login 01", "agent.login 02")
    assert not any(text.startswith("source.down") for text in seen)

    # With another tenant it connects anew, to the gateway too.
    write_config(tmp_path, amp, changed.replace('tenant = "acme"', 'tenant = "globex"'), more="buffer = 5000")
    bridge.process.send_signal(signal.SIGHUP)
    bridge.expect("in use now: sources.pbx1.tenant")
    wait_for(gateway, "source.up pbx1", tenant="globex")
    exchange.add_member("PJSIP/203", name="Carol Clark")
    wait_for(gateway, "agent.login 03", tenant="globex")


def test_an_audit_on_demand_and_a_stop(
    tmp_path: Path,
    exchange: Exchange,
    start_node: Callable[..., RunningGateway],
    start_bridge: Callable[..., Bridge],
) -> None:
    gateway = start_node()
    config = write_config(tmp_path, tmp_path / "amp.sock", source(tmp_path, "pbx1", exchange.port))
    bridge = start_bridge(config)
    wait_for(gateway, "source.up pbx1")
    before = int(exchange.do("count", "QueueStatus"))
    bridge.process.send_signal(signal.SIGUSR1)
    bridge.expect("all exchanges are asked for their lists")
    wait_until(lambda: int(exchange.do("count", "QueueStatus")) == before + 1, "the lists are asked for")
    # A second bridge with the same spools waits until they are free.
    second = start_bridge(config)
    second.expect("source pbx1: its spool cannot be used, and nothing is sent: .*in use")
    second.stop()
    exchange.add_member(ALICE)
    wait_for(gateway, *ADDED)
    assert bridge.stop() == -signal.SIGTERM
    assert re.search("source pbx1: .* messages of the exchange in 1 sessions, .* synchronizations", bridge.output)
    assert not any(text.startswith("source.down") for text in told(gateway))


def test_a_full_spool(
    tmp_path: Path,
    exchange: Exchange,
    start_node: Callable[..., RunningGateway],
    start_bridge: Callable[..., Bridge],
) -> None:
    """The exchange is left until there is room; then what was missed is learned from its lists."""
    config = write_config(
        tmp_path, tmp_path / "amp.sock", source(tmp_path, "pbx1", exchange.port), more="buffer = 1000"
    )
    bridge = start_bridge(config)
    bridge.expect("source pbx1: connected to Asterisk")
    devices = [f"PJSIP/{number}" for number in range(1_000, 1_600)]
    exchange.do("send_texts", [member_event("QueueMemberAdded", device, "support", device) for device in devices])
    bridge.expect("source pbx1: the spool is full: .* The exchange is left until the gateway has taken a half")
    gateway = start_node()
    bridge.expect("source pbx1: the spool has room again")
    seen = wait_for(gateway, *(f"agent.login {device.removeprefix('PJSIP/')}" for device in devices))
    added = [text for text in seen if text.startswith("queue.member.added")]
    assert len(added) == len(set(added)) == len(devices)


def test_without_a_gateway_a_stop_does_not_wait(
    tmp_path: Path, exchange: Exchange, start_bridge: Callable[..., Bridge]
) -> None:
    config = write_config(
        tmp_path, tmp_path / "amp.sock", source(tmp_path, "pbx1", exchange.port), more="stop_timeout = 60"
    )
    bridge = start_bridge(config)
    bridge.expect("source pbx1: connected to Asterisk 22.10.1")
    # Waiting for a minute would exceed the deadline of the test.
    assert bridge.stop() == -signal.SIGTERM
    assert "events stay in the spool" in bridge.output


def test_a_second_signal_ends_at_once(
    tmp_path: Path,
    exchange: Exchange,
    start_node: Callable[..., RunningGateway],
    start_bridge: Callable[..., Bridge],
) -> None:
    """The gateway has stopped to answer, and the bridge would wait for it for a minute."""
    gateway = start_node()
    settings = source(tmp_path, "pbx1", exchange.port)
    bridge = start_bridge(write_config(tmp_path, tmp_path / "amp.sock", settings, more="stop_timeout = 60"))
    wait_for(gateway, "source.up pbx1")
    gateway.process.send_signal(signal.SIGSTOP)
    try:
        exchange.add_member(ALICE)
        bridge.process.send_signal(signal.SIGUSR1)
        bridge.expect("all exchanges are asked")
        wait_until(lambda: int(exchange.do("count", "QueueStatus")) == 2, "the bridge has handled the event")
        bridge.process.send_signal(signal.SIGTERM)
        bridge.expect("Received SIGTERM")
        assert bridge.stop() == -signal.SIGTERM
    finally:
        gateway.process.send_signal(signal.SIGCONT)
    assert "events stay in the spool" in bridge.output


def test_mistakes_in_the_settings_stop_the_start(
    tmp_path: Path, exchange: Exchange, start_bridge: Callable[..., Bridge]
) -> None:
    settings = source(tmp_path, "pbx1", exchange.port)
    (tmp_path / "pbx1.secret").chmod(0o644)
    bridge = start_bridge(write_config(tmp_path, tmp_path / "amp.sock", settings, more="bufer = 1"))
    assert bridge.wait() == 1
    assert "callcenter-bridge cannot start:" in bridge.output
    assert "the configuration has 2 problems:" in bridge.output
    assert "sources.pbx1.secret_file: every user of this machine can read" in bridge.output
    assert "gateway.bufer: there is no such key; did you mean buffer?" in bridge.output


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_logged(
    form: str,
    tmp_path: Path,
    exchange: Exchange,
    start_node: Callable[..., RunningGateway],
    start_bridge: Callable[..., Bridge],
) -> None:
    """At the level debug, with a login that succeeds, one that fails, and events with what is private."""
    gateway = start_node()
    write_secret(tmp_path / "amp.token", "s3cr3t-of-the-gateway")
    settings = (
        source(tmp_path, "pbx1", exchange.port),
        source(tmp_path, "pbx2", exchange.port, secret="s3cr3t-that-is-wrong"),
    )
    more = f'token_file = "amp.token"\n[log]\nlevel = "debug"\nformat = "{form}"'
    bridge = start_bridge(write_config(tmp_path, tmp_path / "amp.sock", *settings, more=more))
    for text in ("source pbx2: no exchange: the exchange refuses the login", "this daemon is refused by the gateway"):
        wait_until(lambda text=text: text in bridge.output, text)
    exchange.add_member(ALICE, name="s3cr3t name")
    exchange.do("send_raw_text", "s3cr3t: garbage\r\n\r\nEvent: s3cr3t\r\nName: s3cr3t\r\n\r\n")
    bridge.process.send_signal(signal.SIGHUP)
    bridge.expect("the settings were loaded again")
    bridge.stop()
    assert "s3cr3t" not in bridge.output
    assert gateway.process.poll() is None
