"""The one door through which every event enters."""

from __future__ import annotations

from typing import Any

import pytest
from core_world import ACME, GLOBEX, REQUIRED, World, principal

from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import Origin
from callcenter_ws.events.principal import Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.testing import run

ALERT = REQUIRED["alert"]


def draft(**fields: Any) -> dict[str, Any]:
    return {"tenant_id": ACME, "type": "alert", "payload": ALERT, **fields}


def outcome(world: World, of: Any, **more: Any) -> PublishResult | Refusal:
    (only,) = run(world.broadcaster.publish_batch([of], **more))
    return only


def refusal(world: World, of: Any, **more: Any) -> Refusal:
    refused = outcome(world, of, **more)
    assert isinstance(refused, Refusal)
    return refused


class TestPublish:
    def test_answers_with_the_position(self, world: World) -> None:
        first, second = world.publish("alert"), world.publish("agent.login", tenant_id=GLOBEX)
        assert (first.seq, second.seq, first.duplicate) == (1, 1, False)
        assert world.publish("alert").seq == 2
        assert first.epoch == run(world.broker.position(ACME)).epoch

    def test_makes_an_id_that_sorts_by_time_where_none_is_given(self, world: World) -> None:
        assert world.publish("alert").event_id < world.publish("alert").event_id
        assert world.publish("alert", event_id="mine").event_id == "mine"

    def test_stamps_the_time_of_arrival_where_none_is_given(self, world: World) -> None:
        admin = world.connect(principal(Role.ADMIN))
        world.publish("alert")
        world.publish("alert", timestamp="2026-11-22T20:40:00+01:00")
        assert [m["timestamp"] for m in admin.events()] == ["2027-01-15T08:00:00.000Z", "2026-11-22T19:40:00.000Z"]

    def test_raises_what_is_wrong(self, world: World) -> None:
        with pytest.raises(Refusal) as raised:
            run(world.broadcaster.publish(ACME, "alert", {"title": "t"}))
        assert raised.value.message == "payload.message: required"

    def test_refuses_what_is_larger_than_the_limit(self, world: World) -> None:
        small = EventBroadcaster(world.broker, world.clock, max_payload_bytes=100)
        with pytest.raises(Refusal) as raised:
            run(small.publish(ACME, "alert", {**ALERT, "more": "x" * 100}))
        assert raised.value.code is ErrorCode.TOO_LARGE

    def test_is_refused_by_a_closed_store(self, world: World) -> None:
        run(world.broker.stop())
        with pytest.raises(Refusal) as raised:
            world.publish("alert")
        assert raised.value.code is ErrorCode.UNAVAILABLE

    def test_a_repeated_id_is_answered_with_the_first_position_and_published_once(self, world: World) -> None:
        admin = world.connect(principal(Role.ADMIN))
        first = world.publish("alert", event_id="e-1")
        world.publish("alert")
        again = world.publish("agent.login", event_id="e-1")
        assert (again.seq, again.epoch, again.duplicate) == (first.seq, first.epoch, True)
        assert [message["seq"] for message in admin.events()] == [1, 2]
        assert not world.publish("alert", event_id="e-1", tenant_id=GLOBEX).duplicate

    def test_a_repeated_id_is_a_new_event_after_five_minutes(self, world: World) -> None:
        world.publish("alert", event_id="e-1")
        world.clock.advance(299)
        assert world.publish("alert", event_id="e-1").duplicate
        world.clock.advance(2)
        world.publish("alert")
        assert not world.publish("alert", event_id="e-1").duplicate

    @pytest.mark.parametrize("origin", Origin)
    def test_keeps_where_it_came_from(self, world: World, origin: Origin) -> None:
        seen: list[Publication] = []
        world.hub.listen(seen.append)
        run(world.broadcaster.publish(ACME, "alert", ALERT, origin=origin))
        assert [message.event.origin for message in seen] == [origin]


class TestBatch:
    def test_one_bad_event_does_not_lose_the_others(self, world: World) -> None:
        bad: list[Any] = [
            None,
            [],
            "alert",
            5,
            {},
            draft(payload={}),
            draft(type="x"),
            draft(tenant_id=None),
            draft(x=1),
        ]
        drafts = [mixed for one in bad for mixed in (draft(), one)]
        outcomes = run(world.broadcaster.publish_batch(drafts))
        assert len(outcomes) == len(drafts)
        assert [seen.seq for seen in outcomes[::2] if isinstance(seen, PublishResult)] == list(range(1, len(bad) + 1))
        assert all(isinstance(seen, Refusal) for seen in outcomes[1::2])

    def test_events_of_several_tenants_keep_their_order(self, world: World) -> None:
        outcomes = run(
            world.broadcaster.publish_batch([draft(tenant_id=name) for name in (ACME, GLOBEX, ACME, GLOBEX)])
        )
        assert [seen.seq for seen in outcomes if isinstance(seen, PublishResult)] == [1, 1, 2, 2]

    def test_an_id_repeated_within_one_batch_is_published_once(self, world: World) -> None:
        first, second = run(world.broadcaster.publish_batch([draft(event_id="e"), draft(event_id="e")]))
        assert isinstance(first, PublishResult)
        assert isinstance(second, PublishResult)
        assert (first.seq, second.seq, second.duplicate) == (1, 1, True)

    def test_nothing_is_nothing(self, world: World) -> None:
        assert run(world.broadcaster.publish_batch([])) == []

    def test_an_unknown_field_is_named_shortly(self, world: World) -> None:
        refused = refusal(world, draft(**{"x" * 500: 1}))
        assert refused.code is ErrorCode.INVALID_EVENT
        assert refused.message == f"unknown field {'x' * 64!r}; extra fields belong into payload"

    @pytest.mark.parametrize("field", ["user_id", "event_id", "timestamp"])
    def test_null_stands_for_an_optional_field_that_is_absent(self, world: World, field: str) -> None:
        assert isinstance(outcome(world, draft(**{field: None})), PublishResult)


class TestAuthority:
    @pytest.mark.parametrize("named", [GLOBEX, "*", None, "", 5, [], "ACME"])
    def test_speaks_for_its_tenant_alone(self, world: World, named: Any) -> None:
        assert refusal(world, draft(tenant_id=named), authority=ACME).code is ErrorCode.FORBIDDEN
        assert isinstance(outcome(world, draft(), authority=ACME), PublishResult)

    def test_over_every_tenant_is_not_a_tenant(self, world: World) -> None:
        assert isinstance(outcome(world, draft(tenant_id=GLOBEX), authority="*"), PublishResult)
        assert refusal(world, draft(tenant_id="*"), authority="*").code is ErrorCode.FORBIDDEN


def test_the_intake_is_counted(world: World) -> None:
    run(
        world.broadcaster.publish_batch(
            [draft(event_id="e"), draft(event_id="e"), draft(), draft(type="x"), draft(payload=1)]
        )
    )
    intake = world.broadcaster.intake
    assert (intake.accepted, intake.duplicates) == (2, 1)
    assert intake.refused == {"unknown_event": 1, "invalid_event": 1}
