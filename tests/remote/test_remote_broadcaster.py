"""The remote EventBroadcaster against a real gateway on a loopback socket."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import pytest_twisted
from amp_doubles import LoopbackGateway, until
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols import amp

from callcenter_ws import __version__
from callcenter_ws.amp.commands import InvalidEvent, Ping, PublishBatch, PublishEvent
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.methods import EventMethods
from callcenter_ws.interfaces import UserPresence
from callcenter_ws.remote import ClientMessage, EventBroadcaster
from callcenter_ws.remote.buffer import BATCH_EVENTS

Connect = Callable[..., EventBroadcaster]

CALLS: dict[str, tuple[tuple[Any, ...], str]] = {
    "agent_login": (("7", "ada"), "agent.login"),
    "agent_state_change": (("7", "ada", "busy"), "agent.state.changed"),
    "agent_logout": (("7", "ada"), "agent.logout"),
    "call_incoming": (("u", "+321", "100"), "call.incoming"),
    "call_ringing": (("u", "7"), "call.ringing"),
    "call_answered": (("u", "7"), "call.answered"),
    "call_hold": (("u",), "call.hold"),
    "call_unhold": (("u",), "call.unhold"),
    "call_transferred": (("u", "200"), "call.transferred"),
    "call_missed": (("u",), "call.missed"),
    "call_abandoned": (("u", "q"), "call.abandoned"),
    "call_ended": (("u", 61.5), "call.ended"),
    "call_disposition": (("u", "sale"), "call.disposition"),
    "queue_joined": (("u", "q"), "queue.joined"),
    "queue_left": (("u", "q"), "queue.left"),
    "update_queue_stats": (("q", 1, 2, 3), "queue.stats"),
    "queue_member_added": (("q", "7"), "queue.member.added"),
    "queue_member_removed": (("q", "7"), "queue.member.removed"),
    "queue_member_paused": (("q", "7"), "queue.member.paused"),
    "queue_member_unpaused": (("q", "7"), "queue.member.unpaused"),
    "chat_session_started": (("s",), "chat.session.started"),
    "chat_message_sent": (("s", "m", "7", "agent", "hello"), "chat.message"),
    "chat_typing_indicator": (("s", "agent", True), "chat.typing"),
    "chat_delivered": (("s", "m"), "chat.delivered"),
    "chat_transferred": (("s", "8"), "chat.transferred"),
    "chat_session_ended": (("s",), "chat.session.ended"),
    "send_notification": (("7", "callback", "Callback", "Call back"), "notification"),
    "send_alert": (("Fire", "Leave the building"), "alert"),
    "source_up": (("acd",), "source.up"),
    "source_down": (("acd",), "source.down"),
    "publish": (("alert", {"title": "Fire", "message": "Out"}), "alert"),
}


async def refusal_of(answer: Deferred[Any]) -> Refusal:
    with pytest.raises(Refusal) as refused:
        await answer
    return refused.value


def test_calls_below_cover_every_method_and_event_type() -> None:
    methods = {name for name in vars(EventMethods) if not name.startswith("_")}
    assert set(CALLS) == methods
    by_senders = {name for name, type_ in CATALOGUE.items() if not type_.by_gateway}
    assert {type_ for _, type_ in CALLS.values()} == by_senders


@pytest_twisted.ensureDeferred
async def test_every_method_publishes_its_event_type(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect(source="acd", tenants=["acme"], capabilities=["health"])
    for name, (arguments, type_) in CALLS.items():
        published = await getattr(remote, name)("acme", *arguments)
        message = gateway.delivered[-1]
        assert (message.event.type.name, message.event.tenant_id) == (type_, "acme"), name
        assert (published.seq, published.event_id) == (message.seq, message.event.event_id)
        assert published.epoch
    assert [message.seq for message in gateway.delivered] == list(range(1, len(CALLS) + 1))
    (notification,) = [message.event for message in gateway.delivered if message.event.type.name == "notification"]
    assert (notification.user_id, notification.persist) == ("7", True)


@pytest_twisted.ensureDeferred
async def test_additional_fields_and_large_payloads(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect()
    answers = [
        remote.call_hold("acme", "u1", held_by="7", note="Zoé"),
        remote.call_hold("acme", "u2", note="x" * 400_000),
        remote.call_hold("acme", "u3"),
    ]
    assert [published.seq for published in await gatherResults(answers)] == [1, 2, 3]
    payloads = [json.loads(message.event.payload) for message in gateway.delivered]
    assert payloads[0] == {"unique_id": "u1", "held_by": "7", "note": "Zoé"}
    assert len(payloads[1]["note"]) == 400_000


@pytest_twisted.ensureDeferred
async def test_given_event_id_and_timestamp_are_kept(gateway: LoopbackGateway, connect: Connect) -> None:
    options = {"event_id": "mine", "timestamp": "2026-11-22T19:40:00.123Z"}
    first = await connect().publish("acme", "call.hold", {"unique_id": "u"}, **options)
    assert first.event_id == "mine"
    assert gateway.delivered[0].event.timestamp == "2026-11-22T19:40:00.123Z"


@pytest_twisted.ensureDeferred
async def test_order_over_many_batches(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect()
    answers = [remote.call_hold("acme", f"u{number}") for number in range(3 * BATCH_EVENTS + 7)]
    published = await gatherResults(answers)
    assert [answer.seq for answer in published] == list(range(1, len(answers) + 1))
    ids = [json.loads(message.event.payload)["unique_id"] for message in gateway.delivered]
    assert ids == [f"u{number}" for number in range(len(answers))]
    assert remote.unacknowledged == 0


@pytest_twisted.ensureDeferred
async def test_result_has_the_epoch_of_the_event_s_tenant(gateway: LoopbackGateway, connect: Connect) -> None:
    gateway.broker.epoch_per_tenant = True
    remote = connect()
    tenants = ["acme", "acme", "globex", "globex", "acme"]
    answers = [remote.call_hold(tenant_id, "u") for tenant_id in tenants]
    published = await gatherResults(answers)
    epochs = {tenant_id: (await remote.call_hold(tenant_id, "u")).epoch for tenant_id in set(tenants)}
    assert epochs["acme"] != epochs["globex"]
    assert [answer.epoch for answer in published] == [epochs[tenant_id] for tenant_id in tenants]
    assert [answer.seq for answer in published] == [1, 2, 1, 2, 3]


def test_public_names() -> None:
    """Only documented names are public."""
    documented = {
        "publish",
        "publish_unit",
        "sync_state",
        "gateway_time",
        "on_command",
        "records",
        "when_room",
        "unacknowledged",
        "unspooled",
        "user_online",
        "disconnect_user",
        "revoke_token",
        "ping",
        "subscribe",
        "state",
        "state_reason",
    }
    service = {"startService", "stopService", "stop_now"}
    assert {name for name in vars(EventBroadcaster) if not name.startswith("_")} == documented | service


@pytest_twisted.ensureDeferred
async def test_refused_event_has_a_reason_and_does_not_affect_the_others(
    gateway: LoopbackGateway, connect: Connect
) -> None:
    remote = connect(token="acme-service")
    good, bad, foreign, last = (
        remote.call_hold("acme", "u1"),
        remote.publish("acme", "call.hold", {}),
        remote.call_hold("globex", "u1"),
        remote.call_hold("acme", "u2"),
    )
    assert (await good).seq == 1
    refused = await refusal_of(bad)
    assert (refused.code, refused.message) == (ErrorCode.INVALID_EVENT, "payload.unique_id: required")
    assert (await refusal_of(foreign)).code is ErrorCode.FORBIDDEN
    assert (await last).seq == 2


@pytest_twisted.ensureDeferred
async def test_invalid_events_are_refused_before_sending(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect()
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    cases: list[tuple[Any, Any, ErrorCode]] = [
        ("call.hold", {"unique_id": "u", "note": "x" * 524_288}, ErrorCode.TOO_LARGE),
        ("call.hold", {"unique_id": "u", "note": object()}, ErrorCode.INVALID_EVENT),
        ("call.hold", {"unique_id": "u", "note": "\ud800"}, ErrorCode.INVALID_EVENT),
        ("call.hold", {"unique_id": "u", "note": deep}, ErrorCode.INVALID_EVENT),
        ("call.hold", ["unique_id"], ErrorCode.INVALID_EVENT),
        (7, {}, ErrorCode.INVALID_EVENT),
        ("\ud800", {}, ErrorCode.INVALID_EVENT),
        ("x" * 5000, {}, ErrorCode.INVALID_EVENT),
    ]
    for type_, payload, code in cases:
        assert (await refusal_of(remote.publish("acme", type_, payload))).code is code
    while deep:
        deep = deep.pop()
    assert remote.unacknowledged == 0
    assert gateway.delivered == []


@pytest_twisted.ensureDeferred
async def test_unanswered_events_are_sent_again_after_the_gateway_was_killed(
    gateway: LoopbackGateway, connect: Connect
) -> None:
    remote = connect()
    await remote.call_hold("acme", "before")
    gateway.broker.is_blocked = True
    answers = [remote.call_hold("acme", f"u{number}") for number in range(250)]
    await until(reactor, lambda: gateway.broker.blocked)
    await gateway.kill()
    assert remote.unacknowledged == 250
    # The first batch was in flight: the gateway publishes it, but the answer cannot be sent.
    gateway.broker.unblock()
    assert len(gateway.delivered) == 1 + BATCH_EVENTS
    answers += [remote.call_hold("acme", f"u{number}") for number in range(250, 300)]
    gateway.listen()
    published = await gatherResults(answers)
    assert [answer.seq for answer in published] == list(range(2, 302))
    ids = [json.loads(message.event.payload)["unique_id"] for message in gateway.delivered]
    assert ids == ["before", *(f"u{number}" for number in range(300))]
    assert [message.event.event_id for message in gateway.delivered[1:]] == [answer.event_id for answer in published]
    assert gateway.broadcaster.counters.duplicates == BATCH_EVENTS


@pytest_twisted.ensureDeferred
async def test_events_published_before_the_first_connection_are_sent(
    gateway: LoopbackGateway, connect: Connect
) -> None:
    await gateway.kill()
    remote = connect()
    answer = remote.call_hold("acme", "u1")
    gateway.listen()
    assert (await answer).seq == 1


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("code", [ErrorCode.OVERLOADED, ErrorCode.UNAVAILABLE])
async def test_events_refused_by_a_busy_gateway_are_sent_again(
    gateway: LoopbackGateway, connect: Connect, info_log: Any, code: ErrorCode
) -> None:
    remote = connect()
    gateway.broker.error = Refusal(code)
    answers = [remote.call_hold("acme", f"u{number}") for number in range(3)]
    await until(reactor, lambda: gateway.broker.attempts >= 3)
    gateway.broker.error = None
    assert [answer.seq for answer in await gatherResults(answers)] == [1, 2, 3]
    assert str(info_log).count("the gateway does not take events now: ") == 1


@pytest_twisted.ensureDeferred
async def test_full_buffer_refuses_new_events_and_keeps_the_others(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect(buffer=5)
    gateway.broker.is_blocked = True
    kept = [remote.call_hold("acme", f"u{number}") for number in range(5)]
    refused = await refusal_of(remote.call_hold("acme", "u5"))
    assert refused.code is ErrorCode.OVERLOADED
    await until(reactor, lambda: gateway.broker.blocked)
    assert (await refusal_of(remote.call_hold("acme", "u6"))).code is ErrorCode.OVERLOADED
    gateway.broker.unblock()
    assert [answer.seq for answer in await gatherResults(kept)] == [1, 2, 3, 4, 5]
    assert (await remote.call_hold("acme", "u7")).seq == 6


@pytest_twisted.ensureDeferred
async def test_stop_waits_for_answers(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect(stop_timeout=10)
    answers = [remote.call_hold("acme", f"u{number}") for number in range(150)]
    await remote.stopService()
    assert all(answer.called for answer in answers)
    assert len(gateway.delivered) == 150
    assert (await refusal_of(remote.call_hold("acme", "late"))).code is ErrorCode.UNAVAILABLE


@pytest_twisted.ensureDeferred
async def test_stop_waits_at_most_stop_timeout(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect(stop_timeout=0.05)
    gateway.broker.is_blocked = True
    answers = [remote.call_hold("acme", f"u{number}") for number in range(150)]
    await until(reactor, lambda: gateway.broker.blocked)
    await remote.stopService()
    assert {(await refusal_of(answer)).code for answer in answers} == {ErrorCode.UNAVAILABLE}
    assert remote.unacknowledged == 0
    gateway.broker.unblock()


@pytest_twisted.ensureDeferred
async def test_service_can_be_started_again(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect()
    assert (await remote.call_hold("acme", "u1")).seq == 1
    await remote.stopService()
    remote.startService()
    assert (await remote.call_hold("acme", "u2")).seq == 2


@pytest_twisted.ensureDeferred
async def test_cancelled_publication_is_sent_nevertheless(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect()
    cancelled, waiting = remote.call_hold("acme", "u1"), remote.call_hold("acme", "u2")
    cancelled.addErrback(lambda _: None)
    cancelled.cancel()
    assert (await waiting).seq == 2


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_refused_token_is_logged_and_the_next_one_is_used(
    gateway: LoopbackGateway, connect: Connect, error_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callcenter_ws.remote.link_state.MAX_RECONNECT_SECONDS", 0.05)
    tokens = iter(["swordfish", "acme-agent"])
    remote = connect(token=lambda: next(tokens, "acme-service"))
    assert (await remote.call_hold("acme", "u1")).seq == 1
    assert str(error_log).count("this daemon is refused by the gateway at tcp:127.0.0.1:") == 2
    assert "swordfish" not in str(error_log)


@pytest_twisted.ensureDeferred
async def test_other_commands(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect()
    assert await remote.user_online("acme", "7") == UserPresence(True, 2, None, None)
    assert await remote.disconnect_user("acme", "7", "shift is over") == 3
    assert await remote.revoke_token("acme", jti="j") == 4
    assert (await refusal_of(remote.user_online("*", "7"))).code is ErrorCode.INVALID_EVENT
    pong = await remote.ping()
    assert (pong.version, pong.node) == (__version__, "node-1")
    assert abs(pong.server_time_ms / 1_000 - time.time()) < 3_600
    gateway_time = remote.gateway_time()
    assert gateway_time is not None
    assert abs(gateway_time - pong.server_time_ms / 1_000) < 3_600


@pytest_twisted.ensureDeferred
async def test_command_without_a_connection_fails_when_the_service_stops(
    gateway: LoopbackGateway, connect: Connect
) -> None:
    await gateway.kill()
    remote = connect()
    answer = remote.ping()
    await remote.stopService()
    assert (await refusal_of(answer)).code is ErrorCode.UNAVAILABLE


# Subscriptions


@pytest_twisted.ensureDeferred
async def test_subscription_survives_reconnects(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect()
    received: list[ClientMessage] = []
    await remote.subscribe(["chat.*"], received.append)
    gateway.publish_chat_message(1)
    await until(reactor, lambda: len(received) == 1)
    assert (received[0].tenant_id, received[0].type, received[0].event_id) == ("acme", "chat.message", "acme-1")
    assert received[0].payload["body"] == "hello"
    await gateway.kill()
    gateway.publish_chat_message(2)
    gateway.listen()
    await until(reactor, lambda: len(received) == 2)
    gateway.publish_chat_message(3)
    await until(reactor, lambda: len(received) == 3)
    assert [message.event_id for message in received] == ["acme-1", "acme-2", "acme-3"]


@pytest_twisted.ensureDeferred
async def test_subscription_that_a_busy_gateway_refuses_is_made_later(
    gateway: LoopbackGateway, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = connect()
    await remote.ping()
    refused: list[None] = []
    listen = gateway.directory.listen

    def refuse_twice(*arguments: Any) -> None:
        if len(refused) < 2:
            refused.append(None)
            raise Refusal(ErrorCode.UNAVAILABLE)
        listen(*arguments)

    monkeypatch.setattr(gateway.directory, "listen", refuse_twice)
    await remote.subscribe(["chat.*"], lambda _: None)
    assert len(refused) == 2


@pytest_twisted.ensureDeferred
async def test_each_callback_gets_its_event_types(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect()
    chats: list[str] = []
    everything: list[str] = []
    presence: list[str] = []
    answers = [
        remote.subscribe(["chat.message"], lambda message: chats.append(message.type)),
        remote.subscribe(["*"], lambda message: everything.append(message.type)),
        remote.subscribe(["presence.changed"], lambda message: presence.append(message.type)),
    ]
    wrong = remote.subscribe(["chat.nonsense"], lambda _: None)
    assert (await refusal_of(wrong)).code is ErrorCode.INVALID_EVENT
    await gatherResults(answers)
    gateway.publish_chat_message(1)
    await until(reactor, lambda: everything)
    assert (chats, everything, presence) == (["chat.message"], ["chat.message"], [])


@pytest_twisted.ensureDeferred
async def test_event_is_acknowledged_when_the_callback_has_finished(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect()
    done: Deferred[None] = Deferred()

    async def slowly(message: ClientMessage) -> None:
        await done

    await remote.subscribe(["chat.message"], slowly)
    gateway.publish_chat_message(1)
    await remote.ping()
    (subscription,) = gateway.directory.listeners
    assert len(subscription) == 1
    done.callback(None)
    await until(reactor, lambda: len(subscription) == 0)


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_failing_callback_is_logged_and_does_not_affect_others(
    gateway: LoopbackGateway, connect: Connect, error_log: Any
) -> None:
    remote = connect()
    received: list[ClientMessage] = []
    await remote.subscribe(["chat.message"], lambda _: 1 / 0)
    await remote.subscribe(["chat.*"], received.append)
    gateway.publish_chat_message(1)
    gateway.publish_chat_message(2)
    await until(reactor, lambda: len(received) == 2)
    assert (await remote.ping()).node == "node-1"
    assert "unhandled error in the callback for chat.message" in str(error_log)


# Faulty gateways


class Silent(Protocol):
    """Accepts connections and sends nothing."""

    def connectionMade(self) -> None:
        self.factory.connections += 1


class OtherAmpServer(amp.AMP):
    """An AMP server without the gateway's commands."""

    def connectionMade(self) -> None:
        self.factory.connections += 1


