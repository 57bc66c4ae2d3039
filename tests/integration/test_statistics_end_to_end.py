"""Statistics from outside: a gateway that derives them, a sender over HTTP, and what clients are sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from processes import wait_until

STATISTICS = "[statistics]\nenabled = true\n"

CALL = {"unique_id": "1.1", "caller_id": "+32", "destination": "100", "queue_name": "sales"}


def publish(gateway: Any, *events: tuple[str, dict[str, Any]]) -> None:
    body = [{"type": name, "tenant_id": "acme", "payload": payload} for name, payload in events]
    status, answer = gateway.http("/ws/events", token=gateway.token("service"), method="POST", body=body)
    assert status == 200, answer


def figures_of(gateway: Any, *names: str) -> Any:
    status, report = gateway.http("/ws/statistics?interval=day", token=gateway.token("supervisor"))
    assert status == 200, report
    return {one["queue_name"]: [one["intervals"][0][name] for name in names] for one in report["queues"]}


def test_figures_are_the_same_after_a_kill(start_gateway: Callable[..., Any], tmp_path: Path) -> None:
    store = f"store.url=sqlite:{tmp_path}/events.sqlite"
    gateway = start_gateway(STATISTICS, "--set", store)
    client = gateway.connect("supervisor", "/ws")
    publish(gateway, ("call.incoming", CALL), ("queue.joined", CALL))
    figure = client.receive_type("queue.stats")
    assert "seq" not in figure
    assert figure["payload"]["calls_waiting"] == 1
    wait_until(lambda: figures_of(gateway, "offered") == {"sales": [1]}, "the figures")
    gateway.process.kill()
    gateway.process.wait()
    gateway = start_gateway(STATISTICS, "--set", store)
    publish(
        gateway,
        ("queue.left", {**CALL, "reason": "timeout", "wait_seconds": 7}),
        ("call.ended", {**CALL, "duration": 7}),
    )
    wait_until(
        lambda: figures_of(gateway, "offered", "flow_out", "lost") == {"sales": [1, 1, 0]}, "the figures after the kill"
    )


ALERT = """
[[tenants.acme.alerts]]
name = "sales waits"
queues = ["sales"]
metric = "calls_waiting"
raise = { above = 0 }
clear = { at_most = 0 }
"""


def test_an_alert_is_raised_and_cleared(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway(STATISTICS + ALERT)
    client = gateway.connect("supervisor", "/ws")
    publish(gateway, ("queue.joined", CALL))
    raised = client.receive_type("queue.alert.raised")
    assert raised["seq"]
    late = gateway.connect("wallboard", "/ws?snapshot=1")
    events = late.receive_type("snapshot")["payload"]["events"]
    assert raised["id"] in [event["id"] for event in events]
    publish(gateway, ("queue.left", {**CALL, "reason": "timeout"}))
    cleared = client.receive_type("queue.alert.cleared")
    assert cleared["payload"]["alert_id"] == raised["payload"]["alert_id"]


BAD = [
    ("queue.joined", {"unique_id": "1"}, "0001-01-01T00:00:00Z"),
    ("queue.joined", {"unique_id": "2"}, "9999-12-31T23:59:59.999Z"),
    ("queue.left", {"unique_id": "3", "reason": "timeout", "wait_seconds": 1e308}, None),
    ("call.abandoned", {"unique_id": "2", "wait_seconds": -5}, None),
    ("call.answered", {"unique_id": "4", "agent_id": "=1+1", "wait_seconds": 1e300}, None),
    ("call.ended", {"unique_id": "4", "duration": 0, "talk_seconds": 1e300}, None),
    ("queue.joined", {"unique_id": "5", "queue_name": '\u202e,"'}, None),
]


def test_senseless_events_change_no_figure_of_another_tenant(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway(STATISTICS)

    def report(tenant: str) -> Any:
        status, answer = gateway.http("/ws/statistics", token=gateway.token("supervisor", tenant_id=tenant))
        assert status == 200, answer
        return {name: value for name, value in answer.items() if name != "generated_at"}

    def state(tenant: str) -> Any:
        return gateway.http("/ws/stats", token=gateway.token("supervisor", tenant_id=tenant))[1]["statistics"]

    gateway.publish("queue.joined", CALL, tenant_id="globex")
    gateway.publish("queue.left", {**CALL, "reason": "timeout", "wait_seconds": 7}, tenant_id="globex")
    wait_until(lambda: report("globex")["as_of_seq"] == 2 and report("globex")["queues"], "the figures of globex")
    before = report("globex")
    for name, payload, timestamp in BAD:
        more = {} if timestamp is None else {"timestamp": timestamp}
        answer = gateway.publish(name, {**CALL, **payload}, tenant_id="acme", **more)
    assert state("acme")["state"] in ("current", "catching_up")
    wait_until(lambda: report("acme")["as_of_seq"] == answer["seq"] and report("acme")["queues"], "the figures of acme")
    found = report("acme")
    assert found["diagnostics"]["late_events"] == 1
    (sales,) = [queue["intervals"][0] for queue in found["queues"] if queue["queue_name"] == "sales"]
    assert (sales["offered"], sales["abandoned"], sales["lost"]) == (1, 1, 0)
    assert report("globex") == before
    assert state("globex")["behind"] == 0
