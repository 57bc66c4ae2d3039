"""Connecting with a subscription, a position and a snapshot, as the manual shows, with each store."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import CALLCENTER_WS, Process, wait_until
from raw_socket import RawPeer, frame, message
from websockets.exceptions import InvalidStatus

CALL = {"caller_id": "1", "destination": "800"}
PING, PONG = 9, 10


@pytest.fixture(scope="module", params=["memory", "sqlite", "redis"])
def gateway(request: pytest.FixtureRequest, start_shared_gateway: Any) -> Any:
    """A gateway with each of the stores."""
    if request.param == "redis":
        url = request.getfixturevalue("server").url
    else:
        url = "memory:" if request.param == "memory" else "sqlite:store.db"
    gateway = start_shared_gateway(f'[store]\nurl = "{url}"\n')
    wait_until(lambda: gateway.http("/readyz")[0] == 200, "the store")
    return gateway


_tenants = (f"tenant-{number}" for number in itertools.count())


class Desk:
    """One tenant of a gateway: publishes, and opens clients."""

    def __init__(self, gateway: Any, tenant: str) -> None:
        self.gateway = gateway
        self.tenant = tenant
        self.clients: list[Any] = []

    def call(self, queue: str, number: int = 1) -> int:
        """Publish an incoming call and return its position."""
        payload = {**CALL, "unique_id": f"{queue}-{number}", "queue_name": queue}
        return int(self.gateway.publish("call.incoming", payload, tenant_id=self.tenant)["seq"])

    def alert(self) -> dict[str, Any]:
        """Publish an alert and return the answer."""
        answer: dict[str, Any] = self.gateway.publish("alert", {"title": "t", "message": "m"}, tenant_id=self.tenant)
        return answer

    def connect(self, role: str, query: str = "", **claims: Any) -> Any:
        """Connect, and read the welcome."""
        path = f"/ws?{query}" if query else "/ws"
        claims = {"sub": "desk", **claims, "tenant_id": self.tenant}
        client = self.gateway.connect(role, path, claims=claims)
        self.clients.append(client)
        return client

    def refused(self, query: str, role: str = "service") -> int:
        """Return the HTTP status with which a handshake is refused."""
        token = self.gateway.token(role, tenant_id=self.tenant)
        with pytest.raises(InvalidStatus) as refused:
            self.gateway.raw_connect(f"/ws?{query}", additional_headers={"Authorization": f"Bearer {token}"})
        return refused.value.response.status_code


@pytest.fixture
def desk(gateway: Any) -> Iterator[Desk]:
    """A tenant for the test alone."""
    opened = Desk(gateway, next(_tenants))
    yield opened
    for client in opened.clients:
        client.socket.close()


def until(client: Any, type_: str) -> list[dict[str, Any]]:
    """Return the messages up to the next one of a type."""
    messages = [client.receive()]
    while messages[-1]["type"] != type_:
        messages.append(client.receive())
    return messages


def types(messages: list[dict[str, Any]]) -> list[str]:
    return [message["type"] for message in messages]


def test_a_service_resumes_by_the_url_and_subscribes_afterwards(desk: Desk) -> None:
    epoch = desk.alert()["epoch"]
    calls = [desk.call("sales", number) for number in range(5)]
    for _ in range(6):
        service = desk.connect("service", f"epoch={epoch}&seq=1")
        # Whatever time it takes: nothing is answered before the subscription.
        assert service.received_before_pong() == []
        service.send("subscribe", {"events": ["call.*"]})
        messages = until(service, "resumed")
        assert [message["seq"] for message in messages if "seq" in message] == calls
        assert messages[-1]["payload"]["count"] == len(calls)


def test_a_service_that_subscribes_late_is_sent_everything_since_its_welcome(desk: Desk) -> None:
    desk.alert()
    service = desk.connect("service")
    seqs = [desk.call("sales", number) for number in range(3)]
    assert service.request("subscribe", {"events": ["call.*"]})["payload"]["seq"] == 1
    seqs.append(desk.call("sales", 9))
    assert [service.receive_type("call.incoming")["seq"] for _ in range(4)] == seqs


@pytest.mark.parametrize("role", ["service", "supervisor", "agent"])
def test_events_and_queues_in_the_url(desk: Desk, role: str) -> None:
    epoch = desk.alert()["epoch"]
    desk.call("support")
    sales = desk.call("sales")
    client = desk.connect(role, f"epoch={epoch}&seq=0&snapshot=1&events=call.*,queue.*&queues=sales")
    messages = until(client, "snapshot")
    assert types(messages) == ["call.incoming", "resumed", "snapshot"]
    assert messages[0]["seq"] == sales
    assert [event["seq"] for event in messages[-1]["payload"]["events"]] == [sales]
    desk.call("support", 2)
    live = desk.call("sales", 2)
    assert client.receive()["seq"] == live
    subscribed = client.request("subscribe", {"queues": ["support"]})["payload"]
    assert (subscribed["events"], subscribed["queues"]) == (["call.*", "queue.*"], ["sales", "support"])
    assert subscribed["epoch"] == epoch and subscribed["seq"] >= live
    added = desk.call("support", 3)
    assert client.receive()["seq"] == added


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("events=no.such", "unknown_event"),
        ("events=call.*,no.such", "unknown_event"),
        ("events=*", "forbidden"),
        ("events=", "invalid_message"),
        ("events=call.*,,queue.*", "invalid_message"),
        ("events=call.*&queues=", "invalid_message"),
        ("events=" + "call.*," * 100 + "alert", "invalid_message"),
    ],
)
def test_what_subscribe_would_refuse_is_refused(desk: Desk, query: str, code: str) -> None:
    assert desk.refused(query) == (403 if code == "forbidden" else 400)
    token = desk.gateway.token("service", tenant_id=desk.tenant)
    client = desk.gateway.open(f"/ws?{query}", subprotocols=["callcenter.v1", f"bearer.{token}"])
    assert client.receive()["payload"]["code"] == code
    assert client.close_code() == 4500


def test_a_query_that_is_not_utf_8_is_refused(desk: Desk) -> None:
    assert desk.refused("events=call.*&queues=%ff") == 400


def test_a_client_that_authenticates_by_a_message_is_refused_too(desk: Desk) -> None:
    client = desk.gateway.open("/ws?events=no.such", subprotocols=["callcenter.v1"])
    client.send("auth", {"token": desk.gateway.token("service", tenant_id=desk.tenant)})
    assert client.receive()["payload"]["code"] == "unknown_event"
    assert client.close_code() == 4500


def test_a_list_may_be_given_in_parts(desk: Desk) -> None:
    client = desk.connect("service", "events=call.*&events=alert&queues=a&queues=b,c")
    subscribed = client.request("subscribe", {"events": ["alert"]})["payload"]
    assert (subscribed["events"], subscribed["queues"]) == (["call.*", "alert"], ["a", "b", "c"])


def test_a_position_and_a_snapshot_are_both_answered(desk: Desk) -> None:
    epoch = desk.alert()["epoch"]
    desk.call("sales")
    client = desk.connect("wallboard", f"epoch={epoch}&seq=1&snapshot=1&events=call.*,alert")
    messages = until(client, "snapshot")
    assert types(messages) == ["call.incoming", "resumed", "snapshot"]
    assert messages[-1]["payload"]["seq"] >= 2


def test_a_reset_brings_the_only_snapshot(desk: Desk) -> None:
    desk.call("sales")
    client = desk.connect("supervisor", "epoch=another&seq=1&snapshot=1&events=call.*")
    assert types(until(client, "snapshot")) == ["reset", "snapshot"]
    live = desk.call("sales", 2)
    assert client.receive()["seq"] == live


def test_an_extension_during_a_replay_is_made_after_it(desk: Desk) -> None:
    """A message that is sent with the handshake: it arrives while the replay runs, or before it begins."""
    token = desk.gateway.token("service", tenant_id="*")
    events = [
        {"tenant_id": desk.tenant, "type": type_, "payload": payload}
        for number in range(450)
        for type_, payload in (
            ("alert", {"title": "t", "message": "x" * 2_000}),
            ("call.incoming", {**CALL, "unique_id": str(number), "queue_name": "sales"}),
        )
    ]
    status, answer = desk.gateway.http("/ws/events", method="POST", token=token, body=events)
    assert status == 200
    client = desk.connect("supervisor", f"epoch={answer['results'][0]['epoch']}&seq=0&events=alert")
    client.send("subscribe", {"events": ["call.*"]})
    messages = until(client, "subscribed")
    assert types(messages)[-2:] == ["resumed", "subscribed"]
    assert set(types(messages)[:-2]) == {"alert"}
    assert messages[-2]["payload"]["count"] == len(messages) - 2 == 450
    # That the user is online may have been published meanwhile.
    assert messages[-1]["payload"]["seq"] >= messages[-2]["payload"]["to_seq"]


def test_mail_counts_as_delivered_only_by_the_pong_to_a_ping_behind_it(desk: Desk) -> None:
    """Input that arrived earlier, or that a client sends without having read, does not confirm the message."""
    note = {"type": "callback", "title": "Call back", "message": "soon"}

    def notify() -> None:
        desk.gateway.publish("notification", note, tenant_id=desk.tenant, user_id="desk")

    token = desk.gateway.token("agent", sub="desk", tenant_id=desk.tenant)
    with RawPeer(desk.gateway.port) as peer:
        assert peer.handshake(token=token)[0] == 101
        assert peer.read_message()["type"] == "welcome"
        notify()
        peer.send(frame(PING, b"mine") + message("ping") + frame(PONG, b"unsolicited"))
        # Delivery may follow the answer to the publisher, so that the order of the other frames is not known.
        frames = [peer.read_frame() for _ in range(4)]
        (mail,) = [number for number, (_, payload) in enumerate(frames) if b"Call back" in payload]
        (ping,) = [number for number, (opcode, _) in enumerate(frames) if opcode == PING]
        assert mail < ping
        assert (PONG, b"mine") in frames
    agent = desk.connect("agent")
    again = agent.receive()
    assert (again["type"], again["redelivered"]) == ("notification", True)
    # The library has answered the ping; it is read before the ping of this request.
    agent.received_before_pong()
    assert desk.connect("agent").received_before_pong() == []


def test_tail_resumes_with_its_events(desk: Desk, tmp_path: Path) -> None:
    epoch = desk.alert()["epoch"]
    calls = [desk.call("sales", number) for number in range(3)]
    file = tmp_path / "token"
    file.write_text(desk.gateway.token("service", tenant_id=desk.tenant))
    url = f"ws://127.0.0.1:{desk.gateway.port}/ws"
    arguments = ["--url", url, "--token-file", str(file), "--events", "call.*", "--resume", f"{epoch}:1"]
    tail = Process([*CALLCENTER_WS, "tail", *arguments, "--count", "3"])
    assert tail.wait() == 0
    printed = [json.loads(line) for line in tail.lines]
    assert [line["seq"] for line in printed if "seq" in line] == calls


def test_a_service_loses_nothing_while_events_are_published(desk: Desk) -> None:
    """It reconnects again and again, by each way that the manual shows, and sees every call once."""
    epoch, position = desk.alert()["epoch"], 1
    published: list[int] = []

    def publish() -> None:
        published.extend(desk.call("sales", number) for number in range(200))

    publisher = threading.Thread(target=publish)
    publisher.start()
    seen: list[int] = []
    turn = 0
    while publisher.is_alive() or not published or seen[-1:] != published[-1:]:
        in_url = turn % 2 == 0
        turn += 1
        service = desk.connect("service", f"epoch={epoch}&seq={position}" + ("&events=call.*" if in_url else ""))
        if not in_url:
            service.send("subscribe", {"events": ["call.*"]})
        for received in until(service, "resumed"):
            if "seq" in received:
                seen.append(received["seq"])
        position = received["payload"]["to_seq"]
        for received in service.received_before_pong():
            seen.append(received["seq"])
            position = received["seq"]
        service.socket.close()
    publisher.join()
    assert seen == published


# GET /ws/snapshot


def events_of(answer: Any) -> list[int]:
    return [event["seq"] for event in answer["events"]]


def test_the_state_over_http_equals_the_snapshot_message(desk: Desk) -> None:
    """For each role with the rights of its token, with events and queues; also without any client at this node."""
    sales, support = desk.call("sales"), desk.call("support")
    desk.gateway.publish(
        "alert", {"title": "t", "message": "m"}, tenant_id=desk.tenant, user_id="desk", event_id="mine"
    )
    claims: dict[str, Any] = {"sub": "desk", "tenant_id": desk.tenant}
    for role, query, more, expected in (
        ("supervisor", "", {}, [sales, support]),
        ("supervisor", "", {"queues": ["sales"]}, [sales]),
        ("agent", "queues=sales", {}, [sales]),
        ("agent", "queues=sales,support", {"queues": ["support"]}, [support]),
        ("wallboard", "events=call.*", {}, [sales, support]),
        ("wallboard", "events=alert", {}, []),
        ("service", "events=call.*&queues=support", {}, [support]),
    ):
        token = desk.gateway.token(role, **claims, **more)
        status, answer = desk.gateway.http(f"/ws/snapshot?{query}", token=token)
        assert status == 200
        calls = [event for event in answer["events"] if event["type"].startswith("call.")]
        assert [event["seq"] for event in calls] == expected
        if role == "wallboard" and calls:
            assert calls[0]["payload"]["caller_id"] == "***"
        client = desk.connect(role, f"snapshot=1&{query}", **more)
        payload = client.receive_type("snapshot")["payload"]
        assert payload.keys() == answer.keys() == {"epoch", "seq", "events"}
        assert payload["epoch"] == answer["epoch"]
        # Connecting has published that the user is online.
        assert [event for event in payload["events"] if event["type"].startswith("call.")] == calls
        client.socket.close()


def test_a_resume_continues_after_the_state_over_http(desk: Desk) -> None:
    desk.call("sales")
    token = desk.gateway.token("service", tenant_id="*")
    status, answer = desk.gateway.http(f"/ws/snapshot?tenant_id={desk.tenant}&events=call.*", token=token)
    assert (status, answer["seq"]) == (200, 1)
    later = desk.call("sales", 2)
    service = desk.connect("service", f"epoch={answer['epoch']}&seq={answer['seq']}&events=call.*")
    assert [message.get("seq") for message in until(service, "resumed")] == [later, None]


@pytest.mark.parametrize(
    ("role", "query", "status", "code"),
    [
        ("service", "", 400, "invalid_message"),
        ("service", "?queues=sales", 400, "invalid_message"),
        ("service", "?events=*", 403, "forbidden"),
        ("supervisor", "?events=no.such", 400, "unknown_event"),
        ("supervisor", "?events=", 400, "invalid_message"),
        ("supervisor", "?queues=%ff", 400, "invalid_message"),
        ("supervisor", "?tenant_id=another", 403, "forbidden"),
        ("agent", "?events=presence.changed", 403, "forbidden"),
        ("visitor", "", 403, "forbidden"),
        (None, "", 401, "unauthorized"),
    ],
)
def test_refused_requests_for_the_state(desk: Desk, role: str | None, query: str, status: int, code: str) -> None:
    token = None if role is None else desk.gateway.token(role, tenant_id=desk.tenant)
    refused, answer = desk.gateway.http(f"/ws/snapshot{query}", token=token)
    assert (refused, answer["error"]["code"]) == (status, code)


def test_a_token_for_all_tenants_must_name_one(desk: Desk) -> None:
    token = desk.gateway.token("admin", tenant_id="*")
    assert desk.gateway.http("/ws/snapshot", token=token)[0] == 400


def test_only_get_and_head_are_allowed_and_a_cookie_does_not_count(desk: Desk) -> None:
    token = desk.gateway.token("supervisor", tenant_id=desk.tenant)
    assert desk.gateway.http("/ws/snapshot", method="POST", token=token)[0] == 405
    assert desk.gateway.http("/ws/snapshot", method="HEAD", token=token) == (200, "")
    assert desk.gateway.http("/ws/snapshot", headers={"Cookie": f"session={token}"})[0] == 401