def counting_factory(protocol: type[Protocol]) -> Any:
    factory = Factory.forProtocol(protocol)
    factory.noisy = False
    factory.connections = 0
    return factory


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("protocol", [Silent, OtherAmpServer])
async def test_connection_to_another_server_is_aborted_and_retried(
    gateway: LoopbackGateway, connect: Connect, monkeypatch: pytest.MonkeyPatch, protocol: type[Protocol]
) -> None:
    monkeypatch.setattr("callcenter_ws.remote.gateway_connection.CALL_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr("callcenter_ws.remote.link_state.MAX_RECONNECT_SECONDS", 0.05)
    await gateway.kill()
    other = counting_factory(protocol)
    gateway.listen(other)
    remote = connect()
    answer = remote.call_hold("acme", "u1")
    await until(reactor, lambda: other.connections >= 3)
    assert remote.unacknowledged == 1
    await gateway.kill()
    monkeypatch.undo()
    gateway.listen()
    assert (await answer).seq == 1


@pytest_twisted.ensureDeferred
async def test_silent_gateway_is_detected_by_pings(
    gateway: LoopbackGateway, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callcenter_ws.remote.gateway_connection.CALL_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr("callcenter_ws.remote.gateway_connection.PING_INTERVAL_SECONDS", 0.05)
    await gateway.kill()
    silent = counting_factory(Silent)
    gateway.listen(silent)
    connect(token=None)
    await until(reactor, lambda: silent.connections >= 2)


class AnswersPings(amp.AMP):
    """A gateway that needs no token."""

    @Ping.responder
    def ping(self, waiting: int | None) -> dict[str, Any]:
        return {"version": "1", "node": "n", "server_time_ms": 1}


class RefusesBatches(AnswersPings):
    """Refuses every batch, and single events whose payload contains "bad"."""

    accepted: ClassVar[list[bytes]] = []

    @PublishBatch.responder
    def publish_batch(self, events: bytes) -> dict[str, Any]:
        raise InvalidEvent("events: nested too deep")

    @PublishEvent.responder
    def publish_event(self, payload: bytes, event_id: str, **_: Any) -> dict[str, Any]:
        if b"bad" in payload:
            raise InvalidEvent("payload: nested too deep")
        self.accepted.append(payload)
        return {"epoch": "e", "seq": len(self.accepted), "event_id": event_id}


@pytest_twisted.ensureDeferred
async def test_events_of_a_refused_batch_are_sent_one_by_one(gateway: LoopbackGateway, connect: Connect) -> None:
    await gateway.kill()
    gateway.listen(counting_factory(RefusesBatches))
    remote = connect(token=None)
    first, bad, last = (remote.call_hold("acme", unique_id) for unique_id in ("u1", "bad", "u2"))
    assert (await first).seq == 1
    assert (await refusal_of(bad)).message == "payload: nested too deep"
    assert (await last).seq == 2
    assert RefusesBatches.accepted == [b'{"unique_id":"u1"}', b'{"unique_id":"u2"}']


class SendsInvalidAnswers(AnswersPings):
    """Answers batches with results that do not match the declaration."""

    batches = 0

    @PublishBatch.responder
    def publish_batch(self, events: bytes) -> dict[str, Any]:
        SendsInvalidAnswers.batches += 1
        return {"epoch": "e", "results": [b"[]", b"{", b'["x"]'][SendsInvalidAnswers.batches % 3]}


@pytest_twisted.ensureDeferred
async def test_events_with_an_invalid_answer_are_sent_again(
    gateway: LoopbackGateway, connect: Connect, info_log: Any
) -> None:
    await gateway.kill()
    factory = Factory.forProtocol(SendsInvalidAnswers)
    factory.noisy = False
    gateway.listen(factory)
    remote = connect(token=None)
    answer = remote.call_hold("acme", "u1")
    await until(reactor, lambda: SendsInvalidAnswers.batches >= 3)
    assert not answer.called
    assert remote.unacknowledged == 1
    assert str(info_log).count("its answer cannot be decoded (") <= 3  # one for each kind of error
    assert "is lost: its answer cannot be decoded (" in str(info_log)
    answer.addErrback(lambda failure: failure.trap(Refusal))
