"""EventBroadcaster: validation of published events, and their outcomes."""

from __future__ import annotations

from typing import Any

import pytest
from sample_events import ACME, GLOBEX, REQUIRED, principal
from world import World

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


def outcome(world: World, event: Any, **options: Any) -> PublishResult | Refusal:
    (result,) = run(world.broadcaster.publish_batch([event], **options))
    return result


def refusal(world: World, event: Any, **options: Any) -> Refusal:
    refused = outcome(world, event, **options)
    assert isinstance(refused, Refusal)
    return refused


class TestPublish:
    def test_returns_the_position(self, world: World) -> None:
        first, second = world.publish("alert"), world.publish("agent.login", tenant_id=GLOBEX)
        assert (first.seq, second.seq, first.duplicate) == (1, 1, False)
        assert world.publish("alert").seq == 2
        assert first.epoch == run(world.broker.position(ACME)).epoch

    def test_an_event_without_an_id_is_given_one_that_sorts_by_time(self, world: World) -> None:
        assert world.publish("alert").event_id < world.publish("alert").event_id
        assert world.publish("alert", event_id="mine").event_id == "mine"

    def test_an_event_without_a_timestamp_is_given_the_time_of_arrival(self, world: World) -> None:
        admin = world.live(principal(Role.ADMIN))
        world.publish("alert")
        world.publish("alert", timestamp="2026-11-22T20:40:00+01:00")
        assert [m["timestamp"] for m in admin.events()] == ["2027-01-15T08:00:00.000Z", "2026-11-22T19:40:00.000Z"]

    def test_an_invalid_payload_is_refused_with_the_path_of_the_field(self, world: World) -> None:
        with pytest.raises(Refusal) as raised:
            run(world.broadcaster.publish(ACME, "alert", {"title": "t"}))
        assert raised.value.message == "payload.message: required"

    def test_a_payload_above_the_limit_is_refused(self, world: World) -> None:
        broadcaster = EventBroadcaster(world.broker, world.clock, max_payload_bytes=100)
        with pytest.raises(Refusal) as raised:
            run(broadcaster.publish(ACME, "alert", {**ALERT, "more": "x" * 100}))
        assert raised.value.code is ErrorCode.TOO_LARGE

    def test_an_event_is_refused_when_the_store_is_closed(self, world: World) -> None:
        run(world.broker.stop())
        with pytest.raises(Refusal) as raised:
            run(world.broadcaster.publish(ACME, "alert", REQUIRED["alert"]))
        assert raised.value.code is ErrorCode.UNAVAILABLE

    def test_a_repeated_id_returns_the_first_position_and_is_published_once(self, world: World) -> None:
        admin = world.live(principal(Role.ADMIN))
        first = world.publish("alert", event_id="e-1")
        world.publish("alert")
        repeated = world.publish("agent.login", event_id="e-1")
        assert (repeated.seq, repeated.epoch, repeated.duplicate) == (first.seq, first.epoch, True)
        assert admin.seqs() == [1, 2]
        assert not world.publish("alert", event_id="e-1", tenant_id=GLOBEX).duplicate

    def test_a_repeated_id_is_a_new_event_after_five_minutes(self, world: World) -> None:
        world.publish("alert", event_id="e-1")
        world.clock.advance(299)
        assert world.publish("alert", event_id="e-1").duplicate
        world.clock.advance(2)
        world.publish("alert")
        assert not world.publish("alert", event_id="e-1").duplicate

    @pytest.mark.parametrize("origin", Origin)
    def test_the_origin_is_passed_to_listeners(self, world: World, origin: Origin) -> None:
        received: list[Publication] = []
        world.hub.listen(received.append)
        run(world.broadcaster.publish(ACME, "alert", ALERT, origin=origin))
        assert [publication.event.origin for publication in received] == [origin]


class TestBatch:
    def test_an_invalid_event_does_not_affect_the_others(self, world: World) -> None:
        invalid: list[Any] = [
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
        drafts = [event for wrong in invalid for event in (draft(), wrong)]
        outcomes = run(world.broadcaster.publish_batch(drafts))
        assert len(outcomes) == len(drafts)
        seqs = [outcome.seq for outcome in outcomes[::2] if isinstance(outcome, PublishResult)]
        assert seqs == list(range(1, len(invalid) + 1))
        assert all(isinstance(outcome, Refusal) for outcome in outcomes[1::2])

    def test_events_of_several_tenants_keep_their_order(self, world: World) -> None:
        outcomes = run(
            world.broadcaster.publish_batch([draft(tenant_id=name) for name in (ACME, GLOBEX, ACME, GLOBEX)])
        )
        assert [outcome.seq for outcome in outcomes if isinstance(outcome, PublishResult)] == [1, 1, 2, 2]

    def test_an_id_repeated_within_one_batch_is_published_once(self, world: World) -> None:
        first, second = run(world.broadcaster.publish_batch([draft(event_id="e"), draft(event_id="e")]))
        assert isinstance(first, PublishResult)
        assert isinstance(second, PublishResult)
        assert (first.seq, second.seq, second.duplicate) == (1, 1, True)

    def test_an_empty_batch_has_no_outcomes(self, world: World) -> None:
        assert run(world.broadcaster.publish_batch([])) == []

    def test_the_name_of_an_unknown_field_is_truncated(self, world: World) -> None:
        refused = refusal(world, draft(**{"x" * 500: 1}))
        assert refused.code is ErrorCode.INVALID_EVENT
        assert refused.message == f"unknown field {'x' * 64!r}; additional fields belong in the payload"

    @pytest.mark.parametrize("field", ["user_id", "event_id", "timestamp"])
    def test_null_in_an_optional_field_is_accepted(self, world: World, field: str) -> None:
        assert isinstance(outcome(world, draft(**{field: None})), PublishResult)


class TestAuthority:
    @pytest.mark.parametrize("tenant_id", [GLOBEX, "*", None, "", 5, [], "ACME"])
    def test_an_authority_covers_one_tenant(self, world: World, tenant_id: Any) -> None:
        assert refusal(world, draft(tenant_id=tenant_id), authority=ACME).code is ErrorCode.FORBIDDEN
        assert isinstance(outcome(world, draft(), authority=ACME), PublishResult)

    def test_the_wildcard_authority_covers_each_tenant_but_is_no_tenant(self, world: World) -> None:
        assert isinstance(outcome(world, draft(tenant_id=GLOBEX), authority="*"), PublishResult)
        assert refusal(world, draft(tenant_id="*"), authority="*").code is ErrorCode.FORBIDDEN


def test_outcomes_are_counted(world: World) -> None:
    run(
        world.broadcaster.publish_batch(
            [draft(event_id="e"), draft(event_id="e"), draft(), draft(type="x"), draft(payload=1)]
        )
    )
    counters = world.broadcaster.counters
    assert (counters.accepted, counters.duplicates) == (2, 1)
    assert counters.refused == {"unknown_event": 1, "invalid_event": 1}
