"""Admission: endpoints, tenants, revocations and limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_events import ACME, GLOBEX, principal
from world import World

from callcenter_ws.delivery import user_probes
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.user_probes import ANSWER_LIFETIME_SECONDS, PROBE_INTERVAL_SECONDS, RETRY_SECONDS
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.requests.admission import Admission, EndpointName


def admission_of(world: World, **limits: int) -> Admission:
    return Admission(world.hub, Limits(**limits))


def refusal_of(
    admission: Admission, user: Principal, endpoint: EndpointName = EndpointName.STAFF, tenant_id: str | None = None
) -> Refusal:
    with pytest.raises(Refusal) as raised:
        admission.admit(user, endpoint, tenant_id)
    return raised.value


def is_passing(refusal: Refusal, seconds: float) -> bool:
    """Return whether a limit is exceeded for that time at least, so that clients come back."""
    assert (refusal.code, refusal.close_code) == (ErrorCode.CONNECTION_LIMIT, CloseCode.TRY_LATER)
    return refusal.retry_after == pytest.approx(seconds)


class TestEndpoints:
    @pytest.mark.parametrize("role", Role)
    def test_a_role_is_refused_at_the_endpoint_of_others(self, world: World, role: Role) -> None:
        user = principal(role)
        allowed, other = EndpointName.STAFF, EndpointName.PUBLIC
        if role is Role.VISITOR:
            allowed, other = other, allowed
        assert admission_of(world).admit(user, allowed) == user
        refusal = refusal_of(admission_of(world), user, other)
        assert refusal.code is ErrorCode.FORBIDDEN
        path = "/ws/public" if role is Role.VISITOR else "/ws"
        assert refusal.message == f"the role {role} connects at {path}"


class TestTenants:
    def test_the_url_may_name_the_tenant_of_the_token(self, world: World) -> None:
        assert admission_of(world).admit(principal(), EndpointName.STAFF, ACME) == principal()

    @pytest.mark.parametrize("named", [GLOBEX, "*", "", "ACME"])
    def test_another_tenant_in_the_url_is_forbidden(self, world: World, named: str) -> None:
        assert refusal_of(admission_of(world), principal(), tenant_id=named).code is ErrorCode.FORBIDDEN

    @pytest.mark.parametrize("role", [Role.ADMIN, Role.SERVICE])
    def test_a_token_for_all_tenants_is_narrowed_to_the_named_one(self, world: World, role: Role) -> None:
        admitted = admission_of(world).admit(principal(role, tenant_id="*", jti="t-1"), EndpointName.STAFF, GLOBEX)
        assert (admitted.tenant_id, admitted.user_id, admitted.jti) == (GLOBEX, "7", "t-1")
        assert not admitted.every_tenant

    @pytest.mark.parametrize("named", [None, "", "*", "x" * 256])
    def test_a_token_for_all_tenants_without_a_valid_tenant_is_forbidden(self, world: World, named: str | None) -> None:
        refusal = refusal_of(admission_of(world), principal(Role.ADMIN, tenant_id="*"), tenant_id=named)
        assert refusal.code is ErrorCode.FORBIDDEN
        assert "?tenant_id=" in refusal.message


class TestRevoked:
    def test_a_revoked_token_is_refused(self, world: World) -> None:
        world.hub.revoke(ACME, jti="t-1")
        refusal = refusal_of(admission_of(world), principal(jti="t-1"))
        assert refusal.code is ErrorCode.UNAUTHORIZED
        assert refusal.close_code is CloseCode.UNAUTHORIZED

    def test_a_revoked_token_for_all_tenants_is_refused_for_each(self, world: World) -> None:
        world.hub.revoke("*", jti="t-1")
        for tenant in (ACME, GLOBEX):
            refusal_of(admission_of(world), principal(Role.ADMIN, tenant_id="*", jti="t-1"), tenant_id=tenant)


class TestSocketLimits:
    def test_sockets_of_one_address_are_limited(self, world: World) -> None:
        admission = admission_of(world, connections_per_ip=2)
        admission.open_socket("192.0.2.1")
        admission.open_socket("192.0.2.1")
        with pytest.raises(Refusal) as raised:
            admission.open_socket("192.0.2.1")
        assert raised.value.code is ErrorCode.CONNECTION_LIMIT
        assert raised.value.retry_after
        admission.open_socket("192.0.2.2")
        admission.close_socket("192.0.2.1")
        admission.open_socket("192.0.2.1")

    def test_sockets_of_the_node_are_limited(self, world: World) -> None:
        admission = admission_of(world, connections=2, connections_per_ip=1)
        admission.open_socket("192.0.2.1")
        admission.open_socket("192.0.2.2")
        with pytest.raises(Refusal) as raised:
            admission.open_socket("192.0.2.3")
        assert raised.value.message == "this node is full"
        admission.close_socket("192.0.2.1")
        admission.open_socket("192.0.2.3")

    def test_zero_means_no_limit(self, world: World) -> None:
        admission = admission_of(world, connections=0, connections_per_ip=0)
        for _ in range(1_000):
            admission.open_socket("192.0.2.1")

    def test_a_draining_node_refuses_sockets(self, world: World) -> None:
        admission = admission_of(world)
        admission.draining = True
        with pytest.raises(Refusal) as raised:
            admission.open_socket("192.0.2.1")
        assert raised.value.code is ErrorCode.DRAINING
        assert raised.value.retry_after

    @given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc"))))
    def test_sockets_are_counted_over_any_order_of_opening_and_closing(self, steps: list[tuple[bool, str]]) -> None:
        admission = admission_of(World(), connections=4, connections_per_ip=2)
        open_: list[str] = []
        for opens, address in steps:
            if opens:
                is_within_limits = len(open_) < 4 and open_.count(address) < 2
                try:
                    admission.open_socket(address)
                    assert is_within_limits
                    open_.append(address)
                except Refusal:
                    assert not is_within_limits
            elif address in open_:
                admission.close_socket(address)
                open_.remove(address)
        assert admission.sockets == len(open_)


class TestConnectionLimits:
    def test_connections_of_one_user_are_limited(self, world: World) -> None:
        admission = admission_of(world, connections_per_user=2)
        peers = [world.live(principal()), world.live(principal(Role.SUPERVISOR))]
        assert is_passing(refusal_of(admission, principal()), RETRY_SECONDS)
        assert [peer.probes for peer in peers] == [1, 1]
        assert admission.admit(principal(user_id="8"), EndpointName.STAFF)
        assert admission.admit(principal(tenant_id=GLOBEX), EndpointName.STAFF)
        peers[0].client.connection_lost(CloseCode.NORMAL)
        assert admission.admit(principal(), EndpointName.STAFF)

    def test_the_refusal_is_final_only_if_all_connections_answered(self, world: World) -> None:
        admission = admission_of(world, connections_per_user=2)
        peers = [world.live(principal()), world.live(principal())]
        refusal_of(admission, principal())
        world.clock.advance(2)
        assert is_passing(refusal_of(admission, principal()), RETRY_SECONDS - 2)
        world.clock.advance(RETRY_SECONDS - 2)
        refusal = refusal_of(admission, principal())
        assert (refusal.code, refusal.close_code) == (ErrorCode.CONNECTION_LIMIT, CloseCode.CONNECTION_LIMIT)
        assert refusal.retry_after_ms is None
        assert (refusal.entry.http_status, refusal.http_headers["Retry-After"]) == (429, "30")
        # A new connection has not answered yet.
        peers[0].client.connection_lost(CloseCode.KEEPALIVE_TIMEOUT)
        peers[0] = world.live(principal())
        assert is_passing(refusal_of(admission, principal()), PROBE_INTERVAL_SECONDS - RETRY_SECONDS)
        world.clock.advance(PROBE_INTERVAL_SECONDS - RETRY_SECONDS)
        assert is_passing(refusal_of(admission, principal()), RETRY_SECONDS)
        world.clock.advance(ANSWER_LIFETIME_SECONDS)
        assert is_passing(refusal_of(admission, principal()), RETRY_SECONDS)
        assert [peer.probes for peer in peers] == [2, 3]

    def test_pings_are_bounded_for_each_user(self, world: World) -> None:
        admission = admission_of(world, connections_per_user=1)
        peer = world.live(principal())
        for _ in range(600):
            refusal_of(admission, principal())
            world.clock.advance(0.1)
        assert peer.probes <= 1 + 60 / PROBE_INTERVAL_SECONDS

    def test_the_users_that_are_remembered_are_bounded(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(user_probes, "MAX_USERS", 3)
        admission = admission_of(world, connections_per_user=1)
        peers = [world.live(principal(user_id=str(number))) for number in range(5)]
        for number in range(5):
            refusal_of(admission, principal(user_id=str(number)))
        assert len(admission._probes._probes) == 3
        refusal_of(admission, principal(user_id="4"))
        refusal_of(admission, principal(user_id="0"))
        assert [peer.probes for peer in peers] == [2, 1, 1, 1, 1]

    def test_the_oldest_connection_is_replaced(self, world: World) -> None:
        admission = Admission(world.hub, Limits(connections_per_user=2), "replace_oldest")
        peers = [world.live(principal()), world.live(principal())]
        # Its place among the user's connections changes, its age does not.
        peers[0].send("subscribe", {"events": ["alert"]})
        assert admission.admit(principal(user_id="8"), EndpointName.STAFF)
        assert admission.admit(principal(), EndpointName.STAFF)
        assert [peer.closed_with for peer in peers] == [CloseCode.REPLACED, None]
        peers.append(world.live(principal()))
        assert admission.admit(principal(), EndpointName.STAFF)
        assert [peer.closed_with for peer in peers] == [CloseCode.REPLACED, CloseCode.REPLACED, None]
        assert [peer.probes for peer in peers] == [0, 0, 0]

    def test_connections_of_one_tenant_are_limited(self, world: World) -> None:
        admission = admission_of(world, connections_per_tenant=2)
        world.live(principal(user_id="1"))
        world.live(principal(Role.VISITOR, "2", session_id="s-1"))
        refusal = refusal_of(admission, principal(user_id="3"))
        assert refusal.message == "the tenant has too many connections"
        assert is_passing(refusal, 30)
        assert admission.admit(principal(tenant_id=GLOBEX), EndpointName.STAFF)

    def test_a_narrowed_token_counts_for_the_named_tenant(self, world: World) -> None:
        admission = admission_of(world, connections_per_tenant=1)
        world.live(principal())
        refusal_of(admission, principal(Role.ADMIN, "root", "*"), tenant_id=ACME)
        assert admission.admit(principal(Role.ADMIN, "root", "*"), EndpointName.STAFF, GLOBEX)

    def test_zero_means_no_limit(self, world: World) -> None:
        for _ in range(30):
            world.live(principal())
        admission = admission_of(world, connections_per_user=0, connections_per_tenant=0)
        assert admission.admit(principal(), EndpointName.STAFF)

    def test_the_defaults_are_those_of_the_manual(self) -> None:
        limits = Limits()
        assert (limits.connections_per_user, limits.connections_per_ip) == (10, 200)
        assert (limits.connections_per_tenant, limits.connections) == (0, 0)
        assert (limits.rate, limits.burst, limits.bad_messages, limits.outbox) == (20, 40, 20, 256)
