"""Chats of the widget's visitors, with each store: beginning, receipts, the visitor's own end, a new session."""

from __future__ import annotations

import itertools
from typing import Any
from urllib.parse import quote

import pytest
from processes import wait_until

SITE = "https://www.shop.example"
PUBLIC = f"""
[public.tenants.{{tenant}}]
origins = ["{SITE}"]
anonymous = {{anonymous}}
[tenants.{{tenant}}.widget]
title = "Shop"
queue_name = "web"
queues = ["vip"]
"""
_tenants = (f"shop-{number}" for number in itertools.count())


@pytest.fixture(scope="module", params=["memory", "sqlite", "redis"])
def gateway(request: pytest.FixtureRequest, start_shared_gateway: Any) -> Any:
    """A gateway with each of the stores, and tenants whose sites have the widget."""
    if request.param == "redis":
        url = request.getfixturevalue("server").url
    else:
        url = "memory:" if request.param == "memory" else "sqlite:store.db"
    tenants = "".join(PUBLIC.format(tenant=f"shop-{number}", anonymous="true") for number in range(100))
    gateway = start_shared_gateway(
        f'[store]\nurl = "{url}"\n[limits]\npresence_grace = 0\nvisitor_sessions = 1000\n{tenants}'
    )
    wait_until(lambda: gateway.http("/readyz")[0] == 200, "the store")
    return gateway


class Shop:
    """One tenant of a gateway, with its site."""

    def __init__(self, gateway: Any) -> None:
        self.gateway = gateway
        self.tenant = next(_tenants)
        self.clients: list[Any] = []

    def staff(self, role: str, user: str, query: str = "", **claims: Any) -> Any:
        """Connect a member of staff, and read the welcome."""
        client = self.gateway.connect(role, "/ws" + query, claims={"sub": user, "tenant_id": self.tenant, **claims})
        self.clients.append(client)
        return client

    def visitor(self, token: str | None = None, query: str = "") -> Any:
        """Connect a visitor as the widget does: without a token, or with that of its session."""
        path = f"/ws/public?tenant_id={quote(self.tenant)}{query}"
        headers = {"Origin": SITE} | ({} if token is None else {"Authorization": f"Bearer {token}"})
        client = self.gateway.open(path, additional_headers=headers)
        client.welcome = client.receive()
        self.clients.append(client)
        return client

    def widget(self, **headers: str) -> tuple[int, Any]:
        """Return what the gateway tells the widget."""
        return self.gateway.http(f"/ws/public/widget?tenant_id={quote(self.tenant)}", headers=headers)

    def publish(self, type_: str, **payload: Any) -> None:
        self.gateway.publish(type_, payload, tenant_id=self.tenant)

    def snapshot(self, client: Any) -> list[dict[str, Any]]:
        events = client.request("snapshot")["payload"]["events"]
        return [event for event in events if event["type"].startswith("chat.")]


@pytest.fixture
def shop(gateway: Any) -> Any:
    shop = Shop(gateway)
    yield shop
    for client in shop.clients:
        client.socket.close()


def outcome(answer: dict[str, Any]) -> str:
    """Return ``accepted`` or the code of an error."""
    return str(answer["payload"].get("code", answer["type"]))


def session_of(visitor: Any) -> str:
    return str(visitor.welcome["payload"]["session_id"])


def types_of(messages: list[dict[str, Any]]) -> list[str]:
    return [message["type"] for message in messages if message["type"].startswith("chat.")]


def start(visitor: Any, body: str = "hello", number: int = 1, **fields: Any) -> dict[str, Any]:
    answer: dict[str, Any] = visitor.request("chat.start", {"body": body, "client_message_id": f"c-{number}", **fields})
    return answer


