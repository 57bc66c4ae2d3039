"""The door: endpoints, roles and limits."""

from __future__ import annotations

import pytest
from core_world import ACME, GLOBEX, World, principal
from hypothesis import given
from hypothesis import strategies as st

from callcenter_ws.delivery.limits import Limits
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.requests.admission import Admission, Endpoint


def door(world: World, **limits: int) -> Admission:
    return Admission(world.hub, Limits(**limits))


def refusal_of(
    admission: Admission, who: Principal, endpoint: Endpoint = Endpoint.STAFF, tenant_id: str | None = None
) -> Refusal:
    with pytest.raises(Refusal) as raised:
        admission.admit(who, endpoint, tenant_id)
    return raised.value


class TestEndpoints:
    @pytest.mark.parametrize("role", Role)
    def test_visitors_have_one_and_everybody_else_the_other(self, world: World, role: Role) -> None:
        who = principal(role)
        mine, other = Endpoint.STAFF, Endpoint.PUBLIC
        if role is Role.VISITOR:
            mine, other = other, mine
        assert door(world).admit(who, mine) == who
        refusal = refusal_of(door(world), who, other)
        assert refusal.code is ErrorCode.FORBIDDEN
        place = "/ws/public" if role is Role.VISITOR else "/ws"
        assert refusal.message == f"the role {role} connects at {place}"


class TestTenants:
    def test_the_url_may_name_the_tokens_own(self, world: World) -> None:
        assert door(world).admit(principal(), Endpoint.STAFF, ACME) == principal()

    @pytest.mark.parametrize("named", [GLOBEX, "*", "", "ACME"])
    def test_the_url_cannot_choose_another(self, world: World, named: str) -> None:
        assert refusal_of(door(world), principal(), tenant_id=named).code is ErrorCode.FORBIDDEN

    @pytest.mark.parametrize("role", [Role.ADMIN, Role.SERVICE])
    def test_a_token_for_every_tenant_is_narrowed_to_one(self, world: World, role: Role) -> None:
        admitted = door(world).admit(principal(role, tenant_id="*", jti="t-1"), Endpoint.STAFF, GLOBEX)
        assert (admitted.tenant_id, admitted.user_id, admitted.jti) == (GLOBEX, "7", "t-1")
        assert not admitted.every_tenant

    @pytest.mark.parametrize("named", [None, "", "*", "x" * 256])
    def test_a_token_for_every_tenant_must_name_a_real_one(self, world: World, named: str | None) -> None:
        refusal = refusal_of(door(world), principal(Role.ADMIN, tenant_id="*"), tenant_id=named)
        assert refusal.code is ErrorCode.FORBIDDEN
        assert "?tenant_id=" in refusal.message


class TestRevoked:
    def test_is_not_let_in(self, world: World) -> None:
        world.hub.revoke(ACME, jti="t-1")
        refusal = refusal_of(door(world), principal(jti="t-1"))
        assert refusal.code is ErrorCode.UNAUTHORIZED
        assert refusal.close_code is CloseCode.UNAUTHORIZED

    def test_for_every_tenant_is_not_let_in_anywhere(self, world: World) -> None:
        world.hub.revoke("*", jti="t-1")
        for tenant in (ACME, GLOBEX):
            refusal_of(door(world), principal(Role.ADMIN, tenant_id="*", jti="t-1"), tenant_id=tenant)


class TestSockets:
    def test_of_one_address_are_limited(self, world: World) -> None:
        admission = door(world, connections_per_ip=2)
        admission.open_socket("192.0.2.1")
        admission.open_socket("192.0.2.1")
        with pytest.raises(Refusal) as raised:
            admission.open_socket("192.0.2.1")
        assert raised.value.code is ErrorCode.CONNECTION_LIMIT
        assert raised.value.retry_after
        admission.open_socket("192.0.2.2")
        admission.close_socket("192.0.2.1")
        admission.open_socket("192.0.2.1")

    def test_of_the_node_are_limited(self, world: World) -> None:
        admission = door(world, connections=2, connections_per_ip=1)
        admission.open_socket("192.0.2.1")
        admission.open_socket("192.0.2.2")
        with pytest.raises(Refusal) as raised:
            admission.open_socket("192.0.2.3")
        assert raised.value.message == "this node is full"
        admission.close_socket("192.0.2.1")
        admission.open_socket("192.0.2.3")

    def test_zero_is_no_limit(self, world: World) -> None:
        admission = door(world, connections=0, connections_per_ip=0)
        for _ in range(1_000):
            admission.open_socket("192.0.2.1")

    def test_a_draining_node_takes_nobody(self, world: World) -> None:
        admission = door(world)
        admission.draining = True
        with pytest.raises(Refusal) as raised:
            admission.open_socket("192.0.2.1")
        assert raised.value.code is ErrorCode.DRAINING
        assert raised.value.retry_after

    @given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc"))))
    def test_the_count_is_right_whatever_comes_and_goes(self, steps: list[tuple[bool, str]]) -> None:
        admission = door(World(), connections=4, connections_per_ip=2)
        open_: list[str] = []
        for comes, address in steps:
            if comes:
                fits = len(open_) < 4 and open_.count(address) < 2
                try:
                    admission.open_socket(address)
                    assert fits
                    open_.append(address)
                except Refusal:
                    assert not fits
            elif address in open_:
                admission.close_socket(address)
                open_.remove(address)
        assert admission.sockets == len(open_)


class TestRoom:
    def test_of_one_user_is_limited(self, world: World) -> None:
        admission = door(world, connections_per_user=2)
        first = world.connect(principal())
        world.connect(principal(Role.SUPERVISOR))
        refusal = refusal_of(admission, principal())
        assert refusal.code is ErrorCode.CONNECTION_LIMIT
        assert refusal.close_code is CloseCode.CONNECTION_LIMIT
        assert refusal.retry_after
        assert admission.admit(principal(user_id="8"), Endpoint.STAFF)
        assert admission.admit(principal(tenant_id=GLOBEX), Endpoint.STAFF)
        first.client.lost(CloseCode.NORMAL)
        assert admission.admit(principal(), Endpoint.STAFF)

    def test_of_one_tenant_is_limited(self, world: World) -> None:
        admission = door(world, connections_per_tenant=2)
        world.connect(principal(user_id="1"))
        world.connect(principal(Role.VISITOR, "2", session_id="s-1"))
        assert refusal_of(admission, principal(user_id="3")).message == "the tenant has too many connections"
        assert admission.admit(principal(tenant_id=GLOBEX), Endpoint.STAFF)

    def test_of_a_narrowed_token_is_the_tenants(self, world: World) -> None:
        admission = door(world, connections_per_tenant=1)
        world.connect(principal())
        refusal_of(admission, principal(Role.ADMIN, "root", "*"), tenant_id=ACME)
        assert admission.admit(principal(Role.ADMIN, "root", "*"), Endpoint.STAFF, GLOBEX)

    def test_zero_is_no_limit(self, world: World) -> None:
        for _ in range(30):
            world.connect(principal())
        assert door(world, connections_per_user=0, connections_per_tenant=0).admit(principal(), Endpoint.STAFF)

    def test_the_defaults_are_the_protocols(self) -> None:
        limits = Limits()
        assert (limits.connections_per_user, limits.connections_per_ip) == (10, 200)
        assert (limits.connections_per_tenant, limits.connections) == (0, 0)
        assert (limits.rate, limits.burst, limits.bad_messages, limits.outbox) == (20, 40, 20, 256)
