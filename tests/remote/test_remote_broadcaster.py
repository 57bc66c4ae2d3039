"""The remote EventBroadcaster against a real gateway on a loopback socket."""

from __future__ import annotations

import json
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
from callcenter_ws.amp.commands import InvalidEvent, PublishBatch, PublishEvent
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.methods import EventMethods
from callcenter_ws.interfaces import UserPresence
from callcenter_ws.remote import ClientMessage, EventBroadcaster
from callcenter_ws.remote.buffer import BATCH_EVENTS

Connect = Callable[..., EventBroadcaster]

SAID: dict[str, tuple[tuple[Any, ...], str]] = {
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
    "chat_transferred": (("s", "8"), "chat.transferred"),
    "chat_session_ended": (("s",), "chat.session.ended"),
    "send_notification": (("7", "callback", "Callback", "Call back"), "notification"),
    "send_alert": (("Fire", "Leave the building"), "alert"),
    "publish": (("presence.changed", {"user_id": "7", "online": True}), "presence.changed"),
}


async def refusal_of(answer: Deferred[Any]) -> Refusal:
    with pytest.raises(Refusal) as refused:
        await answer
    return refused.value


def test_every_method_of_the_vocabulary_is_said_below() -> None:
    methods = {name for name in vars(EventMethods) if not name.startswith("_")}
    assert set(SAID) == methods
    assert {type_ for _, type_ in SAID.values()} == set(CATALOGUE)


