"""Every event of the catalogue, published by a daemon process, reaches exactly the clients that may see it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from processes import RemoteDaemon

from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.methods import EventMethods

TENANTS = ("acme", "globex")
NUMBER, NAME = "+3225550101", "Zoe Dupont"
EMAIL = "zoe@customers.example"
SECRET_NOTE = "this one always complains"

# The clients of each tenant, with the claims of their tokens. Some events are for the user "agent-7".
CLIENTS: dict[str, dict[str, Any]] = {
    "admin": {"role": "admin"},
    "supervisor": {"role": "supervisor"},
    "sales supervisor": {"role": "supervisor", "sub": "supervisor-2", "queues": ["sales"]},
    "agent": {"role": "agent"},
    "colleague": {"role": "agent", "sub": "agent-7"},
    "wallboard": {"role": "wallboard"},
    "visitor": {"role": "visitor", "session_id": "chat-1"},
    "other visitor": {"role": "visitor", "sub": "visitor-2", "session_id": "chat-2"},
    "service": {"role": "service"},
    "subscribed service": {"role": "service", "sub": "service-2"},
}
BY_NAME = ["agent.*", "call.*", "queue.*", "chat.*", "notification", "alert", "presence.changed"]

# The clients that may see an event, for the rules in docs/events.rst (visibility).
WHOLE_TENANT = frozenset({"admin", "supervisor", "agent", "colleague", "subscribed service"})
WITH_ANY_QUEUE = WHOLE_TENANT | {"sales supervisor"}
SUPPORT_QUEUE = WHOLE_TENANT | {"wallboard"}
SALES_QUEUE = SUPPORT_QUEUE | {"sales supervisor"}
SUPPORT_STAFF, SALES_STAFF = SUPPORT_QUEUE - {"wallboard"}, SALES_QUEUE - {"wallboard"}
NO_QUEUE = SALES_QUEUE
CHAT = WITH_ANY_QUEUE | {"visitor"}
OTHER_CHAT = WITH_ANY_QUEUE | {"other visitor"}
PRIVATE_CHAT = WITH_ANY_QUEUE
COLLEAGUE = frozenset({"colleague"})
# Of a chat that is assigned to "agent-7".
COLLEAGUE_S_CHAT = CHAT - {"agent"}
PRESENCE = frozenset({"admin", "supervisor", "sales supervisor", "wallboard", "subscribed service"})

CALL = {
    "unique_id": "1700000000.1",
    "caller_id": NUMBER,
    "caller_name": NAME,
    "destination": "100",
    "queue_name": "support",
    "variables": {"CALLERID(all)": f'"{NAME}" <{NUMBER}>'},
}
SALE = {**CALL, "unique_id": "1700000000.2", "queue_name": "sales"}
DISPOSITION = {"call_id": "1700000000.1", "code": "sale", "note": SECRET_NOTE}
BARE_CALL = {"unique_id": "1700000000.3", "caller_id": NUMBER, "caller_name": NAME, "destination": "200"}
AGENT = {"user_id": "agent-9", "username": "nina"}
STATS = {"calls_waiting": 1, "available_agents": 2, "logged_in_agents": 3, "longest_wait_time": 4.5}
MEMBER = {"queue_name": "support", "user_id": "agent-9"}
STARTED = {"session_id": "chat-1", "visitor_name": "Zoe", "visitor_email": EMAIL, "visitor": {"email": EMAIL}}
CHAT_TEXT = {"session_id": "chat-1", "message_id": "m-1", "sender_id": "agent-9", "sender_type": "agent", "body": "Hi"}
NOTE = {"user_id": "agent-7", "type": "callback", "title": "Call back", "message": "in five minutes", "data": {"n": 1}}


class Row(NamedTuple):
    """A row of the table: a method and its arguments, the type of its event, and the clients that receive the event."""

    method: str
    type: str
    arguments: dict[str, Any]
    recipients: frozenset[str]


ROWS = (
    Row("agent_login", "agent.login", {**AGENT, "queues": ["support"], "state": "available"}, NO_QUEUE),
    Row("agent_state_change", "agent.state.changed", {**AGENT, "state": "break", "reason": "lunch"}, NO_QUEUE),
    Row("agent_logout", "agent.logout", {**AGENT, "reason": "user"}, NO_QUEUE),
    Row("call_incoming", "call.incoming", CALL, SUPPORT_QUEUE),
    Row("call_incoming", "call.incoming", SALE, SALES_QUEUE),
    Row("call_incoming", "call.incoming", BARE_CALL, SUPPORT_QUEUE),
    Row("queue_joined", "queue.joined", {**CALL, "position": 1}, SUPPORT_QUEUE),
    Row("queue_joined", "queue.joined", {**SALE, "position": 1}, SALES_QUEUE),
    Row("call_ringing", "call.ringing", {**CALL, "agent_id": "agent-9"}, SUPPORT_QUEUE),
    Row("call_missed", "call.missed", {**CALL, "agent_id": "agent-9", "ring_seconds": 20}, SUPPORT_QUEUE),
    Row("call_answered", "call.answered", {**CALL, "agent_id": "agent-9", "wait_seconds": 12.5}, SUPPORT_QUEUE),
    Row("queue_left", "queue.left", {**CALL, "reason": "answered"}, SUPPORT_QUEUE),
    Row("queue_left", "queue.left", {**SALE, "reason": "abandoned"}, SALES_QUEUE),
    Row("call_abandoned", "call.abandoned", {**SALE, "wait_seconds": 3}, SALES_QUEUE),
    Row("call_hold", "call.hold", {**CALL, "held_by": "agent-9"}, SUPPORT_QUEUE),
    Row("call_unhold", "call.unhold", CALL, SUPPORT_QUEUE),
    Row("call_transferred", "call.transferred", {**CALL, "transfer_type": "blind"}, SUPPORT_QUEUE),
    Row("call_ended", "call.ended", {**CALL, "duration": 63, "ended_by": "caller"}, SUPPORT_QUEUE),
    Row("call_ended", "call.ended", {**SALE, "duration": 3}, SALES_QUEUE),
    Row("call_disposition", "call.disposition", {**DISPOSITION, "queue_name": "support"}, SUPPORT_STAFF),
    Row("call_disposition", "call.disposition", {**DISPOSITION, "queue_name": "sales"}, SALES_STAFF),
    Row("update_queue_stats", "queue.stats", {"queue_name": "support", **STATS}, SUPPORT_QUEUE),
    Row("update_queue_stats", "queue.stats", {"queue_name": "sales", **STATS}, SALES_QUEUE),
    Row("queue_member_added", "queue.member.added", {**MEMBER, "penalty": 1}, SUPPORT_QUEUE),
    Row("queue_member_paused", "queue.member.paused", {**MEMBER, "reason": "lunch"}, SUPPORT_QUEUE),
    Row("queue_member_unpaused", "queue.member.unpaused", MEMBER, SUPPORT_QUEUE),
    Row("queue_member_removed", "queue.member.removed", {**MEMBER, "queue_name": "sales"}, SALES_QUEUE),
    Row("chat_session_started", "chat.session.started", STARTED, CHAT),
    Row("chat_session_started", "chat.session.started", {"session_id": "chat-2"}, OTHER_CHAT),
    Row("chat_message_sent", "chat.message", CHAT_TEXT, CHAT),
    Row("chat_message_sent", "chat.message", {**CHAT_TEXT, "session_id": "chat-2"}, OTHER_CHAT),
    Row("chat_message_sent", "chat.message", {**CHAT_TEXT, "private": True, "body": SECRET_NOTE}, PRIVATE_CHAT),
    Row(
        "chat_typing_indicator",
        "chat.typing",
        {"session_id": "chat-1", "sender_type": "agent", "is_typing": True},
        CHAT,
    ),
    Row("chat_delivered", "chat.delivered", {"session_id": "chat-1", "message_id": "m-1"}, PRIVATE_CHAT),
    Row("chat_transferred", "chat.transferred", {"session_id": "chat-1", "to_agent_id": "agent-7"}, CHAT),
    Row("chat_session_ended", "chat.session.ended", {"session_id": "chat-1", "reason": "done"}, COLLEAGUE_S_CHAT),
    Row("chat_session_ended", "chat.session.ended", {"session_id": "chat-2"}, OTHER_CHAT),
    Row("send_notification", "notification", NOTE, COLLEAGUE),
    Row("send_alert", "alert", {"title": "Fire drill", "message": "now", "severity": "warning"}, NO_QUEUE),
)


@pytest.fixture(scope="module")
def clients(gateway: Any) -> Iterator[dict[tuple[str, str], Any]]:
    """Clients of each kind in each tenant, which have read all messages so far."""
    connected = {}
    for tenant in TENANTS:
        for name, client_claims in CLIENTS.items():
            claims = {**client_claims, "tenant_id": tenant}
            client = gateway.connect(claims.pop("role"), claims=claims)
            connected[tenant, name] = client
            if name == "subscribed service":
                assert client.request("subscribe", {"events": BY_NAME})["type"] == "subscribed"
    gateway.wait_until_delivered()
    for client in connected.values():
        client.received_before_pong()
    yield connected
    for client in connected.values():
        client.socket.close()


@pytest.fixture(scope="module")
def published(gateway: Any, clients: dict[tuple[str, str], Any]) -> dict[str, list[dict[str, Any]]]:
    """The results of publishing all rows for both tenants in turn; by tenant, in the order of the rows."""
    daemon = RemoteDaemon(f"unix:{gateway.amp_path}")
    numbers = [
        (tenant, daemon.start_call(row.method, tenant, **row.arguments, mark=mark))
        for mark, row in enumerate(ROWS)
        for tenant in TENANTS
    ]
    answers: dict[str, list[dict[str, Any]]] = {tenant: [] for tenant in TENANTS}
    for tenant, number in numbers:
        answer = daemon.response(number)
        assert "result" in answer, answer
        answers[tenant].append(answer["result"])
    assert daemon.wait() == 0
    return answers


@pytest.fixture(scope="module")
def received(
    clients: dict[tuple[str, str], Any], published: dict[str, list[dict[str, Any]]]
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The messages that each client received for all rows."""
    return {who: client.received_before_pong() for who, client in clients.items()}