def test_a_chat_begins_with_what_the_visitor_says_and_the_first_message(shop: Shop) -> None:
    boss, web = shop.staff("supervisor", "boss"), shop.staff("agent", "1", queues=["web"])
    sales = shop.staff("agent", "2", queues=["sales"])
    visitor = shop.visitor()
    session = session_of(visitor)
    answer = start(visitor, visitor_name=" Rui ", visitor_email="rui@example.org")
    assert answer["type"] == "accepted"
    started, message = boss.receive_type("chat.session.started"), boss.receive_type("chat.message")
    assert started["payload"] == {
        "session_id": session,
        "visitor_name": "Rui",
        "visitor_email": "rui@example.org",
        "queue_name": "web",
        "status": "waiting",
    }
    assert message["payload"] == {
        "session_id": session,
        "message_id": answer["payload"]["message_id"],
        "sender_id": f"visitor-{session}",
        "sender_type": "visitor",
        "body": "hello",
        "client_message_id": "c-1",
    }
    assert (message["id"], message["seq"]) == (answer["payload"]["id"], answer["payload"]["seq"])
    assert (answer["payload"]["session_id"], answer["payload"]["duplicate"]) == (session, False)
    assert types_of(web.received_before_pong()) == ["chat.session.started", "chat.message"]
    assert types_of(sales.received_before_pong()) == []
    # A repetition is answered with the first result, a further start adds its message.
    again = start(visitor, visitor_name="Another")
    assert again["payload"] == {**answer["payload"], "duplicate": True}
    assert outcome(start(visitor, "and", 2, visitor_name="Another")) == "accepted"
    shown = shop.snapshot(boss)
    assert [event["payload"].get("body") for event in shown] == [None, "hello", "and"]
    # The page of the visitor does not show its address again.
    own = shop.snapshot(visitor)
    assert types_of(own) == types_of(shown)
    assert "visitor_email" not in own[0]["payload"]
    assert outcome(visitor.request("chat.message", {"session_id": session, "body": "third"})) == "accepted"


def test_a_message_may_be_left_while_no_one_is_there(shop: Shop) -> None:
    boss = shop.staff("supervisor", "boss")
    assert (
        start(shop.visitor(), is_offline=True, visitor_email="rui@example.org", queue_name="vip")["type"] == "accepted"
    )
    started = boss.receive_type("chat.session.started")["payload"]
    assert (started["status"], started["queue_name"]) == ("offline_message", "vip")


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"queue_name": "board"}, "forbidden"),
    ({"body": ""}, "invalid_message"),
    ({"body": None}, "invalid_message"),
    ({"client_message_id": None}, "invalid_message"),
    ({"client_message_id": "x" * 256}, "invalid_message"),
    ({"visitor_name": "x" * 101}, "invalid_message"),
    ({"visitor_name": "Rui\n\x1b[31m"}, "invalid_message"),
    ({"visitor_name": 7}, "invalid_message"),
    ({"visitor_email": "rui"}, "invalid_message"),
    ({"visitor_email": "a@b\nBcc: c@d"}, "invalid_message"),
    *[({"visitor_email": f"a@b.c{end}"}, "invalid_message") for end in ("\n", "\0", ",d.e", ";d", ">", "\u202e")],
    ({"visitor_email": "Rui <rui@example.org>"}, "invalid_message"),
    ({"visitor_email": "x" * 251 + "@b.c"}, "invalid_message"),
    ({"is_offline": "yes"}, "invalid_message"),
)


def test_what_a_start_may_not_hold(shop: Shop) -> None:
    boss = shop.staff("supervisor", "boss")
    for fields, code in WRONG:
        visitor = shop.visitor()
        assert outcome(visitor.request("chat.start", {"body": "hello", "client_message_id": "c", **fields})) == code
        visitor.socket.close()
    visitor = shop.visitor()
    visitor.send("chat.start", {"body": "x" * 17_000, "client_message_id": "c"})
    assert visitor.close_code() == 1009
    assert types_of(boss.received_before_pong()) == []


