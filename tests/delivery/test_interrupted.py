"""What clients are told when the store cannot go on from where it has delivered last."""

from __future__ import annotations

from typing import Any

import pytest
from core_stage import TENANT, SlowBroker, Socket, Stage

from callcenter_ws.errors import CloseCode
from callcenter_ws.interfaces import Position


def types(messages: list[dict[str, Any]]) -> list[str]:
    return [message["type"] for message in messages]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def notify(stage: Stage, user_id: str) -> None:
    note = {"type": "callback", "title": "Call back", "message": "now"}
    stage.publish("notification", note, user_id=user_id)


def lose_history(stage: Stage, events: int = 0, letter_for: str | None = None) -> str:
    """The store begins anew, with so many events that nobody here was shown, and maybe a letter."""
    broker = stage.broker.inner if isinstance(stage.broker, SlowBroker) else stage.broker
    broker._epoch = "another"
    broker._tenants.clear()
    deliver, broker._deliver = broker._deliver, lambda messages: None
    stage.alerts(events)
    if letter_for is not None:
        notify(stage, letter_for)
    broker._deliver = deliver
    stage.hub.interrupted(TENANT, Position("another", events + (letter_for is not None)))
    return "another"


def skip(stage: Stage, events: int) -> None:
    """The store has let go more than it delivered here."""
    broker = stage.broker
    deliver, broker._deliver = broker._deliver, lambda messages: None
    stage.alerts(events)
    broker._deliver = deliver
    broker._tenants[TENANT].stream.history.keep(0, 0)
    stage.hub.interrupted(TENANT, Position(stage.epoch, broker._tenants[TENANT].stream.history.head))


class TestLostHistory:
    def test_a_live_client_is_reset_once_and_goes_on(self, stage: Stage) -> None:
        stage.alerts(5)
        socket = stage.live()
        epoch = lose_history(stage, 2)
        reset, snapshot = socket.read()
        assert (reset["type"], reset["payload"]) == ("reset", {"reason": "epoch_changed", "epoch": epoch, "seq": 2})
        assert (snapshot["type"], snapshot["payload"]["seq"]) == ("snapshot", 2)
        stage.alerts(2)
        assert socket.seqs() == [3, 4]
        assert socket.read() == []

    def test_a_letter_that_came_meanwhile_comes_out_of_the_mailbox(self, stage: Stage) -> None:
        socket = stage.live(user_id="me")
        notify(stage, "me")
        (item,) = socket.read()
        assert item["seq"] == 1
        # At the same position of another history.
        lose_history(stage, letter_for="me")
        found = socket.read()
        assert types(found) == ["reset", "snapshot", "notification"]
        assert (found[2]["seq"], found[2]["offline"]) == (1, True)
        stage.alerts(1)
        assert socket.seqs() == [2]

    def test_what_waited_for_it_comes_before(self, stage: Stage) -> None:
        socket = stage.live()
        stage.alerts(2)
        lose_history(stage)
        assert types(socket.read()) == ["alert", "alert", "reset", "snapshot"]

    def test_a_client_in_the_middle_of_a_replay_is_reset_in_its_place(self) -> None:
        stage = Stage(slow=True, memory_events=5_000)
        stage.alerts(3_000)
        stage.settle(20)
        socket: Socket = stage.live()
        socket.say("resume", {"epoch": stage.epoch, "seq": 0}, id_="r-1")
        for _ in range(20):
            stage.clock.step()
        assert 0 < socket.client.position < 3_000
        lose_history(stage)
        stage.settle(50)
        found = socket.read()
        assert types(found)[-2:] == ["reset", "snapshot"]
        assert types(found).count("reset") == 1
        assert "resumed" not in types(found)
        stage.alerts(1)
        stage.settle(20)
        assert socket.seqs() == [1]

    def test_a_client_that_is_not_greeted_yet_is_in_the_new_one(self) -> None:
        stage = Stage(slow=True)
        socket = stage.connect()
        epoch = lose_history(stage)
        stage.settle(20)
        found = socket.read()
        assert (types(found), found[0]["payload"]["epoch"]) == (["welcome"], epoch)

    def test_a_blocked_client_is_reset_when_it_reads_again(self, stage: Stage) -> None:
        socket = stage.live()
        socket.client.pause()
        lose_history(stage)
        assert socket.read() == []
        socket.drain()
        assert types(socket.read()) == ["reset", "snapshot"]

    def test_a_tenant_without_clients_needs_nothing(self, stage: Stage) -> None:
        stage.hub.interrupted(TENANT, Position("another", 3))
        assert types(stage.connect().read()) == ["welcome"]


class TestSkipped:
    def test_a_live_client_is_told_of_the_gap_and_given_the_state(self, stage: Stage) -> None:
        stage.alerts(2)
        socket = stage.live()
        skip(stage, 3)
        gap, snapshot = socket.read()
        assert (gap["type"], gap["payload"]["from_seq"], gap["payload"]["to_seq"]) == ("gap", 3, 5)
        assert (snapshot["type"], snapshot["payload"]["seq"]) == ("snapshot", 5)
        stage.alerts(1)
        assert socket.seqs() == [6]


class TestInterest:
    def test_a_tenant_is_attached_for_clients_and_for_listeners(self, stage: Stage) -> None:
        calls: list[tuple[str, str]] = []
        stage.broker.attach = lambda name: calls.append(("attach", name))
        stage.broker.detach = lambda name: calls.append(("detach", name))
        heard: list[Any] = []
        stage.hub.listen(heard.append, TENANT)
        socket = stage.live()
        stage.hub.listen(print, "*")
        assert calls == [("attach", TENANT), ("attach", "*")]
        stage.hub.unlisten(heard.append)
        stage.hub.unlisten(heard.append)
        assert calls[2:] == []
        socket.client.lost(CloseCode.NORMAL)
        stage.hub.unlisten(print)
        assert calls[2:] == [("detach", TENANT), ("detach", "*")]
