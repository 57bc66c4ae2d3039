"""A user's mailbox, from one connection's side (PROTOCOL section 4.3)."""

from __future__ import annotations

from typing import Any

import pytest
from core_stage import TENANT, Socket, Stage

from callcenter_ws.broker import mailboxes as mailbox
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.errors import CloseCode
from callcenter_ws.events.principal import Role
from callcenter_ws.testing import run

NOTE = {"type": "x", "title": "t", "message": "m"}
USER = "7"


@pytest.fixture
def stage() -> Stage:
    return Stage()


def notify(stage: Stage, *event_ids: str, user_id: str = USER, **more: Any) -> None:
    for event_id in event_ids:
        stage.publish("notification", {**NOTE, **more}, user_id=user_id, event_id=event_id)


def waiting(stage: Stage, user_id: str = USER) -> list[str]:
    return [item.publication.event.event_id for item in run(stage.broker.mail(TENANT, user_id, 0, 2_000)).items]


def told(messages: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Identifier and marks of each message of the stream, and the names of the others."""
    return [
        (message["id"], message.get("offline", False), message.get("redelivered", False))
        if "seq" in message
        else (message["type"],)
        for message in messages
    ]


def connect(stage: Stage, *, ack: bool = False, user_id: str = USER, **more: Any) -> Socket:
    return stage.connect(options=ConnectOptions(ack=ack, **more), user_id=user_id)


def test_what_waits_comes_after_the_welcome_and_before_everything_else(stage: Stage) -> None:
    stage.alerts(2)
    notify(stage, "a", "b")
    stage.alerts(1)
    socket = connect(stage, epoch=stage.epoch, seq=1)
    messages = socket.read()
    assert [message["type"] for message in messages] == [
        "welcome", "notification", "notification", "alert", "alert", "resumed",
    ]  # fmt: skip
    assert [message.get("offline") for message in messages[1:]] == [True, True, None, None, None]
    assert messages[-1]["payload"]["count"] == 2
    assert "redelivered" not in messages[1]


def test_before_a_snapshot_too(stage: Stage) -> None:
    notify(stage, "a")
    assert told(connect(stage, snapshot=True).read()) == [("welcome",), ("a", True, False), ("snapshot",)]


def test_what_comes_while_one_is_here_is_not_marked(stage: Stage) -> None:
    socket = connect(stage)
    socket.read()
    notify(stage, "a")
    assert told(socket.read()) == [("a", False, False)]


def test_without_acknowledgements_a_sign_of_life_is_enough(stage: Stage) -> None:
    notify(stage, "a")
    socket = connect(stage)
    socket.read()
    notify(stage, "b")
    socket.read()
    assert waiting(stage) == ["a", "b"]
    socket.client.heard()
    assert waiting(stage) == []


def test_any_message_is_a_sign_of_life(stage: Stage) -> None:
    notify(stage, "a")
    socket = connect(stage)
    socket.read()
    socket.say("ping")
    assert waiting(stage) == []


def test_without_one_it_comes_again_and_says_so(stage: Stage) -> None:
    notify(stage, "a")
    first = connect(stage)
    first.read()
    first.client.lost(CloseCode.ABNORMAL)
    notify(stage, "b")
    assert told(connect(stage).read()) == [("welcome",), ("a", True, True), ("b", True, False)]


def test_what_was_not_written_is_not_there(stage: Stage) -> None:
    """A sign of life says nothing about what still waits in the outbox."""
    socket = connect(stage)
    socket.read()
    socket.client.pause()
    notify(stage, "a")
    stage.settle()
    socket.client.heard()
    socket.client.lost(CloseCode.ABNORMAL)
    assert waiting(stage) == ["a"]
    assert told(connect(stage).read()) == [("welcome",), ("a", True, False)]


def test_a_sign_of_life_on_a_blocked_socket_says_nothing(stage: Stage) -> None:
    socket = connect(stage)
    socket.read()
    socket.high_water = 10
    notify(stage, "a")
    stage.settle()
    assert "a" in [message.get("id") for message in socket.messages]
    socket.client.heard()
    assert waiting(stage) == ["a"]
    socket.drain()
    socket.client.heard()
    assert waiting(stage) == []


def test_who_acknowledges_is_taken_at_its_word(stage: Stage) -> None:
    notify(stage, "a", "b")
    socket = connect(stage, ack=True)
    socket.read()
    socket.say("ping")
    notify(stage, "c")
    socket.read()
    assert waiting(stage) == ["a", "b", "c"]
    socket.say("ack", {"ids": ["a", "c", "unknown"]})
    assert told(socket.read()) == []
    assert waiting(stage) == ["b"]
    assert told(connect(stage, ack=True).read()) == [("welcome",), ("b", True, True)]


def test_several_devices(stage: Stage) -> None:
    """Each that is here gets it; when one has it, nobody gets it again."""
    first, second = connect(stage, ack=True), connect(stage, ack=True)
    first.read(), second.read()
    notify(stage, "a")
    assert told(first.read()) == told(second.read()) == [("a", False, False)]
    second.say("ack", {"ids": ["a"]})
    assert told(connect(stage, ack=True).read()) == [("welcome",)]


def test_other_users_mail_is_theirs(stage: Stage) -> None:
    notify(stage, "a", user_id="8")
    assert told(connect(stage).read()) == [("welcome",)]
    connect(stage).say("ack", {"ids": ["a"]})
    assert waiting(stage, "8") == ["a"]


def test_a_visitor_of_the_same_name_neither_sees_nor_strikes_off(stage: Stage) -> None:
    notify(stage, "a")
    visitor = stage.connect(Role.VISITOR, ConnectOptions(ack=True), user_id=USER, session_id="s")
    assert told(visitor.read()) == [("welcome",)]
    visitor.say("ack", {"ids": ["a"]})
    assert waiting(stage) == ["a"]


def test_a_visitor_has_mail_too(stage: Stage) -> None:
    text = {"session_id": "s", "message_id": "m", "sender_id": "1", "sender_type": "agent", "body": "hi"}
    stage.publish("chat.message", text, user_id="v", event_id="a", persist=True)
    visitor = stage.connect(Role.VISITOR, ConnectOptions(ack=True), user_id="v", session_id="s")
    assert told(visitor.read()) == [("welcome",), ("a", True, False)]
    visitor.say("ack", {"ids": ["a"]})
    assert waiting(stage, "v") == []


def test_what_its_role_may_not_see_waits_for_another(stage: Stage) -> None:
    stage.publish("presence.changed", {"user_id": "9", "online": True}, user_id=USER, event_id="a", persist=True)
    agent = stage.connect(Role.AGENT, ConnectOptions(), user_id=USER)
    assert told(agent.read()) == [("welcome",)]
    agent.client.heard()
    assert told(connect(stage).read()) == [("welcome",), ("a", True, False)]


def test_it_comes_in_pieces_that_fit_the_outbox() -> None:
    stage = Stage(limits=Limits(outbox=4))
    notify(stage, *[str(number) for number in range(30)])
    socket = connect(stage)
    for _ in range(60):
        stage.settle()
        assert len(socket.client.outbox) <= 4
    assert [message["id"] for message in socket.read() if "seq" in message] == [str(number) for number in range(30)]


def test_a_slow_client_gets_its_mail_when_it_reads(stage: Stage) -> None:
    notify(stage, *[str(number) for number in range(600)])
    socket = stage.connect(options=ConnectOptions(), user_id=USER)
    socket.high_water = 5_000
    for _ in range(500):
        stage.settle()
        socket.drain()
    ids = [message["id"] for message in socket.messages if "seq" in message]
    assert ids == [str(number) for number in range(600)]


def test_what_fell_out_is_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "MAX_ITEMS", 3)
    notify(stage, *"abcde")
    messages = connect(stage, ack=True).read()
    assert told(messages) == [("welcome",), ("gap",), ("c", True, False), ("d", True, False), ("e", True, False)]
    assert messages[1]["payload"] == {"from_seq": 1, "to_seq": 2, "reason": "mailbox"}
    again = connect(stage, ack=True)
    assert told(again.read())[1] == ("gap",)
    again.say("ack", {"ids": ["c"]})
    assert told(connect(stage, ack=True).read())[1] == ("d", True, True)


def test_it_does_not_come_again_when_the_same_connection_resumes(stage: Stage) -> None:
    stage.alerts(1)
    notify(stage, "a")
    socket = connect(stage)
    socket.read()
    socket.say("resume", {"epoch": stage.epoch, "seq": 0}, id_=1)
    messages = socket.read()
    assert [message.get("seq") for message in messages] == [1, None]
    assert messages[-1]["payload"]["count"] == 1


def test_a_replay_counts_as_sent(stage: Stage) -> None:
    socket = connect(stage, ack=True)
    socket.read()
    notify(stage, "a")
    socket.client.lost(CloseCode.ABNORMAL)
    again = connect(stage, ack=True)
    again.read()
    again.say("resume", {"epoch": stage.epoch, "seq": 0})
    again.read()
    again.client.lost(CloseCode.ABNORMAL)
    assert told(connect(stage, ack=True).read()) == [("welcome",), ("a", True, True)]


def test_its_own_end_is_respected(stage: Stage) -> None:
    notify(stage, "a", expires_at="2027-01-15T08:00:30Z")
    assert stage.clock.time() == 1_800_000_000.0  # 2027-01-15T08:00:00Z
    stage.clock.advance(29)
    assert waiting(stage) == ["a"]
    stage.clock.advance(2)
    assert told(connect(stage).read()) == [("welcome",)]


def test_mailboxes_give_way_when_memory_is_short() -> None:
    stage = Stage(memory_bytes=100_000)
    for number in range(200):
        notify(stage, str(number), title="x" * 1_000)
        assert stage.broker.state()["memory_bytes"] <= 100_000 + 5_000
    left = waiting(stage)
    assert left == [str(number) for number in range(200 - len(left), 200)]
    assert len(left) > 20
    assert run(stage.broker.mail(TENANT, USER, 0, 1)).gap is not None
