"""Chats as agents, visitors and supervisors see them, with each store: policy, transfer, reload, unopened sessions."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from processes import wait_until

_tenants = (f"tenant-{number}" for number in itertools.count())


@pytest.fixture(scope="module", params=["memory", "sqlite", "redis"])
def gateway(request: pytest.FixtureRequest, start_shared_gateway: Any) -> Any:
    """A gateway with each of the stores, and presence that ends at once."""
    if request.param == "redis":
        url = request.getfixturevalue("server").url
    else:
        url = "memory:" if request.param == "memory" else "sqlite:store.db"
    gateway = start_shared_gateway(f'[store]\nurl = "{url}"\n[limits]\npresence_grace = 0\n')
    wait_until(lambda: gateway.http("/readyz")[0] == 200, "the store")
    return gateway


class Desk:
    """One tenant of a gateway."""

    def __init__(self, gateway: Any) -> None:
        self.gateway = gateway
        self.tenant = next(_tenants)
        self.clients: list[Any] = []

    def connect(self, role: str, user: str, query: str = "", **claims: Any) -> Any:
        """Connect, and read the welcome."""
        path = ("/ws/public" if role == "visitor" else "/ws") + query
        client = self.gateway.connect(role, path, claims={"sub": user, "tenant_id": self.tenant, **claims})
        self.clients.append(client)
        return client

    def publish(self, type_: str, **payload: Any) -> None:
        """Publish an event of the session ``s``."""
        self.gateway.publish(type_, {"session_id": "s", **payload}, tenant_id=self.tenant)

    def reloaded(self, role: str, user: str, **claims: Any) -> list[dict[str, Any]]:
        """Return the events of the snapshot that the user receives on a new connection, without presence."""
        client = self.connect(role, user, "?snapshot=1", **claims)
        events = client.receive_type("snapshot")["payload"]["events"]
        client.socket.close()
        return [event for event in events if event["type"] != "presence.changed"]


@pytest.fixture
def desk(gateway: Any) -> Any:
    desk = Desk(gateway)
    yield desk
    for client in desk.clients:
        # Not closed: one that has not read everything would not see the end of the closing handshake.
        client.abandon()


def chats(messages: list[dict[str, Any]]) -> list[str]:
    """Return the body of each message and the type of each other event of a chat."""
    found = [message for message in messages if message["type"].startswith("chat.")]
    return [message["payload"].get("body", message["type"]) for message in found]


def written(client: Any, body: str) -> str:
    """Write a message; return ``accepted`` or the code of the error."""
    answer = client.request("chat.message", {"session_id": "s", "body": body})
    return str(answer["payload"].get("code", answer["type"]))


def test_a_chat_is_seen_and_written_by_its_agent_only(desk: Desk) -> None:
    ana, bea, boss = desk.connect("agent", "101"), desk.connect("agent", "102"), desk.connect("supervisor", "boss")
    assert written(ana, "too early") == written(boss, "too early") == "unknown_session"
    desk.publish("chat.session.started", agent_id="101")
    ana.receive_type("chat.session.started")
    assert written(bea, "intruding") == "forbidden"
    assert written(ana, "hello") == "accepted"
    assert chats(bea.received_before_pong()) == []
    assert chats(boss.received_before_pong()) == ["chat.session.started", "hello"]
    assert chats(desk.reloaded("agent", "101")) == ["chat.session.started", "hello"]
    assert chats(desk.reloaded("agent", "102")) == []
    # After a transfer it is the other way round, and the earlier messages are with the chat.
    desk.publish("chat.transferred", to_agent_id="102")
    for client in (ana, bea):
        client.receive_type("chat.transferred")
    assert written(ana, "still here") == "forbidden"
    assert written(bea, "my turn") == "accepted"
    assert chats(boss.received_before_pong()) == ["chat.transferred", "my turn"]
    assert chats(ana.received_before_pong()) == []
    assert chats(desk.reloaded("agent", "102")) == ["chat.session.started", "hello", "chat.transferred", "my turn"]
    assert chats(desk.reloaded("agent", "101")) == []
    for user, expected in (("101", []), ("102", ["chat.session.started", "hello", "chat.transferred", "my turn"])):
        token = desk.gateway.token("agent", sub=user, tenant_id=desk.tenant)
        status, answer = desk.gateway.http("/ws/snapshot", token=token)
        assert (status, chats(answer["events"])) == (200, expected)
    # A replay is of what was seen at that time.
    epoch = ana.welcome["payload"]["epoch"]
    for user, expected in (
        ("101", ["chat.session.started", "hello", "chat.transferred"]),
        ("102", ["chat.transferred", "my turn"]),
    ):
        client = desk.connect("agent", user, f"?epoch={epoch}&seq=0")
        replayed = []
        while (message := client.receive())["type"] != "resumed":
            replayed.append(message)
        assert chats(replayed) == expected
    desk.publish("chat.session.ended")
    assert chats([boss.receive_type("chat.session.ended")]) == ["chat.session.ended"]
    assert written(bea, "too late") == written(boss, "too late") == "unknown_session"
    assert chats(desk.reloaded("supervisor", "boss")) == []


def test_the_first_message_of_a_visitor_opens_its_session(desk: Desk) -> None:
    claims = {"session_id": "s", "name": "Rui"}
    boss, visitor = desk.connect("supervisor", "boss"), desk.connect("visitor", "v-1", **claims)
    sales = desk.connect("agent", "1", queues=["sales"])
    typing = visitor.request("chat.typing", {"session_id": "s", "is_typing": True})
    assert typing["payload"]["code"] == "unknown_session"
    assert [written(visitor, "one"), written(visitor, "two")] == ["accepted"] * 2
    started = boss.receive_type("chat.session.started")
    assert started["payload"] == {"session_id": "s", "visitor_name": "Rui", "status": "waiting"}
    assert chats(sales.received_before_pong()) == ["chat.session.started", "one", "two"]
    assert written(sales, "mine") == "accepted"
    desk.publish("chat.message", message_id="n", sender_id="1", sender_type="agent", body="note", private=True)
    boss.receive_type("chat.message")
    shown = desk.reloaded("visitor", "v-1", **claims)
    assert chats(shown) == ["chat.session.started", "one", "two", "mine"]
    assert chats(desk.reloaded("supervisor", "boss")) == ["chat.session.started", "one", "two", "mine", "note"]
    desk.publish("chat.session.ended")
    visitor.receive_type("chat.session.ended")
    assert written(visitor, "again") == "unknown_session"
    assert chats(desk.reloaded("visitor", "v-1", **claims)) == []


@pytest.mark.parametrize("count", [2, 3, 5])
def test_messages_that_a_visitor_sends_at_once_arrive_in_order(desk: Desk, count: int) -> None:
    """While the first of them opens the session; the visitor's second connection writes at the same time."""
    boss = desk.connect("supervisor", "boss")
    for attempt in range(4):
        session = f"s{attempt}"
        visitor, second = (desk.connect("visitor", f"v-{attempt}", session_id=session) for _ in range(2))
        expected = [f"{number} {'x' * (number % 2) * 4_200}" for number in range(count)]
        for number, body in enumerate(expected):
            visitor.send("chat.message", {"session_id": session, "body": body}, id=number)
            if not number:
                second.send("chat.message", {"session_id": session, "body": "other"}, id="other")
                second.send("chat.message", {"session_id": session, "body": "another"}, id="another")
        for client in (boss, visitor):
            seen = [client.receive_type("chat.message")["payload"]["body"] for _ in range(count + 2)]
            assert [body for body in seen if body in expected] == expected
            assert [body for body in seen if body not in expected] == ["other", "another"]
        started = [event for event in desk.reloaded("supervisor", "boss") if event["payload"]["session_id"] == session]
        assert chats(started).count("chat.session.started") == 1
        visitor.socket.close()
        second.socket.close()


