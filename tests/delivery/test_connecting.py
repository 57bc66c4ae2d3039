"""Connecting and subscribing: no answer is complete for another interest than the client's."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from sample_events import ACME, principal
from world import Message, Peer, World, seqs_of, types_of

from callcenter_ws.delivery.catch_up import MAX_CHANGES, PAGE_EVENTS
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.subscriber import SessionState
from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Role
from callcenter_ws.testing import run

CALL = {"unique_id": "1", "caller_id": "1", "destination": "2"}


def publish_call(world: World, queue: str | None = "sales", unique_id: str = "1", **fields: Any) -> None:
    call = {**CALL, "unique_id": unique_id}
    world.publish("call.incoming", call if queue is None else {**call, "queue_name": queue}, **fields)


def connect(world: World, role: Role = Role.SERVICE, seq: int | None = None, **options: Any) -> Peer:
    """Connect, with a position of the present epoch if ``seq`` is given."""
    if seq is not None:
        options.update(epoch=world.epoch, seq=seq)
    return world.connect(role, ConnectOptions(**options), user_id="7")


def snapshot_types(messages: list[Message]) -> list[str]:
    (snapshot,) = [message for message in messages if message["type"] == "snapshot"]
    return types_of(snapshot["payload"]["events"])


class TestEventsInTheUrl:
    @pytest.mark.parametrize("role", [Role.SERVICE, Role.SUPERVISOR])
    def test_a_replay_has_the_named_types(self, world: World, role: Role) -> None:
        world.publish_alerts(2)
        publish_call(world)
        world.publish_alerts(1)
        messages = connect(world, role, 1, events=["call.*"]).read()
        assert types_of(messages) == ["welcome", "call.incoming", "resumed"]
        assert messages[-1]["payload"] == {"epoch": world.epoch, "from_seq": 1, "to_seq": 4, "count": 1}

    def test_a_snapshot_and_the_mailbox_have_the_named_types(self, world: World) -> None:
        world.publish("notification", user_id="7")
        publish_call(world)
        world.publish_queue_stats(1)
        peer = connect(world, snapshot=True, events=["call.*"])
        messages = peer.read()
        assert types_of(messages) == ["welcome", "snapshot"]
        assert snapshot_types(messages) == ["call.incoming"]
        world.publish_queue_stats(2)
        publish_call(world)
        assert types_of(peer.read()) == ["call.incoming"]
        assert types_of(connect(world, events=["notification"]).read()) == ["welcome", "notification"]

    @pytest.mark.parametrize(
        ("events", "code"),
        [
            (["no.such"], ErrorCode.UNKNOWN_EVENT),
            (["call.*", "*"], ErrorCode.FORBIDDEN),
            ([""], ErrorCode.INVALID_MESSAGE),
            (["call.*"] * 101, ErrorCode.INVALID_MESSAGE),
            (["x" * 256], ErrorCode.INVALID_MESSAGE),
        ],
    )
    def test_what_subscribe_refuses_is_refused(self, world: World, events: list[str], code: ErrorCode) -> None:
        with pytest.raises(Refusal) as raised:
            connect(world, events=events)
        assert raised.value.code is code
        assert world.hub.connections() == 0


class TestServiceWithoutEvents:
    """What its URL asks for waits for the first subscription: an empty answer would look like a complete one."""

    def test_the_replay_waits(self, world: World) -> None:
        publish_call(world)
        peer = connect(world, seq=0)
        assert types_of(peer.read()) == ["welcome"]
        publish_call(world)
        assert peer.read() == []
        peer.send("subscribe", {"events": ["call.*"]})
        messages = peer.read()
        assert types_of(messages) == ["subscribed", "call.incoming", "call.incoming", "resumed"]
        assert messages[-1]["payload"]["count"] == 2
        publish_call(world)
        assert seqs_of(peer.read()) == [3]

    def test_the_snapshot_and_the_mailbox_wait(self, world: World) -> None:
        publish_call(world)
        world.publish("notification", user_id="7")
        peer = connect(world, snapshot=True)
        assert types_of(peer.read()) == ["welcome"]
        peer.send("subscribe", {"events": ["call.*", "notification"]})
        messages = peer.read()
        assert types_of(messages) == ["subscribed", "notification", "snapshot"]
        assert snapshot_types(messages) == ["call.incoming"]

    def test_its_stream_begins_at_the_welcome(self, world: World) -> None:
        world.publish_alerts(1)
        peer = connect(world)
        (welcome,) = peer.read()
        world.publish_alerts(3)
        world.turn()
        subscribed, *events = peer.request("subscribe", {"events": ["alert"]})
        assert subscribed["payload"]["seq"] == welcome["payload"]["seq"] == 1
        assert seqs_of(events) == [2, 3, 4]

    def test_a_subscription_before_the_welcome_precedes_everything(self) -> None:
        world = World(slow=True)
        world.publish_alerts(3)
        world.turn()
        peer = world.connect(Role.SERVICE, ConnectOptions(epoch=world.epoch, seq=1, snapshot=True))
        peer.send("subscribe", {"events": ["alert"]})
        assert peer.types() == ["welcome", "subscribed", "alert", "alert", "resumed", "snapshot"]

    def test_refused_and_empty_subscriptions_release_nothing(self, world: World) -> None:
        publish_call(world)
        peer = connect(world, seq=0)
        peer.read()
        assert peer.request_error("subscribe", {"events": ["no.such"]})[0] == "unknown_event"
        assert types_of(peer.request("subscribe", {"queues": ["sales"]})) == ["subscribed"]
        assert types_of(peer.request("unsubscribe", {"events": ["call.*"]})) == ["subscribed"]
        assert types_of(peer.request("subscribe", {"events": ["call.*"]})) == ["subscribed", "call.incoming", "resumed"]

    @pytest.mark.parametrize("type_", ["snapshot", "resume"])
    def test_requests_are_refused_before_it_has_subscribed(self, world: World, type_: str) -> None:
        peer = connect(world)
        peer.read()
        payload = {"epoch": world.epoch, "seq": 0}
        code, text = peer.request_error(type_, payload)
        assert code == "invalid_message" and text.startswith("subscribe to event types first")
        peer.send("subscribe", {"events": ["alert"]})
        assert peer.request(type_, payload)[-1]["type"] in ("snapshot", "resumed")

    @pytest.mark.parametrize("type_", ["snapshot", "resume"])
    def test_requests_are_refused_to_any_client_with_an_empty_list(self, world: World, type_: str) -> None:
        peer = world.live()
        peer.request("unsubscribe", {"events": ["*"]})
        assert peer.request_error(type_, {"epoch": world.epoch, "seq": 0})[0] == "invalid_message"

    def test_a_stream_that_the_history_no_longer_holds_is_reported_as_a_gap(self) -> None:
        world = World(memory_events=5)
        peer = connect(world)
        peer.read()
        world.publish_alerts(20)
        world.turn()
        messages = peer.request("subscribe", {"events": ["alert"]})
        assert types_of(messages) == ["subscribed", "gap", "snapshot"]

    def test_a_lost_history_is_reported_once_it_subscribes(self, world: World) -> None:
        peer = connect(world)
        peer.read()
        world.broker._epoch = "another"
        world.hub.interrupted(ACME, run(world.broker.position(ACME)))
        assert peer.read() == []
        messages = peer.request("subscribe", {"events": ["alert"]})
        assert types_of(messages) == ["subscribed", "reset", "snapshot"]


class TestPositionAndSnapshot:
    def test_the_snapshot_follows_the_replay(self, world: World) -> None:
        publish_call(world)
        world.publish_alerts(1)
        messages = connect(world, Role.SUPERVISOR, 1, snapshot=True).read()
        assert types_of(messages) == ["welcome", "alert", "resumed", "snapshot"]
        assert messages[-1]["payload"]["seq"] == 2
        assert snapshot_types(messages) == ["call.incoming"]

    @pytest.mark.parametrize("position", [("another", 0), (None, 99)])
    def test_a_reset_has_the_only_snapshot(self, world: World, position: tuple[str | None, int]) -> None:
        publish_call(world)
        epoch, seq = position
        peer = world.connect(options=ConnectOptions(epoch=epoch or world.epoch, seq=seq, snapshot=True))
        assert peer.types() == ["welcome", "reset", "snapshot"]
        world.publish_alerts(1)
        assert peer.types() == ["alert"]


class TestChangesDuringAReplay:
    def test_an_extension_waits_for_the_replay(self) -> None:
        world = World(slow=True)
        for _ in range(PAGE_EVENTS):
            publish_call(world)
            world.publish_alerts(1)
        world.turn()
        peer = world.connect(Role.SUPERVISOR, ConnectOptions(epoch=world.epoch, seq=0, events=["alert"]))
        while not peer.messages[1:]:
            assert world.clock.step()
        peer.send("subscribe", {"events": ["call.*"]})
        publish_call(world)
        messages = peer.read()
        assert types_of(messages) == ["welcome", *["alert"] * PAGE_EVENTS, "resumed", "subscribed", "call.incoming"]
        resumed, subscribed, call = messages[-3:]
        assert resumed["payload"]["count"] == PAGE_EVENTS
        assert subscribed["payload"]["seq"] == resumed["payload"]["to_seq"] == call["seq"] - 1

    def test_waiting_changes_are_bounded(self) -> None:
        world = World(slow=True, limits=Limits(burst=1_000))
        peer = world.connect(Role.SUPERVISOR, ConnectOptions(snapshot=True))
        for _ in range(MAX_CHANGES):
            peer.send("subscribe", {"events": ["alert"]})
        peer.send("subscribe", {"events": ["alert"]}, id_="one too many")
        messages = peer.read()
        errors = [message for message in messages if message["type"] == "error"]
        assert [(error["in_reply_to"], error["payload"]["code"]) for error in errors] == [
            ("one too many", "rate_limited")
        ]
        assert types_of(messages).count("subscribed") == MAX_CHANGES

    def test_a_token_that_allows_more_ends_the_replay_with_a_reset(self) -> None:
        world = World(slow=True)
        for number in range(2 * PAGE_EVENTS):
            world.publish_queue_stats(number, "sales" if number % 2 else "support")
        publish_call(world, "support")
        world.turn()
        peer = world.connect(
            principal(Role.SUPERVISOR, queues=frozenset({"sales"})), ConnectOptions(epoch=world.epoch, seq=0)
        )
        while not peer.messages[1:]:
            assert world.clock.step()
        peer.client.renew(replace(peer.client.principal, queues=None))
        messages = peer.read()
        assert types_of(messages)[-2:] == ["reset", "snapshot"]
        assert messages[-2]["payload"]["reason"] == "rights_changed"
        assert "call.incoming" in snapshot_types(messages)
        assert peer.client.state is SessionState.LIVE

    def test_a_token_that_allows_less_does_not(self) -> None:
        world = World(slow=True)
        for number in range(2 * PAGE_EVENTS):
            world.publish_queue_stats(number, "sales" if number % 2 else "support")
        world.turn()
        peer = world.connect(principal(Role.SUPERVISOR), ConnectOptions(epoch=world.epoch, seq=0))
        while not peer.messages[1:]:
            assert world.clock.step()
        peer.client.renew(replace(peer.client.principal, queues=frozenset({"sales"})))
        assert peer.types()[-1] == "resumed"


class TestExtensions:
    """A subscription that adds types says from which position on, and brings the mail that was left out before."""

    def test_the_answer_names_the_position(self, world: World) -> None:
        peer = connect(world, Role.SUPERVISOR, events=["alert"])
        peer.read()
        publish_call(world)
        world.publish_alerts(1)
        publish_call(world)
        assert seqs_of(peer.read()) == [2]
        (subscribed,) = peer.request("subscribe", {"events": ["call.*"]})
        assert (subscribed["payload"]["epoch"], subscribed["payload"]["seq"]) == (world.epoch, 3)
        publish_call(world)
        assert seqs_of(peer.read()) == [4]

    def test_mail_of_an_added_type_is_sent(self, world: World) -> None:
        world.publish("notification", user_id="7", event_id="before")
        peer = connect(world, Role.SUPERVISOR, events=["alert"])
        assert peer.types() == ["welcome"]
        world.publish("notification", user_id="7", event_id="after")
        assert peer.read() == []
        subscribed, *mail = peer.request("subscribe", {"events": ["notification"]})
        assert subscribed["type"] == "subscribed"
        assert [(message["id"], message["offline"]) for message in mail] == [("before", True), ("after", True)]
        world.publish("notification", user_id="7", event_id="live")
        assert [message["id"] for message in peer.read()] == ["live"]

    def test_mail_is_not_sent_twice(self, world: World) -> None:
        world.publish("notification", user_id="7", event_id="stored")
        peer = connect(world, Role.SUPERVISOR, ack=True, events=["notification"])
        peer.read()
        world.publish("notification", user_id="7", event_id="live")
        peer.read()
        assert types_of(peer.request("subscribe", {"events": ["alert"]})) == ["subscribed"]


class TestQueues:
    @pytest.mark.parametrize("in_url", [True, False])
    @pytest.mark.parametrize("role", [Role.SUPERVISOR, Role.AGENT, Role.WALLBOARD])
    def test_only_events_of_these_queues_are_sent(self, world: World, role: Role, in_url: bool) -> None:
        peer = connect(world, role, queues=["sales"] if in_url else None)
        peer.read()
        if not in_url:
            (answer,) = peer.request("subscribe", {"queues": ["sales"]})
            assert (answer["payload"]["events"], answer["payload"]["queues"]) == (None, ["sales"])
        publish_call(world, "support")
        publish_call(world, None, "2")
        publish_call(world, "sales", "3")
        world.publish_queue_stats(1, "support")
        world.publish_queue_stats(1, "sales")
        world.publish_alerts(1)
        # An alert concerns no queue.
        assert types_of(peer.read()) == ["call.incoming", "queue.stats", "alert"]
        world.publish("call.answered", {**CALL, "unique_id": "3", "agent_id": "9"})
        world.publish("call.answered", {**CALL, "unique_id": "1", "agent_id": "7"})
        assert seqs_of(peer.read()) == [7]
        assert snapshot_types(peer.request("snapshot")) == ["call.incoming", "queue.stats", "call.answered"]
        replayed = peer.request("resume", {"epoch": world.epoch, "seq": 0})
        assert seqs_of(replayed) == [3, 5, 6, 7]

    def test_events_for_the_user_are_narrowed_too(self, world: World) -> None:
        peer = connect(world, Role.SUPERVISOR, queues=["sales"])
        peer.read()
        publish_call(world, "support", user_id="7")
        publish_call(world, "sales", user_id="7")
        world.publish("notification", user_id="7")
        assert seqs_of(peer.read()) == [2, 3]

    @pytest.mark.parametrize("policy", ["all", "own"])
    @pytest.mark.parametrize("claim", [None, frozenset({"sales"}), frozenset[str]()])
    @pytest.mark.parametrize("role", [Role.SUPERVISOR, Role.AGENT, Role.WALLBOARD])
    def test_narrowing_never_widens_what_the_token_allows(self, role: Role, claim: Any, policy: Any) -> None:
        world = World(agent_calls=policy)
        user = principal(role, queues=claim)
        wide, narrow = world.connect(user), world.connect(user, ConnectOptions(queues=["support", "sales"]))
        for peer in (wide, narrow):
            peer.read()
        for number, queue in enumerate(["sales", "support", None]):
            publish_call(world, queue, str(number))
            world.publish("call.answered", {**CALL, "unique_id": str(number), "agent_id": "7"})
        of_these_queues = [seq for seq in wide.seqs() if seq <= 4]
        assert narrow.seqs() == of_these_queues

    def test_queues_are_added_and_removed(self, world: World) -> None:
        peer = world.live()

        def change(type_: str, **payload: Any) -> Any:
            return peer.request(type_, payload)[0]["payload"].get("queues")

        assert change("subscribe", queues=["b", "a", "b"]) == ["a", "b"]
        assert change("subscribe", events=["call.*"]) == ["a", "b"]
        assert change("subscribe", queues=["c"], events=["queue.*"]) == ["a", "b", "c"]
        assert change("unsubscribe", queues=["b", "c"]) == ["a"]
        assert change("unsubscribe", queues=["a"]) == []
        publish_call(world, "a")
        assert peer.read() == []
        assert change("subscribe", queues=None) is None
        publish_call(world, "a")
        assert peer.types() == ["call.incoming"]

    @pytest.mark.parametrize(
        ("type_", "payload"),
        [
            ("subscribe", {"queues": []}),
            ("subscribe", {"queues": [""]}),
            ("subscribe", {"queues": [7]}),
            ("subscribe", {"queues": "sales"}),
            ("subscribe", {"queues": [str(number) for number in range(101)]}),
            ("unsubscribe", {"queues": None}),
            ("unsubscribe", {"queues": ["sales"]}),
            ("unsubscribe", {}),
        ],
    )
    def test_invalid_queues_are_refused(self, world: World, type_: str, payload: Any) -> None:
        peer = world.live()
        assert peer.request_error(type_, payload)[0] == "invalid_message"
        assert peer.client.subscription.queues is None

    def test_the_number_of_queues_is_bounded(self, world: World) -> None:
        peer = world.live()
        peer.request("subscribe", {"queues": [str(number) for number in range(100)]})
        error = peer.request_error("subscribe", {"events": ["alert"], "queues": ["one more"]})
        assert error == ("invalid_message", "queues: more than 100 queues")
        assert peer.client.subscription.events is None

    def test_clients_with_equal_queues_share_a_group(self, world: World) -> None:
        first = connect(world, Role.SUPERVISOR, queues=["a", "b"])
        second, other = connect(world, Role.SUPERVISOR, queues=["b", "a"]), connect(world, Role.SUPERVISOR)
        for peer in (first, second, other):
            peer.read()
        groups = [peer.client.outbox.group for peer in (first, second, other)]
        assert groups[0] is groups[1] is not groups[2]
        publish_call(world, "a")
        world.turn()
        assert first.latest is second.latest is other.latest
