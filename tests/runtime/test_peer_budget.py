"""The budget of unauthenticated peers: sockets, requests, bytes and tries, per network and in all."""

from __future__ import annotations

import pytest

from callcenter_ws.runtime import peer_budget
from callcenter_ws.runtime.peer_budget import BudgetLimits, Credential, Overdrawn, PeerBudget
from callcenter_ws.testing import FakeClock

HERE, THERE = "203.0.113.1", "2001:db8::/64"


class Socket:
    evicted = False

    def evict(self) -> None:
        self.evicted = True


def open_socket(budget: PeerBudget, network: str, *, is_proxy: bool = False) -> Socket:
    socket = Socket()
    budget.open(socket, network, is_proxy=is_proxy)
    return socket


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def make(clock: FakeClock, **limits: int) -> PeerBudget:
    return PeerBudget(BudgetLimits(**limits), clock)


def test_the_oldest_socket_of_a_network_gives_way_at_its_limit(clock: FakeClock) -> None:
    budget = make(clock, sockets_per_network=3)
    other = open_socket(budget, THERE)
    sockets = [open_socket(budget, HERE) for _ in range(5)]
    assert [socket.evicted for socket in sockets] == [True, True, False, False, False]
    assert not other.evicted
    assert budget.sockets == 4
    assert budget.overdrawn == {Overdrawn.SOCKETS_OF_NETWORK: 2}


def test_the_network_with_most_sockets_gives_way_when_all_are_used(clock: FakeClock) -> None:
    budget = make(clock, sockets=10, sockets_per_network=10)
    greedy = [open_socket(budget, HERE) for _ in range(6)]
    modest = [open_socket(budget, THERE) for _ in range(4)]
    newcomer = open_socket(budget, "198.51.100.7")
    assert [socket.evicted for socket in greedy] == [True] + [False] * 5
    assert not any(socket.evicted for socket in [*modest, newcomer])
    assert budget.overdrawn == {Overdrawn.SOCKETS: 1}


def test_no_number_of_networks_with_a_socket_each_exceeds_the_limit(clock: FakeClock) -> None:
    budget = make(clock, sockets=10)
    sockets = [open_socket(budget, f"2001:db8:{number}::/64") for number in range(100)]
    assert budget.sockets == 10
    assert sum(not socket.evicted for socket in sockets) == 10


def test_a_closed_socket_makes_room_and_may_be_closed_twice(clock: FakeClock) -> None:
    budget = make(clock, sockets_per_network=1)
    first = open_socket(budget, HERE)
    budget.close(first)
    budget.close(first)
    second = open_socket(budget, HERE)
    assert not first.evicted and not second.evicted
    assert budget.sockets == 1


def test_a_proxy_has_no_limit_of_its_own(clock: FakeClock) -> None:
    budget = make(clock, sockets=5, sockets_per_network=1)
    sockets = [open_socket(budget, HERE, is_proxy=True) for _ in range(6)]
    assert [socket.evicted for socket in sockets] == [True] + [False] * 5


def test_requests_have_a_rate_and_a_burst(clock: FakeClock) -> None:
    budget = make(clock, requests=10, request_burst=5)
    assert [budget.request(HERE) for _ in range(5)] == [0.0] * 5
    assert budget.request(HERE) == pytest.approx(0.1)
    assert budget.request(THERE) == 0.0
    clock.advance(0.11)
    assert budget.request(HERE) == 0.0
    assert budget.overdrawn == {Overdrawn.REQUESTS: 1}


def test_requests_of_authenticated_peers_are_given_back(clock: FakeClock) -> None:
    budget = make(clock, requests=1, request_burst=2)
    for _ in range(100):
        assert budget.request(HERE) == 0.0
        budget.give_back_request(HERE)


def test_bytes_beyond_the_burst_are_paid_by_waiting(clock: FakeClock) -> None:
    budget = make(clock, bytes_per_second=1_000)
    assert budget.received(HERE, 8_000) == 0.0
    assert budget.received(HERE, 500) == pytest.approx(0.5)
    clock.advance(0.5)
    assert budget.received(HERE, 0) == 0.0


def test_credentials_are_counted_by_kind(clock: FakeClock) -> None:
    budget = make(clock)
    for _ in range(10):
        assert budget.seconds_until_try(HERE, Credential.SECRET) == 0.0
        budget.credential_refused(HERE, Credential.SECRET)
    assert budget.seconds_until_try(HERE, Credential.SECRET) == pytest.approx(6)
    assert budget.seconds_until_try(HERE, Credential.TOKEN) == 0.0
    assert budget.seconds_until_try(THERE, Credential.SECRET) == 0.0


def test_a_call_center_behind_one_address_passes_with_the_defaults(clock: FakeClock) -> None:
    """200 agents reconnect at once with expired tokens, and again with new ones; monitoring asks meanwhile."""
    budget = PeerBudget(BudgetLimits(), clock)
    for _ in range(200):
        assert budget.request(HERE) == 0.0
        assert budget.received(HERE, 4_096) == 0.0
        assert budget.seconds_until_try(HERE, Credential.TOKEN) == 0.0
        budget.credential_refused(HERE, Credential.TOKEN)
    sockets = [open_socket(budget, HERE) for _ in range(210)]
    for _ in sockets:
        assert budget.request(HERE) == 0.0
        assert budget.received(HERE, 4_096) == 0.0
        assert budget.seconds_until_try(HERE, Credential.TOKEN) == 0.0
    assert not any(socket.evicted for socket in sockets)


def test_the_table_forgets_the_least_recently_used_network_without_sockets(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_budget, "MAX_NETWORKS", 3)
    budget = make(clock, requests=1, request_burst=1, sockets=2)
    open_socket(budget, "with a socket")
    for network in ("old", "used", "used", "old", "used"):
        budget.request(network)
    budget.request("new")
    assert set(budget._networks) == {"with a socket", "used", "new"}
    assert budget.request("used") > 0


def test_a_changed_budget_applies_to_networks_that_are_known(clock: FakeClock) -> None:
    budget = make(clock, requests=1, request_burst=5, sockets_per_network=3)
    sockets = [open_socket(budget, HERE) for _ in range(3)]
    assert [budget.request(HERE) for _ in range(2)] == [0, 0]
    failed = {Credential.TOKEN: 60, Credential.SECRET: 1}
    budget.change(BudgetLimits(requests=2, request_burst=1, sockets_per_network=2, bytes_per_second=10, failed=failed))
    assert [budget.request(HERE), budget.request(HERE)] == [0, 0.5]
    assert budget.received(HERE, 100) == 2
    assert budget.seconds_until_try(HERE, Credential.SECRET) == 0
    budget.credential_refused(HERE, Credential.SECRET)
    assert budget.seconds_until_try(HERE, Credential.SECRET) == 60
    # No socket is evicted before the next one is opened.
    assert not any(socket.evicted for socket in sockets)
    open_socket(budget, HERE)
    assert [socket.evicted for socket in sockets] == [True, False, False]
