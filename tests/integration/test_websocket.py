"""WebSockets of a running gateway: messages, limits, resuming, slow readers, closing."""

from __future__ import annotations

import json
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from raw_socket import RawPeer, frame, message
from websockets.exceptions import InvalidStatus
from websockets.sync.client import unix_connect

SUBPROTOCOL = "callcenter.v1"
ALERT = {"title": "t", "message": "m"}


def publish_many(gateway: Any, count: int, padding: int = 0, tenant_id: str = "acme") -> int:
    """Publish alerts with numbers as titles; return the last seq."""
    last = 0
    for start in range(0, count, 500):
        events = [
            {"tenant_id": tenant_id, "type": "alert", "payload": {"title": str(number), "message": "x" * padding}}
            for number in range(start, min(count, start + 500))
        ]
        token = gateway.token("service", tenant_id="*")
        status, answer = gateway.http("/ws/events", method="POST", token=token, body=events)
        assert status == 200, answer
        last = answer["results"][-1]["seq"]
    return last


Connect = Callable[..., Any]


@pytest.fixture
def connect(gateway: Any) -> Iterator[Connect]:
    """Opens clients of the shared gateway, each for a user of its own; closes them after the test."""
    clients: list[Any] = []

    def open_client(role: str = "agent", path: str | None = None, **options: Any) -> Any:
        claims = {"sub": secrets.token_hex(8), **options.pop("claims", {})}
        clients.append(gateway.connect(role, path, claims=claims, **options))
        return clients[-1]

    yield open_client
    for client in clients:
        client.socket.close()


# Messages


def test_the_welcome_is_first_and_alone(connect: Connect) -> None:
    client = connect()
    assert client.welcome["tenant_id"] == "acme"
    assert client.received_before_pong() == []


def test_responses_name_the_request(connect: Connect) -> None:
    client = connect()
    for request_id in ("a", "ü" * 255, 7):
        client.send("ping", id=request_id)
        assert client.receive()["in_reply_to"] == request_id


def test_a_large_message_is_accepted(connect: Connect) -> None:
    client = connect()
    client.socket.send(json.dumps({"type": "ping", "id": "x", "payload": {"padding": "x" * 500_000}}))
    assert client.receive()["in_reply_to"] == "x"


def test_fragments_form_one_message(connect: Connect) -> None:
    client = connect()
    client.socket.send(iter(['{"type":', '"ping","id"', ':"in pieces"}']))
    assert client.receive()["in_reply_to"] == "in pieces"


def test_compression_in_both_directions(gateway: Any, connect: Connect) -> None:
    client, plain = connect(compression="deflate"), connect(compression=None)
    (extension,) = client.socket.protocol.extensions
    assert extension.name == "permessage-deflate"
    assert plain.socket.protocol.extensions == []
    client.socket.send(json.dumps({"type": "ping", "id": "x", "payload": {"padding": "x" * 500_000}}))
    assert client.receive()["in_reply_to"] == "x"
    last = publish_many(gateway, 200, padding=2_000)
    for reader in (client, plain):
        events = [reader.receive() for _ in range(200)]
        assert [event["seq"] for event in events] == list(range(last - 199, last + 1))
        assert {len(event["payload"]["message"]) for event in events} == {2_000}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "invalid_json"),
        ("", "invalid_json"),
        ("NaN", "invalid_json"),
        pytest.param("[" * 100_000, "invalid_json", id="deep"),
        ("[]", "invalid_message"),
        ("null", "invalid_message"),
        ("{}", "invalid_message"),
        ('{"type":1}', "invalid_message"),
        ('{"type":"ping","payload":7}', "invalid_message"),
        ('{"type":"ping","id":{}}', "invalid_message"),
        pytest.param(json.dumps({"type": "ping", "id": "x" * 256}), "invalid_message", id="long id"),
        ('{"type":"subscribe"}', "invalid_message"),
        ('{"type":"subscribe","payload":{"events":"call.*"}}', "invalid_message"),
        ('{"type":"subscribe","payload":{"events":[]}}', "invalid_message"),
        ('{"type":"subscribe","payload":{"events":["no.such"]}}', "unknown_event"),
        ('{"type":"resume","payload":{"epoch":"e","seq":-1}}', "invalid_message"),
        ('{"type":"resume","payload":{"epoch":"e","seq":1e300}}', "invalid_message"),
        ('{"type":"call.incoming","payload":{}}', "unknown_type"),
        ('{"type":"welcome"}', "unknown_type"),
        ('{"type":"auth","payload":{"token":"forged"}}', "unauthorized"),
        ('{"type":"chat.message","payload":{"session_id":"c"}}', "invalid_message"),
    ],
)  # fmt: skip
def test_an_invalid_message_gets_an_error_and_the_connection_stays_open(connect: Connect, text: str, code: str) -> None:
    client = connect(claims={"sub": "invalid"})
    observer = connect("supervisor", claims={"sub": "observer"})
    client.socket.send(text)
    error = client.receive()
    assert (error["type"], error["payload"]["code"]) == ("error", code)
    assert client.request("ping")["type"] == "pong"
    assert [m for m in observer.received_before_pong() if m["type"] != "presence.changed"] == []


