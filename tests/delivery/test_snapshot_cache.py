"""A snapshot is prepared once for all who ask at the same position, and shows each what it may see."""

from __future__ import annotations

from typing import Any

import pytest
from core_stage import Stage

from callcenter_ws.events.principal import Role


def snapshot_of(client: Any, stage: Any) -> Any:
    client.client.receive(b'{"type": "snapshot"}')
    stage.clock.turn(5)
    return [message for message in client.take() if message["type"] == "snapshot"][-1]["payload"]


def call(stage: Any, type_: str, **fields: Any) -> None:
    stage.publish(type_, {"unique_id": "c1", "queue_name": "sales", **fields})


def test_those_who_see_the_same_are_written_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    call(stage, "call.incoming", caller_id="555", destination="100")
    written: list[bytes] = []
    clients = [stage.live() for _ in range(3)]
    for client in clients:
        monkeypatch.setattr(client, "write", written.append)
        client.client.receive(b'{"type": "snapshot"}')
    stage.clock.turn(5)
    assert len(written) == 3
    assert written[0] is written[1] is written[2]


def test_a_call_that_somebody_else_answered_does_not_ring_any_more() -> None:
    stage = Stage(agent_calls="own")
    answering = stage.live(user_id="a", role=Role.AGENT, queues=frozenset({"sales"}))
    other = stage.live(user_id="b", role=Role.AGENT, queues=frozenset({"sales"}))
    call(stage, "call.incoming", caller_id="555", destination="100")
    assert [event["type"] for event in snapshot_of(other, stage)["events"]] == ["call.incoming"]
    call(stage, "call.answered", agent_id="a")
    assert [event["type"] for event in snapshot_of(answering, stage)["events"]] == ["call.incoming", "call.answered"]
    assert snapshot_of(other, stage)["events"] == []


def test_what_a_client_did_not_ask_for_hides_nothing_that_it_did() -> None:
    stage = Stage()
    supervisor = stage.live(role=Role.SUPERVISOR)
    supervisor.client.receive(b'{"type": "subscribe", "payload": {"events": ["call.incoming"]}}')
    call(stage, "call.incoming", caller_id="555", destination="100")
    call(stage, "call.answered", agent_id="a")
    assert [event["type"] for event in snapshot_of(supervisor, stage)["events"]] == ["call.incoming"]


def test_a_ringing_that_one_user_was_told_of_ends_with_the_answer() -> None:
    stage = Stage(agent_calls="own")
    rung = stage.live(user_id="7", role=Role.AGENT)
    stage.publish("call.ringing", {"unique_id": "c1", "agent_id": "7"}, user_id="7")
    assert [event["type"] for event in snapshot_of(rung, stage)["events"]] == ["call.ringing"]
    call(stage, "call.answered", agent_id="8")
    assert snapshot_of(rung, stage)["events"] == []


def test_it_is_not_kept_for_longer_than_a_moment() -> None:
    stage = Stage()
    call(stage, "call.incoming", caller_id="555", destination="100")
    client = stage.live()
    assert len(snapshot_of(client, stage)["events"]) == 1
    stage.clock.advance(2)
    assert client.client.tenant.shared is None
    stage.clock.advance(90_000)
    assert snapshot_of(client, stage)["events"] == []
