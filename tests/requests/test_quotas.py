"""What visitors and staff may send, in messages and bytes: per connection, session, user, network and tenant."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sample_events import ACME, GLOBEX, principal
from world import Peer, World

from callcenter_ws.delivery.limits import Limits
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.requests.dispatcher import Dispatcher
from callcenter_ws.requests.quotas import HISTORY_WINDOW_SECONDS, Quotas
from callcenter_ws.requests.rate_limit import MAX_BUDGETS, Rate, SharedBudgets
from callcenter_ws.runtime.json import encode_json
from callcenter_ws.runtime.network import network_of
from callcenter_ws.testing import FakeClock

PING = b'{"type":"ping"}'
MANY = 1_000_000


def visitor(number: int = 1, tenant_id: str = ACME) -> Principal:
    """Return a visitor with a session of its own."""
    return principal(Role.VISITOR, f"v-{number}", session_id=f"s-{number}", tenant_id=tenant_id)


def padded(size: int) -> bytes:
    """Return a ping of ``size`` bytes."""
    return b'{"type":"ping","payload":{"x":"%b"}}' % (b"x" * (size - 34))


def pongs(peer: Peer, texts: Sequence[bytes]) -> int:
    """Send texts at once; return how many were answered."""
    for text in texts:
        peer.dispatcher.receive(text)
    return peer.types().count("pong")


def at(world: World, who: Principal, ip: str) -> Peer:
    """Return a live peer with this address."""
    peer = world.live(who)
    peer.dispatcher = Dispatcher(peer.client, world.context, network_of(ip))
    return peer


def text_of(session: str, body: str = "x") -> bytes:
    """Return a ``chat.message``."""
    return encode_json({"type": "chat.message", "payload": {"session_id": session, "body": body}})


class TestVisitors:
    def test_a_visitor_sends_less_than_staff(self, world: World) -> None:
        assert pongs(world.live(visitor()), [PING] * 35) == 10
        assert pongs(world.live(Role.AGENT, user_id="7"), [PING] * 35) == 35

    def test_the_rate_applies_after_the_burst(self, world: World) -> None:
        peer = world.live(visitor())
        assert pongs(peer, [PING] * 11) == 10
        world.clock.advance(3)
        assert pongs(peer, [PING] * 7) == 6

    def test_the_refusal_says_when_to_try_again(self, world: World) -> None:
        peer = world.live(visitor())
        pongs(peer, [PING] * 10)
        (answer,) = peer.request_text(PING)
        assert answer["payload"] == {
            "code": "rate_limited",
            "message": "too many messages; reduce the rate",
            "retry_after_ms": 500,
        }

    def test_the_connections_of_a_session_share_its_budget(self, world: World) -> None:
        assert pongs(world.live(visitor()), [PING] * 6) == 6
        assert pongs(world.live(visitor()), [PING] * 6) == 4

    def test_bytes_count(self, world: World) -> None:
        peer = world.live(visitor())
        assert pongs(peer, [padded(16_000)] * 5) == 2
        world.clock.advance(2)
        assert pongs(peer, [padded(16_000)] * 5) == 1

    def test_one_network_shares_a_budget_whatever_its_sessions(self, world: World) -> None:
        peers = [at(world, visitor(number), f"2001:db8::{number:x}") for number in range(1, 12)]
        assert sum(pongs(peer, [PING] * 10) for peer in peers) == 80
        assert pongs(at(world, visitor(99), "2001:db8:0:1::1"), [PING] * 10) == 10

    def test_visitors_of_one_tenant_share_a_budget_whatever_their_networks(self, world: World) -> None:
        peers = [at(world, visitor(number), f"192.0.2.{number}") for number in range(60)]
        assert sum(pongs(peer, [PING] * 10) for peer in peers) == 400
        assert pongs(at(world, visitor(99, GLOBEX), "198.51.100.1"), [PING] * 10) == 10
        assert pongs(at(world, principal(user_id="7"), "192.0.2.1"), [PING] * 35) == 35

    def test_a_visitor_that_exceeds_its_own_rate_is_closed_only_above_that_of_a_connection(self, world: World) -> None:
        peer = world.live(visitor())
        for _ in range(300):
            peer.request_text(PING)
            world.clock.advance(0.06)
        assert peer.closed_with is None
        pongs(peer, [PING] * 61)
        assert peer.closed_with is CloseCode.RATE_LIMITED

    def test_a_visitor_is_not_closed_for_what_others_send(self, world: World) -> None:
        for number in range(1, 12):
            pongs(at(world, visitor(number), "192.0.2.1"), [PING] * 10)
        peer = at(world, visitor(99), "192.0.2.1")
        assert pongs(peer, [PING] * 40) == 0
        assert peer.closed_with is None

    def test_refusals_are_logged_once_a_minute(self, world: World) -> None:
        peer = world.live(visitor())
        for _ in range(200):
            peer.request_text(PING)
            world.clock.advance(0.4)
        assert [refusal.code for _, refusal in world.log.refusals] == [ErrorCode.RATE_LIMITED] * 2


class TestStaff:
    def test_bytes_of_a_connection(self, world: World) -> None:
        peer = world.live(Role.AGENT, user_id="7")
        assert pongs(peer, [padded(500_000)] * 6) == 4
        world.clock.advance(4)
        assert pongs(peer, [padded(500_000)] * 2) == 1

    def test_the_connections_of_a_user_share_its_budget(self, world: World) -> None:
        peers = [world.live(Role.AGENT, user_id="7") for _ in range(10)]
        assert sum(pongs(peer, [padded(500_000)] * 4) for peer in peers) == 8
        assert pongs(world.live(Role.AGENT, user_id="8"), [padded(500_000)]) == 1

    def test_the_users_of_a_tenant_share_its_budget(self, world: World) -> None:
        peers = [world.live(Role.AGENT, user_id=str(number)) for number in range(50)]
        assert sum(pongs(peer, [padded(500_000)]) for peer in peers) == 16
        assert pongs(world.live(Role.AGENT, user_id="7", tenant_id=GLOBEX), [padded(500_000)]) == 1

    def test_two_thousand_busy_agents_notice_nothing(self, world: World) -> None:
        peers = [at(world, principal(user_id=str(number)), "192.0.2.1") for number in range(200)]
        for _ in range(3):
            # Ten times as many messages of each as 2,000 agents with one per second.
            assert sum(pongs(peer, [padded(400)] * 10) for peer in peers) == 2_000
            world.clock.advance(1)

    def test_a_message_above_the_burst_is_accepted_after_a_pause(self) -> None:
        world = World(limits=Limits(message_bytes=4_194_304, byte_rate=1_024, user_byte_rate=1_024))
        peer = world.live(Role.AGENT)
        assert pongs(peer, [padded(4_194_000)] * 2) == 1
        world.clock.advance(4_096)
        assert pongs(peer, [padded(4_194_000)] * 2) == 1


class TestHistoryShare:
    """The share of 1,000 events; the other budgets do not matter."""

    @pytest.fixture
    def world(self) -> World:
        limits = Limits(
            visitor_rate=MANY, visitor_burst=MANY, visitor_network_rate=MANY, visitor_tenant_rate=MANY, rate=MANY,
            burst=MANY, visitor_history_share=0.01,
        )  # fmt: skip
        return World(limits=limits)

    def test_visitors_add_at_most_their_share(self, world: World) -> None:
        peers = [at(world, visitor(number), f"192.0.2.{number}") for number in range(30)]
        for _ in range(10):
            for number, peer in enumerate(peers):
                peer.dispatcher.receive(text_of(f"s-{number}"))
        assert len(world.live(Role.ADMIN).client.subscription.names) > 0
        assert world.publish("alert").seq == 100 + 1

    def test_the_refusal_says_when_to_try_again(self, world: World) -> None:
        peer = world.live(visitor())
        # The first opens the session, which counts too.
        for _ in range(99):
            assert peer.request_text(text_of("s-1"))[-1]["type"] == "accepted"
        (refused,) = peer.request_text(text_of("s-1"))
        assert refused["payload"] == {
            "code": "rate_limited",
            "message": "the visitors of this tenant send too much; try again later",
            "retry_after_ms": HISTORY_WINDOW_SECONDS * 10,
        }
        world.clock.advance(HISTORY_WINDOW_SECONDS / 100 + 0.001)
        assert peer.request_text(text_of("s-1"))[-1]["type"] == "accepted"

    def test_staff_and_other_tenants_are_not_affected(self, world: World) -> None:
        peer, agent, other = world.live(visitor()), world.live(Role.AGENT), world.live(visitor(1, GLOBEX))
        for _ in range(101):
            peer.dispatcher.receive(text_of("s-1"))
        assert agent.request_text(text_of("s-1"))[-1]["type"] == "accepted"
        assert other.request_text(text_of("s-1"))[-1]["type"] == "accepted"

    def test_typing_is_refused_from_half_of_the_share_on(self, world: World) -> None:
        peer = world.live(visitor())
        for _ in range(51):
            peer.request_text(text_of("s-1"))
        code, _ = peer.request_error("chat.typing", {"session_id": "s-1", "is_typing": True})
        assert code == "rate_limited"
        assert peer.request_text(text_of("s-1"))[-1]["type"] == "accepted"

    def test_bytes_count(self) -> None:
        quotas = Quotas(Limits(), FakeClock(), history_events=10_000, history_bytes=1_048_576)
        for _ in range(16):
            quotas.use_history(visitor(), 16_384)
        with pytest.raises(Refusal) as raised:
            quotas.use_history(visitor(), 16_384)
        assert raised.value.code is ErrorCode.RATE_LIMITED
        assert raised.value.retry_after == pytest.approx(HISTORY_WINDOW_SECONDS / 16)


class TestSessions:
    def test_a_network_opens_so_many_sessions_a_minute(self) -> None:
        clock = FakeClock()
        quotas = Quotas(Limits(visitor_sessions=3), clock, history_events=1, history_bytes=1)
        for _ in range(3):
            quotas.open_session("192.0.2.1")
        with pytest.raises(Refusal) as raised:
            quotas.open_session("192.0.2.1")
        assert (raised.value.code, raised.value.retry_after) == (ErrorCode.RATE_LIMITED, pytest.approx(20))
        quotas.open_session("192.0.2.2")
        clock.advance(20.001)
        quotas.open_session("192.0.2.1")


def test_the_number_of_shared_budgets_is_limited() -> None:
    shared, rate = SharedBudgets(), Rate(1, 1, 1, 1)
    first = shared.get("first", rate, 0.0)
    for number in range(MAX_BUDGETS - 1):
        shared.get(number, rate, 0.0)
    assert shared.get("first", rate, 0.0) is first
    shared.get("more", rate, 0.0)
    assert len(shared) == MAX_BUDGETS
    assert shared.get("first", rate, 0.0) is first
