"""The calls of today at real gateways: after a restart, at a second node, and after a reload."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from processes import wait_until

PATHS = (
    "/ws/calls?limit=200",
    "/ws/calls?search=0170555",
    "/ws/calls?agent=8&state=ended",
    "/ws/calls/earlier?call_id=c9",
)


def publish_calls(gateway: Any, first: int, number: int) -> None:
    """Publish calls over HTTP, most of them with an end."""
    events = []
    for index in range(first, first + number):
        call = {"unique_id": f"c{index}", "caller_id": "0170555" if index % 3 == 0 else f"030{index}"}
        queue = {**call, "queue_name": "sales" if index % 2 else "support"}
        agent = {**queue, "agent_id": str(7 + index % 2), "agent_name": f"Agent {7 + index % 2}"}
        events += [
            {"type": "call.incoming", "payload": {**call, "destination": "100"}},
            {"type": "queue.joined", "payload": queue},
            {"type": "call.ringing", "payload": agent},
            {"type": "call.answered", "payload": agent},
        ]
        if index % 5:
            events.append({"type": "call.ended", "payload": {**call, "duration": 5}})
    token = gateway.token("service")
    status, answer = gateway.http("/ws/events", method="POST", token=token, body=events)
    assert status == 200, answer
    assert all("seq" in result for result in answer["results"])


def answers(gateway: Any, **claims: Any) -> list[Any]:
    """Return the responses to all questions; as one who may see everything, or with these claims."""
    found = []
    for path in PATHS:
        status, answer = gateway.http(path, token=gateway.token(**{"role": "supervisor", **claims}))
        assert status in (200, 404), answer
        found.append(answer)
    return found


def without_position(found: list[Any]) -> list[Any]:
    """Return responses without the position: presence is published, too."""
    return [{key: value for key, value in one.items() if key != "as_of_seq"} for one in found]


def test_a_restarted_gateway_answers_the_same(start_gateway: Callable[..., Any], tmp_path: Path) -> None:
    store = ("--set", f"store.url=sqlite:{tmp_path}/events.sqlite")
    statistics = '[statistics]\nenabled = true\ntime_zone = "Asia/Tokyo"\n'
    gateway = start_gateway(statistics, *store)
    publish_calls(gateway, 0, 10)
    before = without_position(answers(gateway))
    assert [len(one["calls"]) for one in before] == [10, 4, 4, 3]
    assert (before[0]["incomplete_since"], before[0]["from"][10:]) == (None, "T00:00:00+09:00")
    gateway.stop()
    # The zone is that of the tenant also without statistics.
    gateway = start_gateway(statistics.replace("true", "false"), *store)
    assert without_position(answers(gateway)) == before
    # The index follows what is published, and a request sees what was published before it.
    publish_calls(gateway, 10, 3)
    assert [len(one["calls"]) for one in answers(gateway)] == [13, 5, 5, 3]
    status, metrics = gateway.http("/metrics")
    assert status == 200
    assert "callcenter_ws_call_log_calls 13.0" in metrics


def test_every_node_answers_the_same(two_nodes: Callable[..., list[Any]]) -> None:
    first, second = two_nodes()
    publish_calls(first, 0, 10)
    # One of them follows the tenant, because a client is connected; the other reads from Redis.
    client = first.connect("supervisor")
    for number in range(10, 16):
        before = without_position(answers(first))
        assert without_position(answers(second)) == before
        publish_calls(second if number % 2 else first, number, 1)
        assert len(answers(first)[0]["calls"]) == len(answers(second)[0]["calls"]) == number + 1
    for claims in ({"queues": ["sales"]}, {"role": "agent", "sub": "8", "queues": ["sales"]}):
        assert without_position(answers(first, **claims)) == without_position(answers(second, **claims))
        assert len(answers(first, **claims)[0]["calls"]) == 8
    client.socket.close()


def test_a_reload_changes_rights_and_zone(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway("", "--set", "store.url=memory:")
    publish_calls(gateway, 0, 10)
    agent = {"role": "agent", "sub": "8"}
    assert len(answers(gateway, **agent)[0]["calls"]) == 10
    config = gateway.folder / "callcenter-ws.toml"
    config.write_text(
        config.read_text() + '[policy]\nagent_calls = "own"\n[tenants.acme.statistics]\ntime_zone = "Asia/Tokyo"\n'
    )
    gateway.process.send_signal(1)
    wait_until(lambda: answers(gateway, **agent)[0]["from"].endswith("+09:00"), "the settings are in use")
    assert [call["call_id"] for call in answers(gateway, **agent)[0]["calls"]] == ["c9", "c7", "c5", "c3", "c1"]
