"""Alerts from outside: a gateway with a rule, a supervisor who acknowledges, and a kill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

SETTINGS = """
[statistics]
enabled = true

[[tenants.acme.alerts]]
name = "unstaffed"
queues = ["sales"]
metric = "staffed_agents"
raise = { below = 1 }
"""


def test_an_alert_is_raised_acknowledged_and_still_there_after_a_kill(
    start_gateway: Callable[..., Any], tmp_path: Path
) -> None:
    store = f"store.url=sqlite:{tmp_path}/events.sqlite"
    gateway = start_gateway(SETTINGS, "--set", store)
    client = gateway.connect("supervisor", "/ws")
    raised = client.receive_type("queue.alert.raised")["payload"]
    assert (raised["rule"], raised["queue_name"], raised["value"]) == ("unstaffed", "sales", 0)
    answer = client.request("alert.ack", {"alert_id": raised["alert_id"], "note": "calling in two"})
    assert answer["payload"]["duplicate"] is False, answer
    gateway.process.kill()
    gateway.process.wait()
    gateway = start_gateway(SETTINGS, "--set", store)
    client = gateway.connect("supervisor", "/ws")
    again = client.request("alert.ack", {"alert_id": raised["alert_id"]})
    assert again["payload"]["duplicate"] is True, again