def test_nothing_that_a_visitor_forges_is_taken(shop: Shop) -> None:
    boss, visitor, victim = shop.staff("supervisor", "boss"), shop.visitor(), shop.visitor()
    start(victim)
    forged = {
        "session_id": session_of(victim),
        "sender_type": "agent",
        "sender_id": "1",
        "agent_id": "1",
        "status": "x",
    }
    answer = start(visitor, "mine", **forged, private=True)
    assert answer["payload"]["session_id"] == session_of(visitor)
    messages = [message["payload"] for message in boss.received_before_pong() if message["type"].startswith("chat.")]
    assert [one["session_id"] for one in messages] == [session_of(victim)] * 2 + [session_of(visitor)] * 2
    assert messages[2].keys() == {"session_id", "queue_name", "status"}
    assert (messages[3]["sender_type"], messages[3]["sender_id"]) == ("visitor", f"visitor-{session_of(visitor)}")
    for type_, payload in (
        ("chat.end", {}),
        ("chat.delivered", {"message_id": "m"}),
        ("chat.message", {"body": "hi"}),
    ):
        answer = visitor.request(type_, {"session_id": session_of(victim), **payload})
        assert outcome(answer) == "forbidden"
    assert types_of(victim.received_before_pong()) == []


def test_receipts_are_for_staff_and_survive_in_snapshot_and_replay(shop: Shop) -> None:
    agent, other = shop.staff("agent", "1"), shop.staff("agent", "2")
    visitor = shop.visitor()
    session = session_of(visitor)
    start(visitor)
    shop.publish("chat.transferred", session_id=session, to_agent_id="1", agent_name="Ana")
    agent.receive_type("chat.transferred")
    position = agent.welcome["payload"]
    assert outcome(agent.request("chat.message", {"session_id": session, "body": "hi"})) == "accepted"
    message_id = visitor.receive_type("chat.message")["payload"]["message_id"]
    while visitor_body(message_id, visitor) != "hi":
        message_id = visitor.receive_type("chat.message")["payload"]["message_id"]
    report = {"session_id": session, "message_id": message_id}
    visitor.send("chat.delivered", report)
    assert agent.receive_type("chat.delivered")["payload"] == report
    # The same again is not published; the second of others within a second is refused.
    visitor.send("chat.delivered", report)
    answer = visitor.request("chat.delivered", {**report, "message_id": "next"})
    assert (outcome(answer), answer["payload"]["retry_after_ms"] <= 1000) == ("rate_limited", True)
    assert types_of(agent.received_before_pong()) == []
    assert "chat.delivered" not in types_of(other.received_before_pong())
    assert "chat.delivered" not in types_of(visitor.received_before_pong() + shop.snapshot(visitor))
    assert types_of(shop.snapshot(agent))[-1] == "chat.delivered"
    assert shop.snapshot(other) == []
    back = shop.staff("agent", "1", f"?epoch={position['epoch']}&seq={position['seq']}")
    replayed = []
    while (message := back.receive())["type"] != "resumed":
        replayed.append(message)
    assert types_of(replayed)[-1] == "chat.delivered"
    # Of an agent that the chat is transferred to it is the same.
    shop.publish("chat.transferred", session_id=session, to_agent_id="2", agent_name="Bea")
    other.receive_type("chat.transferred")
    assert "chat.delivered" in types_of(shop.snapshot(other))
    assert shop.snapshot(agent) == []


def visitor_body(message_id: str, visitor: Any) -> str:
    """Return the text of a message that the visitor sees."""
    events = visitor.request("snapshot")["payload"]["events"]
    return next(one["payload"]["body"] for one in events if one["payload"].get("message_id") == message_id)


def test_a_visitor_ends_its_chat_and_begins_another_one(shop: Shop) -> None:
    agent = shop.staff("agent", "1")
    visitor = shop.visitor()
    session, token = session_of(visitor), visitor.welcome["payload"]["session_token"]
    assert outcome(visitor.request("chat.end", {"session_id": session})) == "unknown_session"
    start(visitor)
    ended = visitor.request("chat.end", {"session_id": session})
    assert (ended["type"], ended["payload"]["session_id"]) == ("accepted", session)
    assert agent.receive_type("chat.session.ended")["payload"] == {"session_id": session, "ended_by": "visitor"}
    assert visitor.request("chat.end", {"session_id": session})["payload"]["duplicate"] is True
    assert shop.snapshot(agent) == shop.snapshot(visitor) == []
    # With its token the session comes back, and stays ended.
    back = shop.visitor(token)
    assert session_of(back) == session
    assert outcome(start(back, "again", 2)) == "unknown_session"
    for type_, payload in (("chat.message", {"body": "hi"}), ("chat.delivered", {"message_id": "m"})):
        assert outcome(back.request(type_, {"session_id": session, **payload})) == "unknown_session"
    # The first start is a repetition: it was published.
    assert start(back)["payload"]["duplicate"] is True
    # Without a token it is another session.
    fresh = shop.visitor()
    assert session_of(fresh) != session
    assert start(fresh, "a new question")["type"] == "accepted"
    assert [event["payload"]["session_id"] for event in shop.snapshot(agent)] == [session_of(fresh)] * 2


