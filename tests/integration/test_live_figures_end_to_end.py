"""Live figures at a running gateway: switched off and on by a reload, over a reconnect, by role, and compressed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from processes import wait_until

StartGateway = Callable[..., Any]

ON, OFF = "[statistics]\nenabled = true\n", "[statistics]\nenabled = false\n"


def join(gateway: Any, number: int, queue: str) -> None:
    """Have a call wait in a queue."""
    call = {"unique_id": f"1.{number}", "caller_id": "+32", "destination": "100", "queue_name": queue}
    gateway.publish("queue.joined", call)


def switch(gateway: Any, old: str, new: str, reloads: int) -> None:
    """Change the settings, and reload them."""
    wait_until(lambda: "callcenter-ws serves" in gateway.log, "the gateway to serve")
    path = gateway.folder / "callcenter-ws.toml"
    path.write_text(path.read_text().replace(old, new))
    gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: gateway.log.count("the settings were loaded again") == reloads, "the reload")


def waiting(client: Any, queue: str, count: int) -> dict[str, Any]:
    """Read until a figure of a queue has so many waiting calls, and return it."""
    while True:
        message: dict[str, Any] = client.receive_type("queue.stats")
        payload = message["payload"]
        if (payload["queue_name"], payload.get("calls_waiting")) == (queue, count):
            return message


def figures_of(gateway: Any, role: str, **claims: Any) -> set[str]:
    """Return the figures in what ``GET /ws/snapshot`` answers."""
    status, snapshot = gateway.http("/ws/snapshot", token=gateway.token(role, **claims))
    assert status == 200
    return {f"{one['type']}:{one['payload'].get('queue_name', '')}" for one in snapshot["figures"]}


def test_a_reload_switches_figures_off_and_on_for_connected_clients(start_gateway: StartGateway) -> None:
    gateway = start_gateway(ON)
    client = gateway.connect("supervisor", "/ws", compression=None)
    for number in range(3):
        join(gateway, number, "sales")
    assert "seq" not in waiting(client, "sales", 3)
    switch(gateway, ON, OFF, 1)
    senders = {"queue_name": "sales", "calls_waiting": 77, "available_agents": 1, "logged_in_agents": 1}
    gateway.publish("queue.stats", senders)
    assert "seq" in waiting(client, "sales", 77)
    assert "figures" not in gateway.http("/ws/snapshot", token=gateway.token("supervisor"))[1]
    switch(gateway, OFF, ON, 2)
    assert "seq" not in waiting(client, "sales", 3), "a client that is connected is sent the figures again"
    join(gateway, 9, "sales")
    waiting(client, "sales", 4)


def test_a_client_that_was_away_resumes_and_is_sent_the_newest_figures(start_gateway: StartGateway) -> None:
    gateway = start_gateway(ON)
    board = gateway.connect("wallboard", "/ws")
    join(gateway, 1, "sales")
    position = board.receive_type("queue.joined")["seq"]
    waiting(board, "sales", 1)
    board.socket.close()
    other = gateway.connect("supervisor", "/ws")
    for number in (2, 3):
        join(gateway, number, "sales")
        waiting(other, "sales", number)
    epoch = board.welcome["payload"]["epoch"]
    again = gateway.connect("wallboard", f"/ws?epoch={epoch}&seq={position}")
    before = [again.receive()["type"]]
    while before[-1] != "resumed":
        before.append(again.receive()["type"])
    assert before.count("queue.joined") == 2
    assert "queue.stats" not in before
    figure = again.receive_type("queue.stats")
    assert figure["payload"]["calls_waiting"] == 3


def test_roles_and_claims_are_sent_what_they_may_see(start_gateway: StartGateway) -> None:
    gateway = start_gateway(ON)
    supervisor = gateway.connect("supervisor", "/ws")
    limited = gateway.connect("agent", "/ws", claims={"queues": ["help"]})
    for number, queue in enumerate(["sales", "help"]):
        join(gateway, number, queue)
        waiting(supervisor, queue, 1)
    waiting(limited, "help", 1)
    limited.request("subscribe", {"events": ["tenant.stats"], "queues": ["sales", "help"]})
    join(gateway, 5, "sales")
    waiting(supervisor, "sales", 2)
    sent = [one for one in limited.received_before_pong() if one["type"].endswith(".stats")]
    assert {one["payload"]["queue_name"] for one in sent} <= {"help"}
    both = {"queue.stats:sales", "queue.stats:help"}
    assert figures_of(gateway, "supervisor") == {*both, "tenant.stats:"}
    assert figures_of(gateway, "agent", queues=["help"]) == {"queue.stats:help"}
    assert figures_of(gateway, "supervisor", tenant_id="globex") == set()
    status, answer = gateway.http("/ws/snapshot", token=gateway.token("visitor"))
    assert status == 403 or not answer.get("figures")
