"""``GET /ws/snapshot``: written in pieces, within bounds (the content: integration/test_connecting_end_to_end.py)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from http_world import connect_to_site, request
from sample_events import ACME
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock as ReactorTime
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from world import World

from callcenter_ws.delivery import state_reader
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.snapshot_cache import EVENTS_PER_STEP
from callcenter_ws.delivery.snapshot_parts import FRAGMENT_BYTES
from callcenter_ws.delivery.state_reader import StateReader
from callcenter_ws.events.publication import Publication
from callcenter_ws.http import snapshot
from callcenter_ws.http.large_body import BodyWriting
from callcenter_ws.http.places import ResponseLimits
from callcenter_ws.http.responses import JsonNotFound
from callcenter_ws.http.site import GatewaySite
from callcenter_ws.http.snapshot import SnapshotResource

CALLS = 3_000
REQUEST = request("GET", "/ws/snapshot", f"supervisor:{ACME}:u1")


class Transport(StringTransport):
    """The gateway's side of a connection, which a test may let be full."""

    protocol: Any

    def __init__(self) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", "192.0.2.1", 40_000))
        self.pieces: list[bytes] = []
        self.is_full = False
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.pieces.append(data)
        super().write(data)
        if self.is_full and self.producer is not None:
            self.producer.pauseProducing()

    def abortConnection(self) -> None:  # noqa: N802 - Twisted's name
        self.aborted = True

    def writeSequence(self, data: Any) -> None:  # noqa: N802 - Twisted's name
        self.write(b"".join(data))

    @property
    def body(self) -> bytes:
        """The body of the only response, which is chunked."""
        _, _, rest = self.value().partition(b"\r\n\r\n")
        body = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        return body


class SnapshotWorld:
    """The resource in a site, and the parts of a gateway behind it."""

    def __init__(self, calls: int = CALLS) -> None:
        self.world = World(memory_events=10_000)
        for number in range(calls):
            self.world.publish("call.incoming", {"unique_id": str(number), "caller_name": "x" * 300})
        self.world.turn()
        root, ws = JsonNotFound(), JsonNotFound()
        root.putChild(b"ws", ws)
        hub = self.world.hub
        reader = StateReader(hub)
        writing = BodyWriting(self.world.clock, hub.slicer, hub.outgoing, hub.limits)
        self.resource = SnapshotResource(self.world.tokens, reader, writing)
        ws.putChild(b"snapshot", self.resource)
        self.time = ReactorTime()
        self.site = GatewaySite(root, self.time, authenticator=self.world.tokens)
        self.site.startFactory()

    def ask(self, *, full: bool = False, raw: bytes = REQUEST) -> Transport:
        """Send a request."""
        transport = Transport()
        transport.is_full = full
        connect_to_site(self.site, transport).dataReceived(raw)
        return transport


@pytest.fixture
def desk() -> Iterator[SnapshotWorld]:
    made = SnapshotWorld()
    yield made
    made.site.stopFactory()


def test_a_misspelled_parameter_is_refused(desk: SnapshotWorld) -> None:
    transport = desk.ask(raw=request("GET", "/ws/snapshot?event=call.*", f"supervisor:{ACME}:u1"))
    desk.world.turn()
    assert transport.value().startswith(b"HTTP/1.1 400 ")
    assert b"unknown parameter 'event'; did you mean events?" in transport.value()