def test_where_a_daemon_closes_a_chat_its_visitor_is_told_and_may_begin_another(shop: Shop) -> None:
    visitor = shop.visitor()
    start(visitor)
    shop.publish("chat.session.ended", session_id=session_of(visitor), reason="solved", ended_by="1")
    assert visitor.receive_type("chat.session.ended")["payload"]["ended_by"] == "1"
    assert outcome(start(visitor, "again", 2)) == "unknown_session"
    assert start(shop.visitor())["type"] == "accepted"


def test_only_visitors_begin_and_end_chats_and_say_what_they_received(shop: Shop) -> None:
    agent, boss = shop.staff("agent", "1"), shop.staff("supervisor", "boss")
    for client in (agent, boss):
        assert outcome(start(client)) == "forbidden"
        for type_ in ("chat.end", "chat.delivered"):
            payload = {"session_id": "s", "message_id": "m"}
            assert outcome(client.request(type_, payload)) == "forbidden"


def test_a_widget_learns_whether_anyone_is_there(shop: Shop) -> None:
    status, answer = shop.widget(Origin=SITE)
    assert (status, answer["available"], answer["anonymous"]) == (200, False, True)
    assert (answer["widget"]["title"], answer["widget"]["queue_name"]) == ("Shop", "web")
    assert shop.widget(Origin="https://evil.example")[0] == 403
    shop.publish("agent.state.changed", user_id="1", username="ana", state="available")
    agent = shop.staff("agent", "1")
    wait_until(lambda: shop.widget()[1]["available"], "an agent who is there")
    agent.socket.close()
    wait_until(lambda: not shop.widget()[1]["available"], "no agent who is there")


def test_tenants_that_have_no_widget_are_not_told_apart(gateway: Any) -> None:
    answers = [gateway.http(f"/ws/public/widget?tenant_id={name}") for name in ("acme", "nowhere", "%2A")]
    assert {(status, answer["error"]["message"]) for status, answer in answers} == {
        (404, "this tenant has no chat widget")
    }


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_a_chat_that_is_left_is_ended_also_after_a_restart(
    request: pytest.FixtureRequest, start_gateway: Any, tmp_path: Any, store: str
) -> None:
    url = request.getfixturevalue("server").url if store == "redis" else f"sqlite:{tmp_path / 'idle.db'}"
    settings = f'[store]\nurl = "{url}"\nkey_prefix = "idle"\n[public]\nchat_idle = {{}}\n'
    settings += PUBLIC.format(tenant="shop", anonymous="true")
    gateway = start_gateway(settings.format(0))
    wait_until(lambda: gateway.http("/readyz")[0] == 200, "the store")
    shop = Shop(gateway)
    shop.tenant = "shop"
    left, offline = shop.visitor(), shop.visitor()
    start(left)
    start(offline, is_offline=True)
    gateway.stop()
    gateway = start_gateway(settings.format(1))
    wait_until(lambda: gateway.http("/readyz")[0] == 200, "the store")
    again = Shop(gateway)
    again.tenant = "shop"
    boss = again.staff("supervisor", "boss")
    # With the gateway of a Redis, it may have been ended before.
    wait_until(lambda: len(again.snapshot(boss)) == 2, "the end of the chat")
    assert {event["payload"]["session_id"] for event in again.snapshot(boss)} == {session_of(offline)}
    boss.socket.close()