def test_what_a_member_of_staff_sends_at_once_arrives_in_order(desk: Desk) -> None:
    """Large messages take more than one turn to read, and are appended with others or alone."""
    boss, agent = desk.connect("supervisor", "boss"), desk.connect("agent", "101")
    desk.publish("chat.session.started", agent_id="101")
    agent.receive_type("chat.session.started")
    expected = [f"{number} {'x' * (10, 120_000, 5_000)[number % 3]}" for number in range(12)]
    for number, body in enumerate(expected):
        agent.send("chat.message", {"session_id": "s", "body": body})
        if number == 4:
            agent.send("chat.typing", {"session_id": "s", "is_typing": True})
    boss.receive_type("chat.session.started")
    seen: list[str] = []
    while len(seen) < 13:
        seen += chats([boss.receive()])
    assert seen == [*expected[:5], "chat.typing", *expected[5:]]


def test_a_visitor_with_connections_to_two_nodes_opens_its_session_once(two_nodes: Any) -> None:
    nodes = two_nodes()
    claims = {"sub": "v-1", "tenant_id": "acme", "session_id": "s"}
    boss = nodes[0].connect("supervisor", claims={"tenant_id": "acme"})
    token = nodes[0].token("visitor", **claims)
    visitors = [node.connect("visitor", token=token) for node in nodes]
    expected = [[f"{name}{number}" for number in range(4)] for name in "ab"]
    for bodies in zip(*expected, strict=True):
        for visitor, body in zip(visitors, bodies, strict=True):
            visitor.send("chat.message", {"session_id": "s", "body": body})
    seen: list[str] = []
    while len(seen) < 9:
        seen += chats([boss.receive()])
    assert seen[0] == "chat.session.started"
    assert [[body for body in seen if body.startswith(name)] for name in "ab"] == expected
    assert chats(boss.received_before_pong()) == []
    for client in (boss, *visitors):
        client.socket.close()


