"""``sync_state`` from outside: a gateway, a daemon with ``callcenter_ws.remote``, and WebSocket clients."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import RemoteDaemon, wait_until

CALL = {"unique_id": "1.1", "caller_id": "+32", "destination": "100", "queue_name": "sales"}
OTHER_CALL = {**CALL, "unique_id": "2.2"}


@pytest.fixture
def start_daemon() -> Iterator[Callable[..., RemoteDaemon]]:
    daemons: list[RemoteDaemon] = []

    def start(gateway: Any, source: str = "pbx1", spool: Path | None = None) -> RemoteDaemon:
        daemons.append(RemoteDaemon(f"unix:{gateway.amp_path}", spool=spool, source=source))
        return daemons[-1]

    yield start
    for daemon in daemons:
        if daemon.process.poll() is None:
            daemon.process.kill()
            daemon.wait()


def agent(user_id: str, state: str = "available") -> dict[str, Any]:
    return {"user_id": user_id, "username": f"u{user_id}", "state": state}


def stream(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return the types of the messages of agents and calls, and what they are about."""
    return [
        (message["type"], message["payload"].get("user_id") or message["payload"]["unique_id"])
        for message in messages
        if message["type"].startswith(("agent.", "call.", "queue."))
    ]


def snapshot(gateway: Any) -> list[tuple[str, str]]:
    client = gateway.connect("supervisor", "/ws?snapshot=1")
    message = client.receive_type("snapshot")
    client.socket.close()
    return stream(message["payload"]["events"])


def messages_until(client: Any, type_: str) -> list[dict[str, Any]]:
    messages = [client.receive()]
    while messages[-1]["type"] != type_:
        messages.append(client.receive())
    return messages


def publish_shift(daemon: RemoteDaemon) -> None:
    """Publish what a daemon knew before it lost its state."""
    for user_id in ("1", "2"):
        daemon.call("agent_login", "acme", user_id, f"u{user_id}")
    for call in (CALL, OTHER_CALL):
        daemon.call("publish", "acme", "call.incoming", call)
        daemon.call("publish", "acme", "queue.joined", call)


DIFFERENCE = [
    *[("agent.logout", "1"), ("agent.state.changed", "2"), ("agent.login", "3")],
    *[("queue.left", "2.2"), ("call.ended", "2.2"), ("queue.left", "1.1"), ("call.answered", "1.1")],
]


def tell_truth(daemon: RemoteDaemon) -> None:
    daemon.call("sync_state", "acme", "agents", [agent("2", "talking"), agent("3")])
    daemon.call("sync_state", "acme", "calls", [{**CALL, "status": "answered", "agent_id": "2"}])


def test_a_daemon_that_lost_its_state(start_gateway: Any, start_daemon: Any, tmp_path: Path) -> None:
    """Screens that are connected, that reconnect and that are opened later show the same."""
    gateway = start_gateway(f'[store]\nurl = "sqlite:{tmp_path}/events.sqlite"\n', "--set", "amp.source_lease=1")
    first = start_daemon(gateway)
    publish_shift(first)
    other = start_daemon(gateway, "pbx2")
    other.call("agent_login", "acme", "9", "u9")
    client = gateway.connect("supervisor")
    welcome = client.welcome["payload"]
    first.process.kill()
    first.wait()
    second = start_daemon(gateway)
    tell_truth(second)
    live = messages_until(client, "call.answered")
    assert stream(live) == DIFFERENCE
    assert all(message["payload"]["reconciled"] for message in live if stream([message]))
    left, ended = (message["payload"] for message in live if message["payload"].get("unique_id") == "2.2")
    assert (left["reason"], ended["ended_by"]) == ("unknown", "unknown")
    assert {"duration"} == {"duration", "talk_seconds", "wait_seconds", "hold_seconds"} & ended.keys()
    again = gateway.connect("supervisor", f"/ws?epoch={welcome['epoch']}&seq={welcome['seq']}")
    assert stream(messages_until(again, "resumed")) == DIFFERENCE
    expected = [
        *[("agent.login", "9"), ("agent.state.changed", "2"), ("agent.login", "3")],
        *[("call.incoming", "1.1"), ("call.answered", "1.1")],
    ]
    assert sorted(snapshot(gateway)) == sorted(expected)
    # The process that knows no owner any more reads them from its file.
    gateway.process.kill()
    gateway.process.wait()
    restarted = start_gateway(f'[store]\nurl = "sqlite:{tmp_path}/events.sqlite"\n', "--set", "amp.source_lease=1")
    third = start_daemon(restarted)
    third.call("sync_state", "acme", "agents", [])
    third.call("sync_state", "acme", "calls", [])
    assert snapshot(restarted) == [("agent.login", "9")]
    status, metrics = restarted.http("/metrics", token=restarted.token("admin"))
    assert status == 200
    assert "callcenter_ws_source_syncs_total 2.0" in metrics
    assert "callcenter_ws_reconciled_events_total 3.0" in metrics


def test_a_sync_in_a_spool_outlives_daemon_and_gateway(start_gateway: Any, start_daemon: Any, tmp_path: Path) -> None:
    settings, spool = f'[store]\nurl = "sqlite:{tmp_path}/events.sqlite"\n', tmp_path / "spool"
    gateway = start_gateway(settings)
    daemon = start_daemon(gateway, spool=spool)
    publish_shift(daemon)
    gateway.process.kill()
    gateway.process.wait()
    daemon.start_call("publish", "acme", "agent.login", agent("4"))
    daemon.start_call("sync_state", "acme", "agents", [agent(str(number)) for number in range(10, 1_210)])
    last = daemon.start_call("publish", "acme", "agent.logout", {"user_id": "10", "username": "u10"})
    assert last == daemon._last_call
    wait_until(lambda: _spooled(spool) == 3, "the spool to hold all")
    daemon.process.kill()
    daemon.wait()
    restarted = start_gateway(settings)
    start_daemon(restarted, spool=spool)
    wait_until(lambda: _spooled(spool) == 0, "the spool to be empty")
    agents = [(type_, user_id) for type_, user_id in snapshot(restarted) if type_.startswith("agent.")]
    assert agents == [("agent.login", str(number)) for number in range(11, 1_210)]


def _spooled(spool: Path) -> int:
    db = sqlite3.connect(f"file:{spool}?mode=ro", uri=True)
    try:
        return int(db.execute("SELECT count(*) FROM event").fetchone()[0])
    finally:
        db.close()


def test_two_nodes_of_a_redis(two_nodes: Any, start_daemon: Any) -> None:
    one, two = two_nodes("amp.source_lease=1")
    first = start_daemon(one)
    publish_shift(first)
    start_daemon(one, "pbx2").call("agent_login", "acme", "9", "u9")
    first.process.kill()
    first.wait()
    clients = [node.connect("supervisor") for node in (one, two)]
    tell_truth(start_daemon(two))
    for client in clients:
        assert stream(messages_until(client, "call.answered")) == DIFFERENCE
    assert snapshot(one) == snapshot(two)
