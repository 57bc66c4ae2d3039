"""The manager interface of the demo's exchange: the bridge's own session gets its lists and events."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from callcenter_ws.bridge.asterisk.framing import parse_all
from callcenter_ws.bridge.asterisk.login import Credentials
from callcenter_ws.bridge.asterisk.loss import LostReason
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.session import AmiSession, SessionState
from callcenter_ws.bridge.asterisk.snapshot import AmiSnapshot
from callcenter_ws.demo.exchange_server import Exchange, ManagerFactory
from callcenter_ws.demo.shift import Shift

START = 2_000_000_000.0


class RecordingMachine:
    """Keeps what a session passes on."""

    def __init__(self) -> None:
        self.snapshots: list[AmiSnapshot] = []
        self.events: list[AmiMessage] = []

    def handle(self, message: AmiMessage, arrived: float) -> None:
        self.events.append(message)

    def synchronize(self, snapshot: AmiSnapshot, arrived: float) -> None:
        self.snapshots.append(snapshot)


class World:
    """An exchange that plays, and one connection to it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.exchange = Exchange(self.clock, Shift.load(), "bridge", "secret", lambda: START + self.clock.seconds())
        self.playing = Deferred.fromCoroutine(self.exchange.run())
        self.playing.addErrback(lambda failure: None)
        self.factory = ManagerFactory(self.exchange)
        self.machine = RecordingMachine()

    def connect(self, secret: str = "secret") -> AmiSession:  # noqa: S107 - of the tests
        protocol = self.factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        session = AmiSession(Credentials("bridge", secret), self.machine, "test")
        self.sides = (protocol, transport, session)
        self.converse()
        return session

    def converse(self) -> None:
        """Pass on bytes until neither side has more."""
        protocol, transport, session = self.sides
        while data := transport.value():
            transport.clear()
            session.feed(data)
            while session.step(START + self.clock.seconds()):
                pass
            protocol.dataReceived(session.take_output())

    def play(self, seconds: float) -> None:
        for _ in range(int(seconds * 10)):
            self.clock.advance(0.1)
            self.converse()


@pytest.fixture
def world() -> World:
    return World()


def test_a_session_is_synchronized(world: World) -> None:
    session = world.connect()
    assert (session.state, session.version) == (SessionState.LIVE, "22.10.1")
    (snapshot,) = world.machine.snapshots
    assert len(snapshot.queues) == 3 and len(snapshot.members) > 10
    assert list(snapshot.channels) == list(snapshot.bridges) == list(snapshot.entries) == []


def test_events_come_at_their_times(world: World) -> None:
    world.connect()
    world.play(1)
    assert world.machine.events == []
    world.play(30)
    names = {message.name for message in world.machine.events}
    assert {"Newchannel", "QueueCallerJoin", "AgentCalled", "AgentConnect"} <= names
    times = [float(message.get("Timestamp")) for message in world.machine.events]
    assert times[0] > START and times[-1] <= START + 31


def test_lists_fit_the_events_at_any_time(world: World) -> None:
    for _ in range(600):
        world.clock.advance(0.1)
    world.connect()
    (snapshot,) = world.machine.snapshots
    listed = {message.get("Uniqueid") for message in snapshot.channels}
    assert listed
    world.play(240)
    ended = {message.get("Uniqueid") for message in world.machine.events if message.name == "Hangup"}
    assert listed <= ended


def test_a_wrong_secret_is_refused(world: World) -> None:
    session = world.connect("wrong")
    assert session.loss is not None and session.loss.reason is LostReason.LOGIN_REFUSED
    world.play(30)
    assert world.machine.events == []


def test_nothing_but_a_login_is_answered_before_it(world: World) -> None:
    protocol = world.factory.buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    protocol.dataReceived(b"Action: QueueStatus\r\nActionID: 1\r\n\r\n")
    (answer,) = parse_all(transport.value())
    assert (answer.response, answer.get("Message")) == ("Error", "Permission denied")


def test_an_unknown_action_is_refused(world: World) -> None:
    world.connect()
    protocol, transport, _ = world.sides
    protocol.dataReceived(b"Action: Originate\r\n\r\n")
    (answer,) = parse_all(transport.value())
    assert answer.response == "Error"


def test_an_endless_action_closes_the_connection(world: World) -> None:
    world.connect()
    protocol, transport, _ = world.sides
    protocol.dataReceived(b"x" * 20_000)
    assert transport.disconnecting


def test_the_number_of_connections_is_limited(world: World) -> None:
    transports = [StringTransport() for _ in range(9)]
    for transport in transports:
        world.factory.buildProtocol(None).makeConnection(transport)
    assert [transport.disconnecting for transport in transports] == [False] * 8 + [True]