def visible_payload(row: Row, name: str, mark: int) -> dict[str, Any]:
    """Return the payload of a row as a client receives it."""
    payload = {**row.arguments, "mark": mark}
    if row.type == "notification":
        del payload["user_id"]
    if name == "wallboard":
        payload.pop("variables", None)
        payload.update({field: "***" for field in ("caller_id", "caller_name") if field in payload})
    if "visitor" in name and row.type == "chat.session.started":
        payload.pop("visitor_email", None)
        payload.update({field: {} for field in ("visitor",) if field in payload})
    return payload


def expected(tenant: str, name: str, answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages that a client should receive, in order, without the timestamps."""
    return [
        {
            "type": row.type,
            "tenant_id": tenant,
            **({"user_id": "agent-7"} if row.type == "notification" else {}),
            "id": answer["event_id"],
            "seq": answer["seq"],
            "payload": visible_payload(row, name, mark),
        }
        for mark, (row, answer) in enumerate(zip(ROWS, answers, strict=True))
        if name in row.recipients
    ]


def test_the_table_holds_every_method_and_every_event_type() -> None:
    methods = {name for name, _ in inspect.getmembers(EventMethods, inspect.isfunction) if not name.startswith("_")}
    # Only a source, which says Hello, publishes source.up and source.down.
    assert {row.method for row in ROWS} == methods - {"publish", "source_up", "source_down"}
    # The gateway itself publishes presence.changed, figures, alerts and their settings (test_who_may_do_what.py).
    others = {"presence.changed", "source.up", "source.down"}
    others |= {name for name, type_ in CATALOGUE.items() if type_.by_gateway}
    assert {row.type for row in ROWS} | others == set(CATALOGUE)


@pytest.mark.parametrize("tenant", TENANTS)
@pytest.mark.parametrize("name", CLIENTS)
def test_each_client_receives_what_the_protocol_says(
    name: str,
    tenant: str,
    published: dict[str, list[dict[str, Any]]],
    received: dict[tuple[str, str], list[dict[str, Any]]],
) -> None:
    messages = received[tenant, name]
    assert [{k: v for k, v in message.items() if k != "timestamp"} for message in messages] == expected(
        tenant, name, published[tenant]
    )
    seqs = [message["seq"] for message in messages]
    assert seqs == sorted(set(seqs))


def test_a_wallboard_never_receives_the_caller(received: dict[tuple[str, str], list[dict[str, Any]]]) -> None:
    frames = json.dumps(received["acme", "wallboard"])
    assert "call.ended" in frames and NUMBER not in frames and NAME not in frames


def test_a_visitor_receives_nothing_private(received: dict[tuple[str, str], list[dict[str, Any]]]) -> None:
    frames = json.dumps(received["acme", "visitor"])
    assert '"Hi"' in frames
    for private in (EMAIL, SECRET_NOTE, "chat-2", NUMBER, "private"):
        assert private not in frames


# A service without a subscription is answered nothing (test_connecting.py).
@pytest.mark.parametrize("name", sorted(CLIENTS.keys() - {"service", "subscribed service"}))
def test_a_client_that_resumes_receives_the_same_messages(
    name: str,
    gateway: Any,
    clients: dict[tuple[str, str], Any],
    published: dict[str, list[dict[str, Any]]],
    received: dict[tuple[str, str], list[dict[str, Any]]],
) -> None:
    claims = {**CLIENTS[name], "tenant_id": "acme", "sub": CLIENTS[name].get("sub", f"{name}-1")}
    first = published["acme"][0]
    before = f"?epoch={first['epoch']}&seq={first['seq'] - 1}"
    path = ("/ws/public" if "visitor" in name else "/ws") + before
    again = gateway.connect(claims.pop("role"), path, claims=claims)
    replayed = []
    while (message := again.receive())["type"] != "resumed":
        replayed.append(message)
    again.socket.close()
    assert [message for message in replayed if message["type"] != "presence.changed"] == received["acme", name]
    assert message["payload"]["count"] == len(replayed)


@pytest.mark.parametrize("name", sorted(CLIENTS.keys() - {"service"}))
def test_a_snapshot_contains_only_messages_of_the_stream(
    name: str, clients: dict[tuple[str, str], Any], received: dict[tuple[str, str], list[dict[str, Any]]]
) -> None:
    snapshot = clients["acme", name].request("snapshot")["payload"]
    present = [message for message in snapshot["events"] if message["type"] == "presence.changed"]
    assert bool(present) is (name in PRESENCE)
    snapshot["events"] = [message for message in snapshot["events"] if message not in present]
    assert [message for message in snapshot["events"] if message not in received["acme", name]] == []
    if name == "supervisor":
        # The rows end every chat, every call but one, and the membership in one queue of two.
        remaining = [(message["type"], message["payload"].get("queue_name")) for message in snapshot["events"]]
        assert sorted(remaining, key=str) == [
            ("call.incoming", None),
            ("queue.member.unpaused", "support"),
            ("queue.stats", "sales"),
            ("queue.stats", "support"),
        ]


def test_a_new_user_is_announced_to_all_but_agents_and_visitors(
    gateway: Any, clients: dict[tuple[str, str], Any], received: dict[tuple[str, str], list[dict[str, Any]]]
) -> None:
    gateway.wait_until_delivered()
    for client in clients.values():
        client.received_before_pong()
    new_user = gateway.connect("supervisor", claims={"sub": "new-user"})
    announced = clients["acme", "supervisor"].receive_type("presence.changed")
    assert announced["payload"]["user_id"] == "new-user" and announced["payload"]["online"] is True
    for (tenant, name), client in clients.items():
        messages = client.received_before_pong()
        if (tenant, name) != ("acme", "supervisor"):
            assert messages == ([announced] if tenant == "acme" and name in PRESENCE else []), (tenant, name)
    new_user.socket.close()


def test_a_new_visitor_is_not_announced(gateway: Any, clients: dict[tuple[str, str], Any]) -> None:
    gateway.connect("visitor", claims={"sub": "visitor-3", "session_id": "chat-3"}).socket.close()
    assert clients["acme", "admin"].received_before_pong() == []


def test_an_event_for_one_user_reaches_no_other_user(gateway: Any, clients: dict[tuple[str, str], Any]) -> None:
    gateway.wait_until_delivered()
    for client in clients.values():
        client.received_before_pong()
    daemon = RemoteDaemon(f"unix:{gateway.amp_path}")
    text = {**CHAT_TEXT, "body": "for you only"}
    published = [
        daemon.call("publish", "acme", "agent.state.changed", {**AGENT, "state": "away"}, user_id="agent-7"),
        daemon.call("publish", "acme", "chat.message", text, user_id="visitor-1"),
        # The visitor of another session does not receive it, although the event is for its user id.
        daemon.call("publish", "acme", "chat.message", text, user_id="visitor-2"),
        # Only the wallboard receives the call, with the caller masked.
        daemon.call("publish", "acme", "call.incoming", CALL, user_id="wallboard-1"),
    ]
    assert daemon.wait() == 0
    seqs = [answer["seq"] for answer in published]
    got = {who: [message["seq"] for message in client.received_before_pong()] for who, client in clients.items()}
    assert {who: received for who, received in got.items() if received} == {
        ("acme", "colleague"): [seqs[0]],
        ("acme", "visitor"): [seqs[1]],
        ("acme", "wallboard"): [seqs[3]],
    }


def test_agents_that_see_their_own_calls_only(start_gateway: Any) -> None:
    gateway = start_gateway('[policy]\nagent_calls = "own"\n')
    agents = {
        "handles": gateway.connect("agent", claims={"sub": "agent-9", "queues": ["sales"]}),
        "serves": gateway.connect("agent", claims={"sub": "agent-2", "queues": ["support"]}),
        "neither": gateway.connect("agent", claims={"sub": "agent-3", "queues": ["sales"]}),
        "without queues": gateway.connect("agent", claims={"sub": "agent-4"}),
    }
    for type_, more in (
        ("call.incoming", {}),
        ("call.ringing", {"agent_id": "agent-9"}),
        ("call.answered", {"agent_id": "agent-9"}),
        ("call.transferred", {"from_agent_id": "agent-9", "to_agent_id": "agent-3"}),
        ("call.ended", {"agent_id": "agent-3", "duration": 9}),
    ):
        gateway.publish(type_, {**CALL, **more})
    seen = {name: [m["type"] for m in agent.received_before_pong()] for name, agent in agents.items()}
    for agent in agents.values():
        agent.socket.close()
    assert seen == {
        # The first agent also receives the end of the call, although that event names only the second.
        "handles": ["call.ringing", "call.answered", "call.transferred", "call.ended"],
        "serves": ["call.incoming", "call.ringing"],
        "neither": ["call.transferred", "call.ended"],
        "without queues": [],
    }
