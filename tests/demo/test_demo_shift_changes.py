"""Actions in the shift of ``./demo --exchange``: calls that are hung up, and members that are paused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport

from callcenter_ws.bridge.asterisk.framing import parse_all
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.player import AmiPlayer, PlayerUser
from callcenter_ws.demo.shift import Shift, play_rounds
from callcenter_ws.testing import FakeClock

ROUND_SECONDS = 300


@pytest.fixture(scope="module")
def shift() -> Shift:
    return Shift.load()


class Client:
    """A client of a player that plays the shift."""

    def __init__(self, shift: Shift) -> None:
        self.clock = FakeClock()
        rights = frozenset({"reporting", "agent", "call"})
        self.player = AmiPlayer(self.clock, [PlayerUser("bridge", "secret", write=rights)])
        self.player.offers_challenge = False
        self._protocol, self._transport = self.player.buildProtocol(None), StringTransport()
        self._protocol.makeConnection(self._transport)  # type: ignore[arg-type] # a double of a transport
        self.seen: list[AmiMessage] = []
        self.act("Login", Username="bridge", Secret="secret")
        playing = Deferred.fromCoroutine(play_rounds(self.player, shift, self.clock))
        self.playing = playing.addErrback(lambda failure: None)

    def act(self, action: str, **headers: str) -> list[AmiMessage]:
        """Send an action, and return what it causes at once; the response is last."""
        lines = {"Action": action, **headers}
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.read()
        self._protocol.dataReceived(f"{text}\r\n".encode())
        return self.read()

    def read(self) -> list[AmiMessage]:
        found = parse_all(self._transport.value())
        self._transport.clear()
        self.seen += found
        return found

    def until(self, wanted: Callable[[AmiMessage], bool]) -> AmiMessage:
        for _ in range(2 * ROUND_SECONDS * 10):
            self.clock.advance(0.1)
            found = next(filter(wanted, self.read()), None)
            if found is not None:
                return found
        raise AssertionError("it never happens")

    def run(self, seconds: float) -> list[AmiMessage]:
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
        return self.read()

    def paused(self, interface: str) -> set[str]:
        state = self.player.state
        members = [state.member(queue, interface) for queue in state.queue_names]
        return {member["Paused"] for member in members if member is not None}


@pytest.fixture
def client(shift: Shift) -> Client:
    return Client(shift)


def _hung_up(client: Client) -> tuple[AmiMessage, list[AmiMessage]]:
    """Hang up the first call that can be, a second after an agent has answered it; return that, and what it caused."""
    for _ in range(20):
        answered = client.until(lambda message: message.name == "AgentConnect")
        client.run(1)
        caused = client.act("Hangup", Channel=answered.get("DestChannel"), Cause="16")
        if caused[-1].response == "Success":
            return answered, caused
        assert caused[-1].get("Message").startswith("The recorded call goes on") and len(caused) == 1
    raise AssertionError("no call can be hung up")


def test_the_actions_are_listed(client: Client) -> None:
    assert {"Hangup", "QueuePause"} <= client.act("ListCommands")[-1].headers.keys()
    other = AmiPlayer(client.clock, ())
    assert other.hang_up is None


def test_a_connected_call_ends_at_once(client: Client) -> None:
    answered, caused = _hung_up(client)
    uniqueid, agent = answered.get("Uniqueid"), answered.get("DestUniqueid")
    names = [message.name for message in caused]
    assert names[0] == "SoftHangupRequest" and caused[0].get("Uniqueid") == agent
    assert {message.get("Uniqueid") for message in caused if message.name == "Hangup"} == {uniqueid, agent}
    assert names.count("BridgeLeave") == 2 and "HangupRequest" not in names
    (complete,) = [message for message in caused if message.name == "AgentComplete"]
    assert (complete.get("TalkTime"), complete.get("Reason")) == ("1", "agent")
    now = f"{client.clock.time():.6f}"
    assert {message.get("Timestamp") for message in caused[:-1]} == {now}
    # Its recorded end does not come once more.
    later = client.run(ROUND_SECONDS / 2)
    assert not {uniqueid, agent} & {message.get("Uniqueid") for message in later}
    assert client.act("Hangup", Channel=answered.get("Channel"))[-1].get("Message") == "No such channel"


def test_its_devices_are_free(client: Client) -> None:
    answered, caused = _hung_up(client)
    states = [message for message in caused if message.get("Interface") == answered.get("Interface")]
    assert any(message.name == "QueueMemberStatus" and message.get("Status") == "1" for message in states)


def test_rounds_go_on_after_calls_were_hung_up(client: Client, shift: Shift) -> None:
    for _ in range(4):
        _hung_up(client)
    first = shift.events[0].message.name
    client.run(2 * ROUND_SECONDS)
    assert first and not client.playing.called
    balance: dict[str, int] = {}
    for message in client.seen:
        step = {"Newchannel": 1, "Hangup": -1}.get(message.name, 0)
        if step:
            balance[message.get("Uniqueid")] = balance.get(message.get("Uniqueid"), 0) + step
    assert set(balance.values()) <= {0, 1}
    assert sum(balance.values()) == client.player.state.call_count < 20


def test_a_paused_member_stays_so_until_a_recorded_call_rings_at_it(client: Client, shift: Shift) -> None:
    interface = shift.members[-1].message.get("Interface") or shift.members[-1].message.get("Location")
    client.run(1)
    caused = client.act("QueuePause", Interface=interface, Paused="true", Reason="lunch")
    assert caused[-1].response == "Success" and client.paused(interface) == {"1"}
    seen: list[AmiMessage] = []

    def rings(message: AmiMessage) -> bool:
        seen.append(message)
        return message.name == "AgentCalled" and message.get("Interface") == interface

    ring = client.until(rings)
    of_queue = [one for one in seen if one.get("Interface") == interface and one.get("Queue") == ring.get("Queue")]
    *before, unpaused, called = of_queue
    assert called is ring
    assert (unpaused.name, unpaused.get("Paused"), unpaused.get("PausedReason")) == ("QueueMemberPause", "0", "")
    assert {message.get("Paused") for message in before} <= {"1"}
    assert all(message.name == "QueueMemberStatus" for message in before)


def test_recorded_breaks_are_played_if_no_action_has_changed_them(client: Client) -> None:
    client.run(ROUND_SECONDS)
    pauses = [message for message in client.seen if message.name == "QueueMemberPause"]
    assert len(pauses) >= 50 and {message.get("Paused") for message in pauses} == {"0", "1"}