def test_too_many_invalid_messages_close_the_connection(connect: Connect) -> None:
    client = connect(claims={"sub": "abuser"})
    for _ in range(21):
        client.socket.send("{")
    codes = [client.receive()["payload"]["code"] for _ in range(21)]
    assert codes == ["invalid_json"] * 21
    assert client.close_code() == 4501


def test_a_flood_is_rate_limited_then_closed(connect: Connect) -> None:
    client = connect(claims={"sub": "flooder"})
    for number in range(200):
        try:
            client.send("ping", id=number)
        except Exception:  # already closed by the gateway
            break
    answers = [client.receive() for _ in range(45)]
    assert [answer["type"] for answer in answers[:40]] == ["pong"] * 40
    limited = [answer for answer in answers if answer["type"] == "error"]
    assert limited[0]["payload"]["code"] == "rate_limited" and limited[0]["payload"]["retry_after_ms"] > 0
    assert client.close_code() == 4004


# Limits


def test_connections_per_user(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway("[limits]\nconnections_per_user = 2\n")
    first, _second = gateway.connect(), gateway.connect()
    with pytest.raises(InvalidStatus) as caught:
        gateway.connect()
    assert caught.value.response.status_code == 429
    assert int(caught.value.response.headers["Retry-After"]) > 0
    browser = gateway.raw_connect("/ws", subprotocols=[SUBPROTOCOL, f"bearer.{gateway.token()}"])
    error = json.loads(browser.recv(timeout=30))
    assert error["type"] == "error" and error["payload"]["retry_after_ms"] > 0
    # Not 4504: whether the others are alive is being asked.
    with pytest.raises(Exception, match="4006"):
        browser.recv(timeout=30)
    gateway.connect(claims={"sub": "other"})
    gateway.connect(claims={"tenant_id": "globex"})
    first.socket.close()
    gateway.connect()


def test_connections_per_address(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway("[limits]\nconnections_per_ip = 2\n")
    with RawPeer(gateway.port) as first, RawPeer(gateway.port) as second, RawPeer(gateway.port) as third:
        assert first.handshake(Sec_WebSocket_Protocol=SUBPROTOCOL)[0] == 101
        assert second.handshake(token=gateway.token())[0] == 101
        status, headers = third.handshake(token=gateway.token())
        assert status == 429 and int(headers["retry-after"]) > 0
        assert gateway.http("/livez")[0] == 200
        first.send(frame(8))
        assert first.read_close() == 1000
        first.read_end()
    gateway.connect()


# Resuming


def test_resuming_by_the_url_replays_missed_events_once_and_in_order(gateway: Any, connect: Connect) -> None:
    first = connect("supervisor", claims={"sub": "resumer", "tenant_id": "resume"})
    seen = publish_many(gateway, 3, tenant_id="resume")
    seqs = [first.receive_type("alert")["seq"] for _ in range(3)]
    first.socket.socket.close()
    last = publish_many(gateway, 600, tenant_id="resume")
    epoch = first.welcome["payload"]["epoch"]
    claims = {"sub": "resumer", "tenant_id": "resume"}
    again = connect("supervisor", f"/ws?epoch={epoch}&seq={seqs[-1]}", claims=claims)
    missed = []
    while (received := again.receive())["type"] != "resumed":
        missed.append(received["seq"])
    # Only presence events of the user may be in between.
    assert missed == sorted(set(missed)) and missed[0] == seen + 1
    assert set(range(last - 599, last + 1)) <= set(missed)
    payload = received["payload"]
    assert (payload["epoch"], payload["from_seq"], payload["to_seq"]) == (epoch, seqs[-1], last)
    assert payload["count"] == len(missed)
    live = publish_many(gateway, 1, tenant_id="resume")
    assert again.receive()["seq"] == live


@pytest.mark.parametrize(("epoch", "seq", "reason"), [("another", 0, "epoch_changed"), (None, 10**9, "ahead")])
def test_a_position_that_cannot_be_served(connect: Connect, epoch: str | None, seq: int, reason: str) -> None:
    known = connect().welcome["payload"]["epoch"]
    client = connect(path=f"/ws?epoch={epoch or known}&seq={seq}")
    reset = client.receive()
    assert (reset["type"], reset["payload"]["reason"]) == ("reset", reason)
    assert client.receive()["type"] == "snapshot"


def test_a_snapshot_by_the_url(connect: Connect) -> None:
    assert connect(path="/ws?snapshot=1").receive()["type"] == "snapshot"


# Slow readers


def read_until(peer: RawPeer, last: int) -> list[dict[str, Any]]:
    """Read messages until one with the seq ``last``, or a snapshot at it."""
    received = []
    while True:
        message_ = peer.read_message()
        received.append(message_)
        if message_.get("seq", message_["payload"].get("seq")) == last:
            return received


def test_a_slow_reader_delays_no_other_client_and_loses_nothing(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway("[store]\nmemory_events = 20000\n[limits]\nslow_timeout = 60\n")
    count = 4_000
    fast = gateway.connect("supervisor", claims={"sub": "fast"})
    with RawPeer(gateway.port, receive_buffer=4_096) as slow:
        assert slow.handshake(token=gateway.token("supervisor", sub="slow"))[0] == 101
        assert slow.read_message()["type"] == "welcome"
        seqs: list[int] = []

        def read() -> None:
            while len(seqs) < count:
                seqs.append(fast.receive_type("alert")["seq"])

        reader = threading.Thread(target=read)
        reader.start()
        last = publish_many(gateway, count, padding=3_000)
        reader.join(60)
        assert len(seqs) == count and seqs == sorted(set(seqs)) and seqs[-1] == last
        stats = gateway.http("/ws/stats", token=gateway.token("admin"))[1]
        assert stats["lagging"] == 1, stats
        received = [m for m in read_until(slow, last) if m["type"] != "presence.changed"]
        assert [m["type"] for m in received] == ["alert"] * count
        assert [m["payload"]["title"] for m in received] == [str(number) for number in range(count)]
        live = publish_many(gateway, 1)
        assert slow.read_message()["seq"] == live


def test_a_slow_reader_behind_the_history_gets_a_gap(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway("[store]\nmemory_events = 300\nhistory_events = 300\n[limits]\nslow_timeout = 60\n")
    with RawPeer(gateway.port, receive_buffer=4_096) as slow:
        assert slow.handshake(token=gateway.token("supervisor", sub="slow"))[0] == 101
        assert slow.read_message()["type"] == "welcome"
        last = publish_many(gateway, 4_000, padding=3_000)
        received = read_until(slow, last)
        types = [m["type"] for m in received]
        gap = received[types.index("gap")]
        assert types[types.index("gap") + 1] == "snapshot"
        seqs = [m["seq"] for m in received if "seq" in m]
        before = [seq for seq in seqs if seq < gap["payload"]["from_seq"]]
        assert before == list(range(before[0], gap["payload"]["from_seq"]))
        assert seqs == sorted(set(seqs))
        assert all(seq > gap["payload"]["to_seq"] for seq in seqs if seq not in before)
        assert gap["payload"]["reason"]


def test_the_configured_limits_apply(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway("[limits]\nping_interval = 20\noutbox = 8\n")
    assert gateway.connect("supervisor", claims={"sub": "first"}).welcome["payload"]["ping_interval"] == 20


def test_a_client_that_reads_nothing_is_closed(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway("[store]\nmemory_events = 20000\n[limits]\nslow_timeout = 1\npresence_grace = 0\n")
    # It connects first: on a slow machine the other one is closed while events are published.
    observer = gateway.connect("supervisor", claims={"sub": "observer"})
    assert observer.request("subscribe", {"events": ["presence.changed"]})["type"] == "subscribed"
    with RawPeer(gateway.port, receive_buffer=4_096) as stuck:
        assert stuck.handshake(token=gateway.token("supervisor", sub="stuck"))[0] == 101
        publish_many(gateway, 4_000, padding=3_000)
        while (change := observer.receive_type("presence.changed")["payload"])["user_id"] != "stuck" or change[
            "online"
        ]:
            pass
    gateway.stop()
    gateway.reader.join()
    assert gateway.log.count("4001 slow_consumer") == 1


# Closing


def test_sighup_closes_no_connection(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway()
    client = gateway.connect()
    gateway.process.send_signal(signal.SIGHUP)
    assert client.request("ping")["type"] == "pong"


def test_sigterm_closes_all_connections(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway("[limits]\ndrain_timeout = 9\n")
    clients = [gateway.connect(claims={"sub": f"u{number}"}) for number in range(3)]
    gateway.process.send_signal(signal.SIGTERM)
    delays = [client.receive_type("drain")["payload"]["reconnect_after_ms"] for client in clients]
    assert [client.close_code() for client in clients] == [4003] * 3
    # Spread over the timeout, after a tenth of it for the restart.
    assert sorted(delays) == [1_901, 4_901, 7_901]
    gateway.process.wait(30)
    gateway.reader.join()
    assert gateway.log.count("4003 draining") == 3


def test_an_unresponsive_peer_does_not_delay_stopping(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway()
    with RawPeer(gateway.port) as unresponsive, RawPeer(gateway.port) as unauthenticated:
        assert unresponsive.handshake(token=gateway.token())[0] == 101
        assert unauthenticated.handshake(Sec_WebSocket_Protocol=SUBPROTOCOL)[0] == 101
        # Wait until the tenant has been read from the file: a client that is drained before gets no welcome.
        assert unresponsive.read_message()["type"] == "welcome"
        gateway.process.send_signal(signal.SIGTERM)
        assert unresponsive.read_message()["type"] == "drain"
        assert unresponsive.read_close() == 4003
        unresponsive.send(message("ping"))
        gateway.process.wait(30)
        assert unresponsive.read_end() == b""


def test_a_peers_close_is_answered(connect: Connect) -> None:
    client = connect()
    client.socket.close(1000)
    assert client.socket.protocol.close_rcvd.code == 1000


def test_behind_a_proxy_on_a_unix_socket(start_gateway: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    listen = f'["tcp:0:interface=127.0.0.1", "unix:{path}"]'
    gateway = start_gateway("", "--set", f"web.listen={listen}")
    headers = {"Authorization": f"Bearer {gateway.token()}"}
    with unix_connect(str(path), "ws://gateway/ws", additional_headers=headers) as socket:
        assert json.loads(socket.recv(timeout=30))["type"] == "welcome"
