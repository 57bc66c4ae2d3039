"""Every event of the catalogue, sent by a daemon in another process, reaches exactly those who may see it."""

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

# Who is connected in each tenant, with the claims of the token. "agent-7" is the user that some events are for.
PEOPLE: dict[str, dict[str, Any]] = {
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

# PROTOCOL 4.1, row by row.
WHOLE_TENANT = frozenset({"admin", "supervisor", "agent", "colleague", "subscribed service"})
WITH_ANY_QUEUE = WHOLE_TENANT | {"sales supervisor"}
SUPPORT_QUEUE = WHOLE_TENANT | {"wallboard"}
SALES_QUEUE = SUPPORT_QUEUE | {"sales supervisor"}
NO_QUEUE = SALES_QUEUE
CHAT = WITH_ANY_QUEUE | {"visitor"}
OTHER_CHAT = WITH_ANY_QUEUE | {"other visitor"}
PRIVATE_CHAT = WITH_ANY_QUEUE
COLLEAGUE = frozenset({"colleague"})
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
BARE_CALL = {"unique_id": "1700000000.3", "caller_id": NUMBER, "caller_name": NAME, "destination": "200"}
AGENT = {"user_id": "agent-9", "username": "nina"}
STATS = {"calls_waiting": 1, "available_agents": 2, "logged_in_agents": 3, "longest_wait_time": 4.5}
MEMBER = {"queue_name": "support", "user_id": "agent-9"}
STARTED = {"session_id": "chat-1", "visitor_name": "Zoe", "visitor_email": EMAIL, "visitor": {"email": EMAIL}}
CHAT_TEXT = {"session_id": "chat-1", "message_id": "m-1", "sender_id": "agent-9", "sender_type": "agent", "body": "Hi"}
NOTE = {"user_id": "agent-7", "type": "callback", "title": "Call back", "message": "in five minutes", "data": {"n": 1}}


class Said(NamedTuple):
    """A row of the table: the method and what it is given, the event that it makes, and who gets to see it."""

    method: str
    type: str
    given: dict[str, Any]
    seen_by: frozenset[str]


STORY = (
    Said("agent_login", "agent.login", {**AGENT, "queues": ["support"], "state": "available"}, NO_QUEUE),
    Said("agent_state_change", "agent.state.changed", {**AGENT, "state": "break", "reason": "lunch"}, NO_QUEUE),
    Said("agent_logout", "agent.logout", {**AGENT, "reason": "user"}, NO_QUEUE),
    Said("call_incoming", "call.incoming", CALL, SUPPORT_QUEUE),
    Said("call_incoming", "call.incoming", SALE, SALES_QUEUE),
    Said("call_incoming", "call.incoming", BARE_CALL, SUPPORT_QUEUE),
    Said("queue_joined", "queue.joined", {**CALL, "position": 1}, SUPPORT_QUEUE),
    Said("queue_joined", "queue.joined", {**SALE, "position": 1}, SALES_QUEUE),
    Said("call_ringing", "call.ringing", {**CALL, "agent_id": "agent-9"}, SUPPORT_QUEUE),
    Said("call_missed", "call.missed", {**CALL, "agent_id": "agent-9", "ring_seconds": 20}, SUPPORT_QUEUE),
    Said("call_answered", "call.answered", {**CALL, "agent_id": "agent-9", "wait_seconds": 12.5}, SUPPORT_QUEUE),
    Said("queue_left", "queue.left", {**CALL, "reason": "answered"}, SUPPORT_QUEUE),
    Said("queue_left", "queue.left", {**SALE, "reason": "abandoned"}, SALES_QUEUE),
    Said("call_abandoned", "call.abandoned", {**SALE, "wait_seconds": 3}, SALES_QUEUE),
    Said("call_hold", "call.hold", {**CALL, "held_by": "agent-9"}, SUPPORT_QUEUE),
    Said("call_unhold", "call.unhold", CALL, SUPPORT_QUEUE),
    Said("call_transferred", "call.transferred", {**CALL, "transfer_type": "blind"}, SUPPORT_QUEUE),
    Said("call_ended", "call.ended", {**CALL, "duration": 63, "ended_by": "caller"}, SUPPORT_QUEUE),
    Said("call_ended", "call.ended", {**SALE, "duration": 3}, SALES_QUEUE),
    Said("update_queue_stats", "queue.stats", {"queue_name": "support", **STATS}, SUPPORT_QUEUE),
    Said("update_queue_stats", "queue.stats", {"queue_name": "sales", **STATS}, SALES_QUEUE),
    Said("queue_member_added", "queue.member.added", {**MEMBER, "penalty": 1}, SUPPORT_QUEUE),
    Said("queue_member_paused", "queue.member.paused", {**MEMBER, "reason": "lunch"}, SUPPORT_QUEUE),
    Said("queue_member_unpaused", "queue.member.unpaused", MEMBER, SUPPORT_QUEUE),
    Said("queue_member_removed", "queue.member.removed", {**MEMBER, "queue_name": "sales"}, SALES_QUEUE),
    Said("chat_session_started", "chat.session.started", STARTED, CHAT),
    Said("chat_session_started", "chat.session.started", {"session_id": "chat-2"}, OTHER_CHAT),
    Said("chat_message_sent", "chat.message", CHAT_TEXT, CHAT),
    Said("chat_message_sent", "chat.message", {**CHAT_TEXT, "session_id": "chat-2"}, OTHER_CHAT),
    Said("chat_message_sent", "chat.message", {**CHAT_TEXT, "private": True, "body": SECRET_NOTE}, PRIVATE_CHAT),
    Said(
        "chat_typing_indicator",
        "chat.typing",
        {"session_id": "chat-1", "sender_type": "agent", "is_typing": True},
        CHAT,
    ),
    Said("chat_transferred", "chat.transferred", {"session_id": "chat-1", "to_agent_id": "agent-7"}, CHAT),
    Said("chat_session_ended", "chat.session.ended", {"session_id": "chat-1", "reason": "done"}, CHAT),
    Said("chat_session_ended", "chat.session.ended", {"session_id": "chat-2"}, OTHER_CHAT),
    Said("send_notification", "notification", NOTE, COLLEAGUE),
    Said("send_alert", "alert", {"title": "Fire drill", "message": "now", "severity": "warning"}, NO_QUEUE),
)


@pytest.fixture(scope="module")
def clients(gateway: Any) -> Iterator[dict[tuple[str, str], Any]]:
    """One client of each kind in each tenant, who have nothing left to read."""
    connected = {}
    for tenant in TENANTS:
        for name, person in PEOPLE.items():
            claims = {**person, "tenant_id": tenant}
            client = gateway.connect(claims.pop("role"), claims=claims)
            connected[tenant, name] = client
            if name == "subscribed service":
                assert client.ask("subscribe", {"events": BY_NAME})["type"] == "subscribed"
    gateway.settle()
    for client in connected.values():
        client.received_before_pong()
    yield connected
    for client in connected.values():
        client.socket.close()


@pytest.fixture(scope="module")
def told(gateway: Any, clients: dict[tuple[str, str], Any]) -> dict[str, list[dict[str, Any]]]:
    """The story, told by a daemon for both tenants in turn; per tenant what the gateway answered to each row."""
    daemon = RemoteDaemon(f"unix:{gateway.amp_path}")
    numbers = [
        (tenant, daemon.tell(said.method, tenant, **said.given, mark=mark))
        for mark, said in enumerate(STORY)
        for tenant in TENANTS
    ]
    answers: dict[str, list[dict[str, Any]]] = {tenant: [] for tenant in TENANTS}
    for tenant, number in numbers:
        answer = daemon.answer(number)
        assert "result" in answer, answer
        answers[tenant].append(answer["result"])
    assert daemon.wait() == 0
    return answers


@pytest.fixture(scope="module")
def received(
    clients: dict[tuple[str, str], Any], told: dict[str, list[dict[str, Any]]]
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """What each client had received when all was told."""
    return {who: client.received_before_pong() for who, client in clients.items()}


def shown(said: Said, name: str, mark: int) -> dict[str, Any]:
    """The payload of a row as somebody is shown it."""
    payload = {**said.given, "mark": mark}
    if said.type == "notification":
        del payload["user_id"]
    if name == "wallboard":
        payload.pop("variables", None)
        payload.update({field: "***" for field in ("caller_id", "caller_name") if field in payload})
    if "visitor" in name and said.type == "chat.session.started":
        payload.pop("visitor_email", None)
        payload.update({field: {} for field in ("visitor",) if field in payload})
    return payload


def expected(tenant: str, name: str, answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What somebody should receive, in order, but for the timestamps."""
    return [
        {
            "type": said.type,
            "tenant_id": tenant,
            **({"user_id": "agent-7"} if said.type == "notification" else {}),
            "id": answer["event_id"],
            "seq": answer["seq"],
            "payload": shown(said, name, mark),
        }
        for mark, (said, answer) in enumerate(zip(STORY, answers, strict=True))
        if name in said.seen_by
    ]


def test_the_table_holds_every_method_and_every_event_type() -> None:
    methods = {name for name, _ in inspect.getmembers(EventMethods, inspect.isfunction) if not name.startswith("_")}
    assert {said.method for said in STORY} == methods - {"publish"}
    # The gateway itself makes the last one.
    assert {said.type for said in STORY} | {"presence.changed"} == set(CATALOGUE)


@pytest.mark.parametrize("tenant", TENANTS)
@pytest.mark.parametrize("name", PEOPLE)
def test_everybody_receives_what_the_protocol_says(
    name: str,
    tenant: str,
    told: dict[str, list[dict[str, Any]]],
    received: dict[tuple[str, str], list[dict[str, Any]]],
) -> None:
    messages = received[tenant, name]
    assert [{k: v for k, v in message.items() if k != "timestamp"} for message in messages] == expected(
        tenant, name, told[tenant]
    )
    places = [message["seq"] for message in messages]
    assert places == sorted(set(places))


def test_a_wallboard_never_shows_who_called(received: dict[tuple[str, str], list[dict[str, Any]]]) -> None:
    frames = json.dumps(received["acme", "wallboard"])
    assert "call.ended" in frames and NUMBER not in frames and NAME not in frames


def test_a_visitor_is_shown_nothing_private(received: dict[tuple[str, str], list[dict[str, Any]]]) -> None:
    frames = json.dumps(received["acme", "visitor"])
    assert '"Hi"' in frames
    for private in (EMAIL, SECRET_NOTE, "chat-2", NUMBER, "private"):
        assert private not in frames


@pytest.mark.parametrize("name", sorted(PEOPLE.keys() - {"subscribed service"}))
def test_a_client_that_comes_back_is_sent_the_same_again(
    name: str,
    gateway: Any,
    clients: dict[tuple[str, str], Any],
    told: dict[str, list[dict[str, Any]]],
    received: dict[tuple[str, str], list[dict[str, Any]]],
) -> None:
    claims = {**PEOPLE[name], "tenant_id": "acme", "sub": PEOPLE[name].get("sub", f"{name}-1")}
    first = told["acme"][0]
    before = f"?epoch={first['epoch']}&seq={first['seq'] - 1}"
    path = ("/ws/public" if "visitor" in name else "/ws") + before
    again = gateway.connect(claims.pop("role"), path, claims=claims)
    replayed = []
    while (message := again.receive())["type"] != "resumed":
        replayed.append(message)
    again.socket.close()
    assert [message for message in replayed if message["type"] != "presence.changed"] == received["acme", name]
    assert message["payload"]["count"] == len(replayed)


@pytest.mark.parametrize("name", PEOPLE)
def test_a_snapshot_shows_nothing_that_the_stream_does_not(
    name: str, clients: dict[tuple[str, str], Any], received: dict[tuple[str, str], list[dict[str, Any]]]
) -> None:
    snapshot = clients["acme", name].ask("snapshot")["payload"]
    assert [message for message in snapshot["events"] if message not in received["acme", name]] == []
    if name == "supervisor":
        # The story ends every chat, every call but one, and the membership in one queue of two.
        left = [(message["type"], message["payload"].get("queue_name")) for message in snapshot["events"]]
        assert sorted(left, key=str) == [
            ("call.incoming", None),
            ("queue.member.unpaused", "support"),
            ("queue.stats", "sales"),
            ("queue.stats", "support"),
        ]


def test_who_comes_is_announced_to_all_but_agents_and_visitors(
    gateway: Any, clients: dict[tuple[str, str], Any], received: dict[tuple[str, str], list[dict[str, Any]]]
) -> None:
    gateway.settle()
    for client in clients.values():
        client.received_before_pong()
    newcomer = gateway.connect("supervisor", claims={"sub": "newcomer"})
    announced = clients["acme", "supervisor"].receive_type("presence.changed")
    assert announced["payload"]["user_id"] == "newcomer" and announced["payload"]["online"] is True
    for (tenant, name), client in clients.items():
        messages = client.received_before_pong()
        if (tenant, name) != ("acme", "supervisor"):
            assert messages == ([announced] if tenant == "acme" and name in PRESENCE else []), (tenant, name)
    newcomer.socket.close()


def test_a_visitor_who_comes_is_not_announced(gateway: Any, clients: dict[tuple[str, str], Any]) -> None:
    gateway.connect("visitor", claims={"sub": "visitor-3", "session_id": "chat-3"}).socket.close()
    assert clients["acme", "admin"].received_before_pong() == []


def test_an_event_for_one_user_reaches_no_other(gateway: Any, clients: dict[tuple[str, str], Any]) -> None:
    gateway.settle()
    for client in clients.values():
        client.received_before_pong()
    daemon = RemoteDaemon(f"unix:{gateway.amp_path}")
    text = {**CHAT_TEXT, "body": "for you alone"}
    published = [
        daemon.ask("publish", "acme", "agent.state.changed", {**AGENT, "state": "away"}, user_id="agent-7"),
        daemon.ask("publish", "acme", "chat.message", text, user_id="visitor-1"),
        # A visitor of another session gets nothing, even in its own name.
        daemon.ask("publish", "acme", "chat.message", text, user_id="visitor-2"),
        # And nobody is told of the call that only the wallboard's user should see, masked.
        daemon.ask("publish", "acme", "call.incoming", CALL, user_id="wallboard-1"),
    ]
    assert daemon.wait() == 0
    seqs = [answer["seq"] for answer in published]
    got = {who: [message["seq"] for message in client.received_before_pong()] for who, client in clients.items()}
    assert {who: places for who, places in got.items() if places} == {
        ("acme", "colleague"): [seqs[0]],
        ("acme", "visitor"): [seqs[1]],
        ("acme", "wallboard"): [seqs[3]],
    }


def test_agents_who_see_their_own_calls_only(start_gateway: Any) -> None:
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
        # How it ends concerns the agent who had it, although the event names the next one alone.
        "handles": ["call.ringing", "call.answered", "call.transferred", "call.ended"],
        "serves": ["call.incoming", "call.ringing"],
        "neither": ["call.transferred", "call.ended"],
        "without queues": [],
    }
