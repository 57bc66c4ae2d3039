"""``GET /ws/statistics``: rights, bounds and forms; the figures are those of ``tests/statistics/test_report.py``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from broker_contract import A
from fold_samples import make_occurrence
from http_world import connect_to_site, request
from test_http_snapshot import Transport
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as ReactorTime
from twisted.python.failure import Failure
from world import World

from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.http import statistics
from callcenter_ws.http.large_body import BodyWriting
from callcenter_ws.http.places import ResponseLimits
from callcenter_ws.http.responses import JsonNotFound
from callcenter_ws.http.site import GatewaySite
from callcenter_ws.http.statistics import StatisticsResource
from callcenter_ws.statistics.checkpoint import take_changes
from callcenter_ws.statistics.fold import apply
from callcenter_ws.statistics.live import LiveFigures
from callcenter_ws.statistics.state import State
from callcenter_ws.statistics.store import FigurePosition, FigureWrite
from callcenter_ws.testing import run

PATH = "/ws/statistics"
EVENTS: Sequence[tuple[str, dict[str, Any]]] = (
    ("agent.login", {"user_id": "7", "username": "ada", "queues": ["sales"]}),
    ("agent.login", {"user_id": "8", "username": "bob", "queues": ["help"]}),
    ("queue.joined", {"unique_id": "c1", "queue_name": "sales"}),
    ("queue.joined", {"unique_id": "c2", "queue_name": "help"}),
)


class Policy:
    def __init__(self) -> None:
        self.is_on = True
        self.of_producers: set[str | None] = set()

    def is_enabled(self, tenant_id: str) -> bool:
        return self.is_on

    def takes_producers(self, tenant_id: str, queue_name: str | None) -> bool:
        return queue_name in self.of_producers


class StatisticsWorld:
    """The resource in a site, over the rows of a tenant in a memory store."""

    def __init__(self) -> None:
        self.world = World()
        self.policy = Policy()
        self.figures = self.world.broker.figures
        self.state = State()
        hub = self.world.hub
        writing = BodyWriting(self.world.clock, hub.slicer, hub.outgoing, hub.limits)
        root, ws = JsonNotFound(), JsonNotFound()
        root.putChild(b"ws", ws)
        resource = StatisticsResource(self.world.tokens, self.policy, self.figures, self.world.clock, writing)
        ws.putChild(b"statistics", resource)
        self.site = GatewaySite(root, ReactorTime(), authenticator=self.world.tokens)
        self.site.startFactory()

    @property
    def now(self) -> int:
        return round(self.world.clock.time() * 1000)

    def fold(self, events: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Fold events, and write the rows of it."""
        for type_, payload in events:
            self.world.publish("call.incoming", {"unique_id": "x"}, tenant_id=A)
            seq = self.state.seq + 1
            apply(self.state, make_occurrence(type_, payload, timestamp=self.now, received=self.now, seq=seq))
        head = run(self.world.broker.position(A))
        claim = run(self.figures.claim(A))
        live = LiveFigures(A).changes(self.state, self.now, epoch=head.epoch)
        position = FigurePosition(head.epoch, self.state.seq)
        write = FigureWrite(claim.fence, None, position, position.seq, take_changes(self.state), live)
        assert run(self.figures.write(A, write))

    def ask(self, query: str = "", token: str = f"supervisor:{A}:u1", method: str = "GET", **headers: str) -> Transport:
        transport = Transport()
        raw = request(method, PATH + query, token, **headers)
        connect_to_site(self.site, transport).dataReceived(raw)
        self.world.turn()
        return transport

    def read(self, query: str = "", **claims: Any) -> Any:
        return json.loads(self.ask(query, **claims).body)

    def names(self, query: str = "", **claims: Any) -> tuple[list[str], list[str], int]:
        """Return the queues and agents of a response, and the number of the tenant's intervals."""
        found = self.read(query, **claims)
        queues = [queue["queue_name"] for queue in found["queues"]]
        return queues, [agent["user_id"] for agent in found["agents"]], len(found["tenant"])

    def token(self, role: Role, user_id: str, *queues: str) -> str:
        """Return a token with a ``queues`` claim."""
        expires_at = self.world.clock.time() + 3600
        name = f"{role}-{user_id}-{'-'.join(queues)}"
        self.world.tokens.principals[name] = Principal(A, user_id, role, expires_at, 0.0, queues=frozenset(queues))
        return name