def test_a_large_state_is_made_and_written_in_pieces(desk: SnapshotWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    examined = []
    in_turn: list[int] = []
    body = Publication.body
    monkeypatch.setattr(Publication, "body", lambda self, view: in_turn.append(1) or body(self, view))
    transport = desk.ask()
    assert transport.pieces == []
    largest = 0
    while desk.world.clock.step():
        largest = max(largest, len(in_turn))
        examined.append(len(in_turn))
        in_turn.clear()
    answer = json.loads(transport.body)
    assert [event["seq"] for event in answer["events"]] == list(range(1, CALLS + 1))
    assert (answer["epoch"], answer["seq"]) == (desk.world.epoch, CALLS)
    assert sum(examined) == CALLS
    assert max(len(piece) for piece in transport.pieces) < FRAGMENT_BYTES + 2_000
    # A turn takes 16 steps at most.
    assert 0 < largest <= 16 * (FRAGMENT_BYTES // 500)


def test_a_peer_that_does_not_read_costs_one_piece(desk: SnapshotWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = desk.ask(full=True)
    desk.world.turn()
    # The head and the first chunk at most.
    assert len(transport.value()) < 2 * FRAGMENT_BYTES
    before = len(transport.value())
    desk.world.turn()
    assert len(transport.value()) == before
    assert desk.world.hub.outgoing.peers == 1
    transport.is_full = False
    transport.protocol.resumeProducing()
    desk.world.turn()
    assert len(json.loads(transport.body)["events"]) == CALLS
    assert desk.world.hub.outgoing.peers == 0
    desk.world.clock.advance(100)
    assert not transport.aborted


def test_a_peer_that_reads_too_slowly_is_aborted(desk: SnapshotWorld) -> None:
    transport = desk.ask(full=True)
    desk.world.turn()
    desk.world.clock.advance(Limits().slow_timeout - 1)
    assert not transport.aborted
    # It has read one piece: less than the minimum of half a minute.
    desk.world.clock.advance(1)
    assert transport.aborted


def test_a_peer_that_disconnects_ends_the_work_and_frees_its_place(desk: SnapshotWorld) -> None:
    for _ in range(20):
        before, during = desk.ask(), desk.ask(full=True)
        desk.world.clock.step()
        before.protocol.connectionLost(Failure(ConnectionError()))
        desk.world.turn()
        during.protocol.connectionLost(Failure(ConnectionError()))
        desk.world.turn()
    assert len(desk.resource.places) == 0
    assert len(desk.world.hub.slicer) == 0


def test_the_number_of_responses_is_bounded(desk: SnapshotWorld) -> None:
    desk.resource.places.limits = ResponseLimits(process=6, tenant=4, user=2)

    def ask(user: str, tenant: str = ACME) -> str:
        transport = desk.ask(full=True, raw=request("GET", "/ws/snapshot", f"supervisor:{tenant}:{user}"))
        desk.world.turn()
        return "" if not transport.value() else transport.value().split(b"\r\n")[0].decode()

    answers = [ask("u1"), ask("u1"), ask("u1"), ask("u2"), ask("u2"), ask("u3")]
    assert [answer.split(" ")[1] for answer in answers] == ["200", "200", "503", "200", "200", "503"]
    for number in range(2):
        # Small states are sent at once, and free their places.
        assert ask(str(number), "globex").split(" ")[1] == "200"
    refused = desk.ask(raw=REQUEST)
    desk.world.turn()
    assert b"Retry-After: 5" in refused.value() and b"try_later" in refused.value()


def test_requests_at_the_same_position_share_what_they_see(
    desk: SnapshotWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Any] = []
    broker_snapshot = desk.world.broker.snapshot

    async def counted(tenant_id: str) -> Any:
        read.append(tenant_id)
        return await broker_snapshot(tenant_id)

    monkeypatch.setattr(desk.world.broker, "snapshot", counted)
    seen: list[Any] = []
    pieces = state_reader.snapshot_json
    monkeypatch.setattr(
        snapshot, "snapshot_json", lambda found, view, figures: seen.append(found) or pieces(found, view, figures)
    )
    client = desk.world.live()
    client.send("snapshot")
    desk.world.turn()
    for user in ("u1", "u2"):
        desk.ask(raw=request("GET", "/ws/snapshot", f"supervisor:{ACME}:{user}"))
        desk.world.turn()
    assert read == [ACME]
    assert seen[0].publications is seen[1].publications
    assert CALLS > EVENTS_PER_STEP


@pytest.mark.parametrize("query", ["queues=%00", "queues=%zz"])
def test_malformed_queues_are_refused(desk: SnapshotWorld, query: str) -> None:
    transport = desk.ask(raw=request("GET", f"/ws/snapshot?{query}", f"supervisor:{ACME}:u1"))
    desk.world.turn()
    assert transport.value().startswith(b"HTTP/1.1 400 ")