@pytest_twisted.ensureDeferred
async def test_every_method_arrives_as_its_type(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect()
    for name, (arguments, type_) in SAID.items():
        published = await getattr(remote, name)("acme", *arguments)
        message = gateway.delivered[-1]
        assert (message.event.type.name, message.event.tenant_id) == (type_, "acme"), name
        assert (published.seq, published.event_id) == (message.seq, message.event.event_id)
        assert published.epoch
    assert [message.seq for message in gateway.delivered] == list(range(1, len(SAID) + 1))
    (notification,) = [message.event for message in gateway.delivered if message.event.type.name == "notification"]
    assert (notification.user_id, notification.persist) == ("7", True)


@pytest_twisted.ensureDeferred
async def test_more_fields_and_large_payloads_are_passed_on(gateway: LoopbackGateway, connect: Connect) -> None:
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
async def test_given_ids_and_times_are_kept(gateway: LoopbackGateway, connect: Connect) -> None:
    options = {"event_id": "mine", "timestamp": "2026-11-22T19:40:00.123Z"}
    first = await connect().publish("acme", "call.hold", {"unique_id": "u"}, **options)
    assert first.event_id == "mine"
    assert gateway.delivered[0].event.timestamp == "2026-11-22T19:40:00.123Z"


@pytest_twisted.ensureDeferred
async def test_order_is_kept_over_many_batches(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect()
    answers = [remote.call_hold("acme", f"u{number}") for number in range(3 * BATCH_EVENTS + 7)]
    published = await gatherResults(answers)
    assert [answer.seq for answer in published] == list(range(1, len(answers) + 1))
    ids = [json.loads(message.event.payload)["unique_id"] for message in gateway.delivered]
    assert ids == [f"u{number}" for number in range(len(answers))]
    assert remote.unacknowledged == 0


@pytest_twisted.ensureDeferred
async def test_every_event_is_told_the_epoch_of_its_own_tenant(gateway: LoopbackGateway, connect: Connect) -> None:
    gateway.broker.epoch_per_tenant = True
    remote = connect()
    tenants = ["acme", "acme", "globex", "globex", "acme"]
    answers = [remote.call_hold(tenant_id, "u") for tenant_id in tenants]
    published = await gatherResults(answers)
    epochs = {tenant_id: (await remote.call_hold(tenant_id, "u")).epoch for tenant_id in set(tenants)}
    assert epochs["acme"] != epochs["globex"]
    assert [answer.epoch for answer in published] == [epochs[tenant_id] for tenant_id in tenants]
    assert [answer.seq for answer in published] == [1, 2, 1, 2, 3]


def test_what_a_daemon_does_not_call_is_hidden() -> None:
    """All public names are in the manual."""
    said = {
        "publish",
        "unacknowledged",
        "unspooled",
        "user_online",
        "disconnect_user",
        "revoke_token",
        "ping",
        "subscribe",
    }
    service = {"startService", "stopService"}
    assert {name for name in vars(EventBroadcaster) if not name.startswith("_")} == said | service


@pytest_twisted.ensureDeferred
async def test_a_refused_event_says_why_and_costs_the_others_nothing(
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
async def test_what_cannot_be_sent_is_refused_here(gateway: LoopbackGateway, connect: Connect) -> None:
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
async def test_a_killed_gateway_gets_what_it_had_not_answered_again(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect()
    await remote.call_hold("acme", "before")
    gateway.broker.closed = True
    answers = [remote.call_hold("acme", f"u{number}") for number in range(250)]
    await until(reactor, lambda: gateway.broker.waiting)
    await gateway.kill()
    assert remote.unacknowledged == 250
    # The first batch was under way: the gateway has published it, but nobody was told.
    gateway.broker.open()
    assert len(gateway.delivered) == 1 + BATCH_EVENTS
    answers += [remote.call_hold("acme", f"u{number}") for number in range(250, 300)]
    gateway.listen()
    published = await gatherResults(answers)
    assert [answer.seq for answer in published] == list(range(2, 302))
    ids = [json.loads(message.event.payload)["unique_id"] for message in gateway.delivered]
    assert ids == ["before", *(f"u{number}" for number in range(300))]
    assert [message.event.event_id for message in gateway.delivered[1:]] == [answer.event_id for answer in published]
    assert gateway.broadcaster.intake.duplicates == BATCH_EVENTS


@pytest_twisted.ensureDeferred
async def test_events_from_before_the_first_connection_are_sent(gateway: LoopbackGateway, connect: Connect) -> None:
    await gateway.kill()
    remote = connect()
    answer = remote.call_hold("acme", "u1")
    gateway.listen()
    assert (await answer).seq == 1


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("code", [ErrorCode.OVERLOADED, ErrorCode.UNAVAILABLE])
async def test_a_busy_gateway_is_asked_again(gateway: LoopbackGateway, connect: Connect, code: ErrorCode) -> None:
    remote = connect()
    gateway.broker.raises = Refusal(code)
    answers = [remote.call_hold("acme", f"u{number}") for number in range(3)]
    await until(reactor, lambda: gateway.broker.attempts >= 2)
    gateway.broker.raises = None
    assert [answer.seq for answer in await gatherResults(answers)] == [1, 2, 3]


@pytest_twisted.ensureDeferred
async def test_a_full_buffer_says_so_and_keeps_what_it_has(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect(buffer=5)
    gateway.broker.closed = True
    kept = [remote.call_hold("acme", f"u{number}") for number in range(5)]
    refused = await refusal_of(remote.call_hold("acme", "u5"))
    assert refused.code is ErrorCode.OVERLOADED
    await until(reactor, lambda: gateway.broker.waiting)
    assert (await refusal_of(remote.call_hold("acme", "u6"))).code is ErrorCode.OVERLOADED
    gateway.broker.open()
    assert [answer.seq for answer in await gatherResults(kept)] == [1, 2, 3, 4, 5]
    assert (await remote.call_hold("acme", "u7")).seq == 6


@pytest_twisted.ensureDeferred
async def test_stopping_waits_for_answers(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect(stop_timeout=10)
    answers = [remote.call_hold("acme", f"u{number}") for number in range(150)]
    await remote.stopService()
    assert all(answer.called for answer in answers)
    assert len(gateway.delivered) == 150
    assert (await refusal_of(remote.call_hold("acme", "late"))).code is ErrorCode.UNAVAILABLE


@pytest_twisted.ensureDeferred
async def test_stopping_does_not_wait_for_ever(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect(stop_timeout=0.05)
    gateway.broker.closed = True
    answers = [remote.call_hold("acme", f"u{number}") for number in range(150)]
    await until(reactor, lambda: gateway.broker.waiting)
    await remote.stopService()
    assert {(await refusal_of(answer)).code for answer in answers} == {ErrorCode.UNAVAILABLE}
    assert remote.unacknowledged == 0
    gateway.broker.open()


@pytest_twisted.ensureDeferred
async def test_it_can_be_started_again(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect()
    assert (await remote.call_hold("acme", "u1")).seq == 1
    await remote.stopService()
    remote.startService()
    assert (await remote.call_hold("acme", "u2")).seq == 2


@pytest_twisted.ensureDeferred
async def test_a_publisher_may_give_up_waiting(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect()
    impatient, patient = remote.call_hold("acme", "u1"), remote.call_hold("acme", "u2")
    impatient.addErrback(lambda _: None)
    impatient.cancel()
    assert (await patient).seq == 2


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_a_refused_token_is_logged_and_the_next_one_is_used(
    gateway: LoopbackGateway, connect: Connect, error_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callcenter_ws.remote.connection._LAST_RECONNECT", 0.05)
    tokens = iter(["swordfish", "acme-agent"])
    remote = connect(token=lambda: next(tokens, "acme-service"))
    assert (await remote.call_hold("acme", "u1")).seq == 1
    assert str(error_log).count("the gateway refuses this daemon's token") == 2
    assert "swordfish" not in str(error_log)


@pytest_twisted.ensureDeferred
async def test_questions_are_answered(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect()
    assert await remote.user_online("acme", "7") == UserPresence(True, 2, None, None)
    assert await remote.disconnect_user("acme", "7", "shift is over") == 3
    assert await remote.revoke_token("acme", jti="j") == 4
    assert (await refusal_of(remote.user_online("*", "7"))).code is ErrorCode.INVALID_EVENT
    assert tuple(await remote.ping()) == (__version__, "node-1")


@pytest_twisted.ensureDeferred
async def test_questions_without_a_gateway_fail_when_it_stops(gateway: LoopbackGateway, connect: Connect) -> None:
    await gateway.kill()
    remote = connect()
    answer = remote.ping()
    await remote.stopService()
    assert (await refusal_of(answer)).code is ErrorCode.UNAVAILABLE


# Subscriptions


@pytest_twisted.ensureDeferred
async def test_what_clients_say_is_heard_over_reconnects(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect()
    heard: list[ClientMessage] = []
    await remote.subscribe(["chat.*"], heard.append)
    gateway.chat(1)
    await until(reactor, lambda: len(heard) == 1)
    assert (heard[0].tenant_id, heard[0].type, heard[0].event_id) == ("acme", "chat.message", "acme-1")
    assert heard[0].payload["body"] == "hello"
    await gateway.kill()
    gateway.chat(2)
    gateway.listen()
    await until(reactor, lambda: len(heard) == 2)
    gateway.chat(3)
    await until(reactor, lambda: len(heard) == 3)
    assert [message.event_id for message in heard] == ["acme-1", "acme-2", "acme-3"]


@pytest_twisted.ensureDeferred
async def test_each_callback_hears_what_it_asked_for(gateway: LoopbackGateway, connect: Connect) -> None:
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
    gateway.chat(1)
    await until(reactor, lambda: everything)
    assert (chats, everything, presence) == (["chat.message"], ["chat.message"], [])


@pytest_twisted.ensureDeferred
async def test_a_message_is_acknowledged_when_the_callback_is_done(gateway: LoopbackGateway, connect: Connect) -> None:
    remote = connect()
    done: Deferred[None] = Deferred()

    async def slowly(message: ClientMessage) -> None:
        await done

    await remote.subscribe(["chat.message"], slowly)
    gateway.chat(1)
    await remote.ping()
    (subscription,) = gateway.directory.listeners
    assert len(subscription) == 1
    done.callback(None)
    await until(reactor, lambda: len(subscription) == 0)


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_a_callback_that_fails_is_logged_and_costs_nothing_else(
    gateway: LoopbackGateway, connect: Connect, error_log: Any
) -> None:
    remote = connect()
    heard: list[ClientMessage] = []
    await remote.subscribe(["chat.message"], lambda _: 1 / 0)
    await remote.subscribe(["chat.*"], heard.append)
    gateway.chat(1)
    gateway.chat(2)
    await until(reactor, lambda: len(heard) == 2)
    assert (await remote.ping()).node == "node-1"
    assert "the callback for chat.message failed" in str(error_log)


# Gateways that misbehave


class Deaf(Protocol):
    """Accepts and says nothing."""

    def connectionMade(self) -> None:
        self.factory.made += 1


class Stranger(amp.AMP):
    """Speaks AMP, but knows none of our commands."""

    def connectionMade(self) -> None:
        self.factory.made += 1


def counting(protocol: type[Protocol]) -> Any:
    factory = Factory.forProtocol(protocol)
    factory.noisy = False
    factory.made = 0
    return factory


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("protocol", [Deaf, Stranger])
async def test_what_is_no_gateway_is_given_up_and_tried_again(
    gateway: LoopbackGateway, connect: Connect, monkeypatch: pytest.MonkeyPatch, protocol: type[Protocol]
) -> None:
    monkeypatch.setattr("callcenter_ws.remote.link.CALL_TIMEOUT", 0.05)
    monkeypatch.setattr("callcenter_ws.remote.connection._LAST_RECONNECT", 0.05)
    await gateway.kill()
    other = counting(protocol)
    gateway.listen(other)
    remote = connect()
    answer = remote.call_hold("acme", "u1")
    await until(reactor, lambda: other.made >= 3)
    assert remote.unacknowledged == 1
    await gateway.kill()
    monkeypatch.undo()
    gateway.listen()
    assert (await answer).seq == 1


@pytest_twisted.ensureDeferred
async def test_a_gateway_that_falls_silent_is_noticed_without_anything_to_send(
    gateway: LoopbackGateway, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callcenter_ws.remote.link.CALL_TIMEOUT", 0.05)
    monkeypatch.setattr("callcenter_ws.remote.link.PING_INTERVAL", 0.05)
    await gateway.kill()
    deaf = counting(Deaf)
    gateway.listen(deaf)
    connect(token=None)
    await until(reactor, lambda: deaf.made >= 2)


class Picky(amp.AMP):
    """Takes no batch in which one event is bad, and no bad event."""

    taken: ClassVar[list[bytes]] = []

    @PublishBatch.responder
    def publish_batch(self, events: bytes) -> dict[str, Any]:
        raise InvalidEvent("events: nested too deep")

    @PublishEvent.responder
    def publish_event(self, payload: bytes, event_id: str, **_: Any) -> dict[str, Any]:
        if b"bad" in payload:
            raise InvalidEvent("payload: nested too deep")
        self.taken.append(payload)
        return {"epoch": "e", "seq": len(self.taken), "event_id": event_id}


@pytest_twisted.ensureDeferred
async def test_one_event_that_spoils_its_batch_is_found_and_the_rest_is_published(
    gateway: LoopbackGateway, connect: Connect
) -> None:
    await gateway.kill()
    gateway.listen(counting(Picky))
    remote = connect(token=None)
    first, bad, last = (remote.call_hold("acme", unique_id) for unique_id in ("u1", "bad", "u2"))
    assert (await first).seq == 1
    assert (await refusal_of(bad)).message == "payload: nested too deep"
    assert (await last).seq == 2
    assert Picky.taken == [b'{"unique_id":"u1"}', b'{"unique_id":"u2"}']


class Babbling(amp.AMP):
    """Answers batches with nonsense."""

    batches = 0

    @PublishBatch.responder
    def publish_batch(self, events: bytes) -> dict[str, Any]:
        Babbling.batches += 1
        return {"epoch": "e", "results": [b"[]", b"{", b'["x"]'][Babbling.batches % 3]}


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_an_answer_that_makes_no_sense_loses_nothing(
    gateway: LoopbackGateway, connect: Connect, error_log: Any
) -> None:
    await gateway.kill()
    babbling = Factory.forProtocol(Babbling)
    babbling.noisy = False
    gateway.listen(babbling)
    remote = connect(token=None)
    answer = remote.call_hold("acme", "u1")
    await until(reactor, lambda: Babbling.batches >= 3)
    assert not answer.called
    assert remote.unacknowledged == 1
    assert "cannot be understood" in str(error_log)
    answer.addErrback(lambda failure: failure.trap(Refusal))