@pytest.fixture
def desk() -> Iterator[StatisticsWorld]:
    made = StatisticsWorld()
    made.fold(EVENTS)
    yield made
    made.site.stopFactory()


def error(transport: Transport) -> tuple[int, str, str]:
    head, _, body = transport.value().partition(b"\r\n\r\n")
    content = json.loads(body)["error"]
    return int(head.split(b" ")[1]), content["code"], content["message"]


def test_a_supervisor_reads_everything(desk: StatisticsWorld) -> None:
    found = desk.read()
    assert (found["tenant_id"], found["as_of_seq"], found["interval"]) == (A, 4, "day")
    assert found["epoch"] == run(desk.world.broker.position(A)).epoch
    assert desk.names() == (["help", "sales"], ["7", "8"], 1)
    sales = found["queues"][1]
    assert sales["now"]["calls_waiting"] == 1
    assert sales["now"]["agents"] == {"available": 1}
    assert sales["intervals"][0]["offered"] == 1
    assert found["agents"][0]["now"]["state"] == "available"


def test_the_wait_goes_on(desk: StatisticsWorld) -> None:
    desk.world.clock.advance(5)
    now = desk.read("?queue=sales")["queues"][0]["now"]
    assert now["longest_wait_time"] == 5


def test_who_reads_what(desk: StatisticsWorld) -> None:
    everything = (["help", "sales"], ["7", "8"], 1)
    for role in ("admin", "service"):
        assert desk.names(token=f"{role}:{A}:x") == everything
    assert desk.names(token=f"agent:{A}:7") == (["help", "sales"], ["7"], 1)
    assert desk.names(token=f"wallboard:{A}:w") == (["help", "sales"], [], 1)
    assert desk.names(token=desk.token(Role.SUPERVISOR, "s", "sales")) == (["sales"], ["7"], 0)
    assert desk.names(token=desk.token(Role.WALLBOARD, "w", "help")) == (["help"], [], 0)
    assert desk.names(token=desk.token(Role.AGENT, "7", "help")) == (["help"], ["7"], 0)
    assert error(desk.ask(token=f"visitor:{A}:v"))[1] == "forbidden"


def test_names_that_the_reader_may_not_see_are_refused(desk: StatisticsWorld) -> None:
    supervisor = desk.token(Role.SUPERVISOR, "s", "sales")
    assert error(desk.ask("?queue=help", token=supervisor))[:2] == (403, "forbidden")
    assert error(desk.ask("?agent=8", token=f"agent:{A}:7"))[:2] == (403, "forbidden")
    assert error(desk.ask("?agent=7", token=f"wallboard:{A}:w"))[:2] == (403, "forbidden")
    assert desk.names("?agent=7", token=f"agent:{A}:7") == ([], ["7"], 0)
    # Agents of other queues are as unknown as those that do not exist.
    assert desk.names("?agent=8", token=supervisor) == ([], [], 0)
    assert error(desk.ask("?tenant_id=other"))[:2] == (403, "forbidden")


def test_names_choose_the_parts_of_a_response(desk: StatisticsWorld) -> None:
    assert desk.names("?queue=sales&queue=none") == (["none", "sales"], [], 0)
    assert desk.names("?queue=sales&agent=8") == (["sales"], ["8"], 0)


def test_csv_by_accept(desk: StatisticsWorld) -> None:
    transport = desk.ask(Accept="text/csv")
    assert b"Content-Type: text/csv; charset=utf-8" in transport.value()
    lines = transport.body.decode().split("\r\n")
    assert lines[0].startswith("part,name,start,minutes,offered,")
    assert [line.split(",")[:2] for line in lines[1:-1]] == [
        ["queues", "help"],
        ["queues", "sales"],
        ["agents", "7"],
        ["agents", "8"],
        ["tenant", ""],
    ]
    for accept in ("*/*", "application/json, text/csv;q=0.5", "text/csv;q=0", "text/csv;q=x"):
        assert json.loads(desk.ask(Accept=accept).body)["tenant_id"] == A