def test_the_snapshot_has_the_users_who_are_online(desk: Desk) -> None:
    def online() -> list[str]:
        events = boss.request("snapshot")["payload"]["events"]
        return sorted(event["payload"]["user_id"] for event in events if event["type"] == "presence.changed")

    boss, ana = desk.connect("supervisor", "boss"), desk.connect("agent", "101")
    wait_until(lambda: online() == ["101", "boss"], "both users online")
    assert ana.request("snapshot")["payload"]["events"] == []
    ana.socket.close()
    wait_until(lambda: online() == ["boss"], "the agent offline")


def test_a_restart_keeps_chats_messages_and_presence(start_gateway: Any, tmp_path: Any) -> None:
    settings = f'[store]\nurl = "sqlite:{tmp_path}/store.db"\n[limits]\npresence_grace = 0\ndrain_timeout = 0\n'
    desk = Desk(start_gateway(settings))
    ana = desk.connect("agent", "101")
    desk.publish("chat.session.started", agent_id="101")
    ana.receive_type("chat.session.started")
    assert written(ana, "hello") == "accepted"
    desk.connect("supervisor", "boss")
    desk.gateway.wait_until_delivered()
    # Not stopped: nobody is announced offline by the process that ends.
    desk.gateway.process.kill()
    desk.gateway.stop()
    desk.gateway = start_gateway(settings)
    assert chats(desk.reloaded("agent", "101")) == ["chat.session.started", "hello"]
    assert chats(desk.reloaded("agent", "102")) == []
    bea, boss = desk.connect("agent", "102"), desk.connect("supervisor", "boss")
    assert written(bea, "intruding") == "forbidden"

    def online() -> list[str]:
        events = boss.request("snapshot")["payload"]["events"]
        return sorted(event["payload"]["user_id"] for event in events if event["type"] == "presence.changed")

    wait_until(lambda: online() == ["102", "boss"], "the agent who did not return offline")


def test_an_operator_keeps_the_old_behaviour(start_gateway: Any) -> None:
    desk = Desk(start_gateway('[policy]\nagent_chats = "all"\n[public]\nopen_sessions = true\nhistory = 1\n'))
    ana, bea = desk.connect("agent", "101"), desk.connect("agent", "102", queues=["help"])
    assert written(ana, "before") == "accepted"
    desk.publish("chat.session.started", agent_id="101", queue_name="sales")
    ana.receive_type("chat.session.started")
    assert [written(bea, "from bea"), written(ana, "from ana")] == ["accepted"] * 2
    assert chats(bea.received_before_pong()) == ["from ana"]
    assert chats(desk.reloaded("agent", "102")) == ["chat.session.started", "from ana"]
