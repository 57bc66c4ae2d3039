"""The work of one turn of the reactor on what HTTP peers send, whatever they send."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from http_world import HttpWorld, connect_to_site, request
from turn_reactor import TurnReactor
from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport

from callcenter_ws.http.first_bytes import FirstBytesProtocol
from callcenter_ws.http.http_connection import MIN_READ_BYTES, WRITE_TIMEOUT_SECONDS, GatewayChannel
from callcenter_ws.http.site import BoundedRequest
from callcenter_ws.runtime.peer_budget import BudgetLimits
from callcenter_ws.runtime.turns import UNITS_PER_TURN

READ = 65_536
"""Bytes that Twisted reads from a socket at once."""

MAX_REQUESTS_PER_TURN = 24
MAX_CHUNKS_PER_TURN = 1_200
MAX_HEADER_LINES_PER_TURN = 900
MAX_HANDSHAKES_PER_TURN = 22

PIPELINED = {path: (f"GET {path} HTTP/1.1\r\n\r\n".encode() * 4_000)[:READ] for path in ("/", "/ws/stats", "/livez")}
PIPELINED |= {
    "/metrics": (b"GET /metrics HTTP/1.1\r\n\r\n" * 4_000)[:READ],
    "POST": (b"POST /ws/events HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}" * 4_000)[:READ],
    "HEAD": (b"HEAD /nowhere HTTP/1.1\r\n\r\n" * 4_000)[:READ],
    "with a token": (request("GET", "/ws/stats", "agent:acme:u1") * 1_000)[:READ],
}


class Hostile:
    """A site, its peers, and a reactor whose turns the test runs."""

    def __init__(self, **fields: int) -> None:
        self.world = HttpWorld()
        self.reactor = TurnReactor()
        self.limits = self.world.site.limits = self.reactor.limits(
            self.world.clock, BudgetLimits(request_burst=100_000, **fields), requests_per_connection=300
        )

    def connect(self, ip: str = "192.0.2.7") -> tuple[Any, StringTransport]:
        transport = StringTransport(peerAddress=IPv4Address("TCP", ip, 40_000))
        connect_to_site(self.world.site, transport)
        return transport.protocol, transport


@pytest.fixture
def hostile() -> Hostile:
    return Hostile()


def count_calls(monkeypatch: pytest.MonkeyPatch, hostile: Hostile, owner: type, name: str) -> None:
    """Count the calls of a method as work, and nothing else."""
    original = getattr(owner, name)

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        hostile.reactor.work += 1
        return original(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, counted)


def receive(transport: StringTransport, data: bytes) -> None:
    transport.protocol.dataReceived(data)  # type: ignore[attr-defined]  # the current protocol


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Hostile:
    """Return a site whose work is the number of requests that were answered."""
    hostile = Hostile()
    count_calls(monkeypatch, hostile, BoundedRequest, "finish")
    return hostile


@pytest.mark.parametrize("kind", PIPELINED)
def test_pipelined_requests_are_answered_a_few_per_turn(requests: Hostile, kind: str) -> None:
    _, transport = requests.connect()
    receive(transport, PIPELINED[kind])
    assert requests.reactor.work <= 1
    assert transport.producerState == "paused"
    done = [*requests.reactor.turns_until_idle(requests.limits)]
    assert max(done) <= MAX_REQUESTS_PER_TURN
    assert requests.reactor.work == min(PIPELINED[kind].count(b"HTTP/1.1\r\n"), requests.limits.requests_per_connection)


@pytest.mark.parametrize("sockets", [10, 30, 300])
def test_many_sockets_do_no_more_in_a_turn_than_one(requests: Hostile, sockets: int) -> None:
    transports = [requests.connect()[1] for _ in range(sockets)]
    for transport in transports:
        receive(transport, PIPELINED["/"][:8_000])
    assert requests.reactor.work <= MAX_REQUESTS_PER_TURN
    for _ in range(sockets):
        assert requests.reactor.turn() <= MAX_REQUESTS_PER_TURN
    answers = [transport.value().count(b"HTTP/1.1 404") for transport in transports]
    assert min(answers) > 0
    assert max(answers) <= min(answers) + 2


def test_a_newcomer_of_another_network_is_answered_in_the_same_turn(requests: Hostile) -> None:
    for _ in range(300):
        receive(requests.connect()[1], PIPELINED["/"])
    for _ in range(20):
        requests.reactor.turn()
        _, newcomer = requests.connect("203.0.113.9")
        receive(newcomer, request("GET", "/livez"))
        assert b"HTTP/1.1 200" in newcomer.value()


def test_a_newcomer_of_the_same_network_waits_for_one_round_only(requests: Hostile) -> None:
    for _ in range(30):
        receive(requests.connect()[1], PIPELINED["/"])
    requests.reactor.turn()
    _, newcomer = requests.connect()
    receive(newcomer, request("GET", "/livez"))
    for _ in range(3):
        requests.reactor.turn()
    assert b"HTTP/1.1 200" in newcomer.value()


def test_a_network_that_makes_too_many_requests_is_refused_and_nothing_more_is_parsed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hostile = Hostile()
    hostile.limits = hostile.world.site.limits = hostile.reactor.limits(
        hostile.world.clock, BudgetLimits(request_burst=50)
    )
    count_calls(monkeypatch, hostile, BoundedRequest, "finish")
    _, transport = hostile.connect()
    # The files of the pages, as those of "/", are not counted.
    receive(transport, PIPELINED["HEAD"])
    assert max(hostile.reactor.turns_until_idle(hostile.limits)) <= MAX_REQUESTS_PER_TURN
    assert hostile.reactor.work == 51
    last = transport.value().rpartition(b"HTTP/1.1 ")[2].lower()
    assert last.startswith(b"429") and b"retry-after: 1" in last and b"connection: close" in last
    assert transport.disconnecting
    assert hostile.limits.refused == {"rate_limited": 1}
    # A request with a valid token is answered nevertheless, and so is monitoring on this machine.
    for ip, sent in (
        ("192.0.2.7", request("GET", "/ws/stats", "agent:acme:u1")),
        ("127.0.0.1", request("GET", "/readyz")),
    ):
        _, good = hostile.connect(ip)
        receive(good, sent)
        hostile.reactor.turn()
        assert b"HTTP/1.1 200" in good.value()


def test_monitoring_on_the_same_machine_is_never_counted(requests: Hostile) -> None:
    requests.limits = requests.world.site.limits = requests.reactor.limits(
        requests.world.clock, BudgetLimits(request_burst=1)
    )
    for path in ("/", "/livez", "/readyz", "/metrics") * 5:
        _, transport = requests.connect("127.0.0.1")
        receive(transport, request("GET", path))
        requests.reactor.turn()
        if path != "/":
            assert b"HTTP/1.1 200" in transport.value()


def test_tiny_chunks_are_parsed_a_few_per_turn(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    count_calls(monkeypatch, hostile, BoundedRequest, "handleContentChunk")
    transports = [hostile.connect()[1] for _ in range(10)]
    for transport in transports:
        head = b"POST /ws/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        receive(transport, (head + b"1\r\na\r\n" * 12_000)[:READ])
    assert hostile.reactor.work <= MAX_CHUNKS_PER_TURN
    assert max(hostile.reactor.turns_until_idle(hostile.limits)) <= MAX_CHUNKS_PER_TURN
    assert hostile.reactor.work > 10_000


def test_chunks_arrive_in_order_whatever_their_size(requests: Hostile) -> None:
    body = b" " * 3_000 + b'{"type": "alert", "payload": {"title": "a", "message": "b"}}'
    chunked = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    _, transport = requests.connect()
    head = request("POST", "/ws/events", "service:acme:s", Transfer_Encoding="chunked")
    receive(transport, head + chunked + request("GET", "/livez"))
    list(requests.reactor.turns_until_idle(requests.limits))
    assert transport.value().count(b"HTTP/1.1 200") == 2
    assert b'"seq":1' in transport.value()


def test_many_headers_are_parsed_a_few_per_turn(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    count_calls(monkeypatch, hostile, GatewayChannel, "lineReceived")
    head = b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * 98 + b"\r\n"
    for _ in range(20):
        receive(hostile.connect()[1], (head * 200)[:READ])
    assert hostile.reactor.work <= MAX_HEADER_LINES_PER_TURN
    assert max(hostile.reactor.turns_until_idle(hostile.limits)) <= MAX_HEADER_LINES_PER_TURN


def test_lines_of_a_head_that_never_ends_are_bounded(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    count_calls(monkeypatch, hostile, GatewayChannel, "lineReceived")
    for lines in (b"a:\r\n" * 16_000, b"a: b\r\n" + b" \r\n" * 16_000, b"\r\n" * 32_000):
        _, transport = hostile.connect()
        before = hostile.reactor.work
        receive(transport, b"GET / HTTP/1.1\r\n" + lines)
        list(hostile.reactor.turns_until_idle(hostile.limits))
        assert hostile.reactor.work - before <= 110


def test_first_bytes_are_parsed_a_few_per_turn(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    count_calls(monkeypatch, hostile, FirstBytesProtocol, "_receive")
    transports = [hostile.connect()[1] for _ in range(300)]
    for transport in transports:
        receive(transport, request("GET", "/livez"))
    assert hostile.reactor.work <= MAX_HANDSHAKES_PER_TURN
    assert max(hostile.reactor.turns_until_idle(hostile.limits)) <= MAX_HANDSHAKES_PER_TURN
    assert all(transport.value().count(b"HTTP/1.1 200") == 1 for transport in transports)


def test_a_peer_that_reads_no_answers_is_paused_and_then_aborted(requests: Hostile) -> None:
    _, transport = requests.connect()
    receive(transport, PIPELINED["/"])
    requests.reactor.turn()
    transport.producer.pauseProducing()  # type: ignore[union-attr]  # the transport's buffer is full
    list(requests.reactor.turns_until_idle(requests.limits))
    answered = requests.reactor.work
    for _ in range(10):
        requests.reactor.turn()
    assert requests.reactor.work == answered < 100
    assert not transport.disconnected
    requests.world.reactor.advance(WRITE_TIMEOUT_SECONDS)
    assert transport.disconnected


def test_a_peer_that_reads_at_last_is_answered_further(requests: Hostile) -> None:
    _, transport = requests.connect()
    receive(transport, PIPELINED["/"])
    requests.reactor.turn()
    transport.producer.pauseProducing()  # type: ignore[union-attr]  # the transport's buffer is full
    list(requests.reactor.turns_until_idle(requests.limits))
    transport.producer.resumeProducing()  # type: ignore[union-attr]
    list(requests.reactor.turns_until_idle(requests.limits))
    assert requests.reactor.work == requests.limits.requests_per_connection
    assert MIN_READ_BYTES > 0


def test_timers_run_in_every_turn(requests: Hostile) -> None:
    """A lease is renewed by a timer: between two of its calls there is at most the work of one turn."""
    renewed = []

    def renew() -> None:
        renewed.append(requests.reactor.work)
        requests.reactor.call_soon(renew)

    requests.reactor.call_soon(renew)
    for _ in range(30):
        receive(requests.connect()[1], PIPELINED["/"])
    for _ in range(100):
        requests.reactor.turn()
    assert len(renewed) == 100
    assert max(after - before for before, after in pairwise(renewed)) <= UNITS_PER_TURN


def test_a_large_body_uses_up_its_turn(hostile: Hostile) -> None:
    """Its events are validated at once; whoever else has sent something waits for a later turn."""
    _, transport = hostile.connect()
    body = b'{"type":"alert","payload":{"title":"t","message":"%b"}}' % (b"m" * 500_000)
    data = request("POST", "/ws/events", "service:acme:s1", body)
    for start in range(0, len(data), READ):
        receive(transport, data[start : start + READ])
    assert hostile.limits.turns.left < -UNITS_PER_TURN // 2 + 4
    hostile.world.clock.turn()
    assert b"HTTP/1.1 200" in transport.value()