def test_what_is_wrong_with_a_request(desk: StatisticsWorld) -> None:
    assert error(desk.ask("?interval=5"))[1:] == ("invalid_message", "interval: expected one of 15, 30, 60, day")
    assert error(desk.ask("?queues=sales"))[2] == "unknown parameter 'queues'; did you mean queue?"
    assert error(desk.ask("?from=2026-01-01&from=2026-01-02"))[2] == "from: given more than once"
    assert error(desk.ask("?queue="))[1] == "invalid_message"
    assert error(desk.ask("?" + "&".join(f"queue=q{number}" for number in range(101))))[2] == "queue: at most 100 names"
    assert error(desk.ask(token="admin:*:x"))[1] == "invalid_message"
    assert desk.names("?tenant_id=" + A, token="admin:*:x")[0] == ["help", "sales"]


def test_a_tenant_without_statistics(desk: StatisticsWorld) -> None:
    desk.policy.is_on = False
    assert error(desk.ask())[:2] == (404, "statistics_off")


def test_a_tenant_of_which_nothing_was_folded(desk: StatisticsWorld) -> None:
    found = desk.read(token="supervisor:new:u1")
    assert (found["epoch"], found["as_of_seq"], found["queues"], found["agents"]) == ("", 0, [], [])


def test_the_plus_of_an_offset_may_be_plain(desk: StatisticsWorld) -> None:
    day = desk.read()["from"][:10]
    found = desk.read(f"?from={day}T00:00:00+00:00&interval=15")
    assert found["from"] == f"{day}T00:00:00+00:00"


def test_large_responses_are_refused(desk: StatisticsWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "MAX_INTERVALS", 4)
    assert error(desk.ask())[:2] == (413, "too_large")
    assert desk.names("?queue=sales") == (["sales"], [], 0)
    monkeypatch.setattr(statistics, "MAX_DAY_ROWS", 1)
    assert error(desk.ask())[:2] == (413, "too_large")


def test_responses_at_the_same_time_are_bounded(desk: StatisticsWorld) -> None:
    limits = ResponseLimits(process=8, tenant=4, user=1)
    desk.site.resource.children[b"ws"].children[b"statistics"].places.limits = limits
    waiting = Transport()
    waiting.is_full = True
    connect_to_site(desk.site, waiting).dataReceived(request("GET", PATH, f"supervisor:{A}:u1"))
    assert error(desk.ask())[1] == "try_later"
    assert desk.names(token=f"supervisor:{A}:u2")[2] == 1


def test_a_response_that_is_prepared_keeps_its_place_after_a_disconnection(
    desk: StatisticsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = desk.site.resource.children[b"ws"].children[b"statistics"].places
    reading: Deferred[None] = Deferred()
    live = desk.figures.live

    async def live_later(tenant_id: str) -> Any:
        await reading
        return await live(tenant_id)

    monkeypatch.setattr(desk.figures, "live", live_later)
    desk.ask().protocol.connectionLost(Failure(ConnectionError()))
    desk.world.turn()
    assert len(places) == 1
    reading.callback(None)
    desk.world.turn()
    assert len(places) == 0


def test_rows_that_change_while_they_are_read_are_read_once_more(
    desk: StatisticsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, read = desk.figures.live, []

    async def live_later(tenant_id: str) -> Any:
        read.append(tenant_id)
        if len(read) == 1:
            found = await desk.figures.head(A, ("fold",))
            position = FigurePosition(found.position.epoch, found.position.seq)
            desk.world.publish("call.incoming", {"unique_id": "x"}, tenant_id=A)
            write = FigureWrite(0, position, FigurePosition(position.epoch, position.seq + 1), position.seq)
            assert await desk.figures.write(A, write)
        return await live(tenant_id)

    monkeypatch.setattr(desk.figures, "live", live_later)
    assert desk.names()[2] == 1
    assert len(read) == 2


def test_the_head_of_a_response(desk: StatisticsWorld) -> None:
    assert desk.ask(method="HEAD").value().startswith(b"HTTP/1.1 200 OK")
