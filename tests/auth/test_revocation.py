"""Revocation of tokens and users."""

from __future__ import annotations

import pytest
from doubles import KnownTokens
from sample_events import principal
from world import World

from callcenter_ws.auth import revocation
from callcenter_ws.auth.revocation import CLOCK_SKEW_SECONDS, MINIMUM_MARGIN_SECONDS, Revocations, UnrevokedTokens
from callcenter_ws.cluster.local_directory import LocalDirectory
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Principal
from callcenter_ws.interfaces import REVOCATION_LIFETIME_SECONDS, Revocation
from callcenter_ws.testing import FakeClock, run


def is_accepted(revocations: Revocations, principal: Principal) -> bool:
    authenticator = UnrevokedTokens(KnownTokens({"token": principal}), revocations)
    try:
        revocations.check(principal)
    except Refusal as refusal:
        assert refusal.code is ErrorCode.UNAUTHORIZED
        with pytest.raises(Refusal) as raised:
            authenticator.verify("token")
        assert raised.value.code is ErrorCode.UNAUTHORIZED
        return False
    assert authenticator.verify("token") == principal
    return True


def test_without_revocations_all_tokens_are_accepted() -> None:
    assert is_accepted(Revocations(), principal(jti="t-1", issued_at=1.0))


def test_no_token_is_accepted_before_the_revocations_are_read() -> None:
    revocations = Revocations()
    authenticator = UnrevokedTokens(KnownTokens({"token": principal()}), revocations)
    assert revocations.not_ready() is None
    revocations.are_read = False
    assert revocations.not_ready() == "revocations: they have not been read from the store yet"
    with pytest.raises(Refusal) as raised:
        authenticator.verify("token")
    assert (raised.value.code, raised.value.retry_after) == (ErrorCode.TRY_LATER, 1.0)
    # A token that is no good in any case is refused for good.
    with pytest.raises(Refusal) as raised:
        authenticator.verify("another")
    assert raised.value.code is ErrorCode.UNAUTHORIZED
    revocations.are_read = True
    assert authenticator.verify("token") == principal()


def test_only_the_revoked_token_is_refused() -> None:
    revocations = Revocations()
    revocations.revoke_token("acme", "t-1")
    assert not is_accepted(revocations, principal(jti="t-1"))
    assert is_accepted(revocations, principal(jti="t-2"))
    assert is_accepted(revocations, principal(jti=None))
    assert is_accepted(revocations, principal(jti="t-1", tenant_id="globex"))


def test_tokens_issued_before_the_revocation_of_their_user_are_refused() -> None:
    revocations = Revocations()
    revocations.revoke_user("acme", "7", 1000.0)
    assert not is_accepted(revocations, principal(issued_at=999.0))
    assert not is_accepted(revocations, principal(issued_at=1000.0))
    assert is_accepted(revocations, principal(issued_at=1001.0))
    assert is_accepted(revocations, principal(user_id="8", issued_at=1.0))
    assert is_accepted(revocations, principal(tenant_id="globex", issued_at=1.0))


def test_a_token_without_iat_of_a_revoked_user_is_refused() -> None:
    revocations = Revocations()
    revocations.revoke_user("acme", "7", 1000.0)
    assert not is_accepted(revocations, principal(issued_at=None))


@pytest.mark.parametrize("lead", [0.5, 3.0, 30.0, 60.0])
def test_tokens_of_an_issuer_whose_clock_is_ahead_are_revoked(lead: float) -> None:
    clock = FakeClock()
    revocations = Revocations(now=clock.time)
    old = principal(issued_at=clock.time() + lead)
    assert is_accepted(revocations, old)
    clock.advance(1.0)
    revocations.revoke_user("acme", "7", revocations.cutoff(clock.time()))
    assert not is_accepted(revocations, old)
    clock.advance(lead + 1)
    assert not is_accepted(revocations, old)
    # A token that was issued later is accepted, at the latest after the tolerance.
    assert is_accepted(revocations, principal(issued_at=clock.time() + CLOCK_SKEW_SECONDS + lead))


def test_a_token_that_was_never_presented_is_revoked_although_no_lead_was_seen() -> None:
    """As after a restart: the lead of the issuer's clock was forgotten."""
    clock = FakeClock()
    revocations = Revocations(now=clock.time)
    old = principal(issued_at=clock.time() + 3)
    revocations.revoke_user("acme", "7", revocations.cutoff(clock.time()))
    assert not is_accepted(revocations, old)
    clock.advance(10)
    assert not is_accepted(revocations, old)
    assert is_accepted(revocations, principal(issued_at=clock.time()))


def test_without_a_lead_of_the_issuer_a_token_issued_after_the_margin_is_accepted() -> None:
    clock = FakeClock()
    revocations = Revocations(now=clock.time)
    assert is_accepted(revocations, principal(issued_at=clock.time() - 10))
    revocations.revoke_user("acme", "7", revocations.cutoff(clock.time()))
    assert not is_accepted(revocations, principal(issued_at=clock.time() + MINIMUM_MARGIN_SECONDS))
    assert is_accepted(revocations, principal(issued_at=clock.time() + MINIMUM_MARGIN_SECONDS + 0.01))


def test_the_cutoff_is_bounded_by_the_tolerance() -> None:
    revocations = Revocations(tolerance=120.0, now=lambda: 1000.0)
    revocations.note_issued(principal(issued_at=1110.0))
    assert revocations.cutoff(1000.0) == 1120.0


def test_an_earlier_revocation_of_a_user_weakens_no_later_one() -> None:
    """As when the clock was set back."""
    revocations = Revocations()
    revocations.revoke_user("acme", "7", 2000.0)
    revocations.revoke_user("acme", "7", 1000.0)
    revocations.merge([Revocation("acme", None, "7", 1000.0)])
    assert not is_accepted(revocations, principal(issued_at=1500.0))


def test_a_later_revocation_of_a_user_replaces_the_earlier_one() -> None:
    revocations = Revocations()
    revocations.revoke_user("acme", "7", 1000.0)
    revocations.revoke_user("acme", "7", 2000.0)
    assert not is_accepted(revocations, principal(issued_at=1500.0))


def check_full(revocations: Revocations, tenant_id: str, text: str, *, for_all: bool = False) -> None:
    for jti, user_id in (("new", None), (None, "new"), ("new", "new")):
        with pytest.raises(Refusal, match=text) as raised:
            revocations.check_room(tenant_id, jti, user_id, for_all=for_all)
        assert raised.value.code is ErrorCode.OVERLOADED


def test_one_tenant_fills_its_share_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "MAX_REVOCATIONS_PER_TENANT", 2)
    revocations = Revocations()
    revocations.revoke_token("acme", "t-1")
    revocations.revoke_user("acme", "7", revocations._now())
    check_full(revocations, "acme", "2 revocations of one tenant")
    revocations.check_room("globex", "t-1", "7")
    revocations.check_room("acme", "new", "new", for_all=True)
    # A repeated one needs no room.
    revocations.check_room("acme", "t-1", "7")
    revocations.revoke_user("acme", "7", revocations._now() + 1)
    revocations.check_room("acme", "t-1", "7")
    assert not is_accepted(revocations, principal(user_id="9", jti="t-1"))


def test_room_is_reserved_for_credentials_for_all_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "MAX_REVOCATIONS", 4)
    monkeypatch.setattr(revocation, "RESERVED_REVOCATIONS", 2)
    revocations = Revocations()
    revocations.revoke_token("acme", "t-1")
    revocations.revoke_token("globex", "t-1")
    check_full(revocations, "initech", "2 revocations of all tenants")
    revocations.check_room("initech", "t-1", "7", for_all=True)
    revocations.revoke_token("initech", "t-1")
    revocations.revoke_token("initech", "t-2")
    check_full(revocations, "initech", "4 revocations of all tenants", for_all=True)


def test_revocations_older_than_any_token_are_forgotten_when_their_room_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(revocation, "MAX_REVOCATIONS_PER_TENANT", 2)
    clock = FakeClock()
    revocations = Revocations(now=clock.time)
    revocations.revoke_token("acme", "old")
    revocations.revoke_user("acme", "old", clock.time())
    clock.advance(REVOCATION_LIFETIME_SECONDS - 1)
    check_full(revocations, "acme", "one tenant")
    clock.advance(revocation.SEARCH_INTERVAL_SECONDS)
    assert not is_accepted(revocations, principal(jti="old"))
    revocations.check_room("acme", "new", "new")
    assert is_accepted(revocations, principal(jti="old"))


def test_a_token_that_is_valid_for_longer_is_remembered_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "MAX_REVOCATIONS_PER_TENANT", 1)
    clock = FakeClock()
    revocations = Revocations(now=clock.time)
    lifetime = 3 * REVOCATION_LIFETIME_SECONDS
    revocations.note_issued(principal(issued_at=clock.time(), expires_at=clock.time() + lifetime))
    revocations.revoke_token("acme", "old")
    clock.advance(lifetime - 1)
    check_full(revocations, "acme", "one tenant")
    clock.advance(revocation.SEARCH_INTERVAL_SECONDS)
    revocations.check_room("acme", "new", None)


def test_a_directory_refuses_what_has_no_room_and_revokes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "MAX_REVOCATIONS_PER_TENANT", 1)
    world = World()
    directory = LocalDirectory(world.hub, world.presence, world.broker, world.clock)

    async def revoke() -> None:
        with pytest.raises(Refusal, match="one tenant"):
            await directory.revoke("acme", jti="t-1", user_id="7")
        assert is_accepted(world.hub.revocations, principal(jti="t-1", issued_at=1.0))
        await directory.revoke("acme", jti="t-1", user_id="7", for_all=True)

    run(revoke())
    assert not is_accepted(world.hub.revocations, principal(jti="t-1"))


def test_revocations_are_restored() -> None:
    revocations = Revocations()
    revocations.merge([Revocation("acme", "t-1", None, 5.0), Revocation("acme", None, "8", 1000.0)])
    assert not is_accepted(revocations, principal(jti="t-1"))
    assert not is_accepted(revocations, principal(user_id="8", issued_at=1000.0))
    assert is_accepted(revocations, principal(user_id="8", issued_at=1001.0))


def test_an_effective_revocation_is_saved_in_the_store() -> None:
    world = World()
    saved: list[Revocation] = []
    world.broker.save_revocation = saved.append  # type: ignore[method-assign]  # records what is saved
    directory = LocalDirectory(world.hub, world.presence, world.broker, world.clock)

    async def revoke() -> None:
        await directory.revoke("acme", jti="t-1")
        await directory.revoke("acme", user_id="7")
        with pytest.raises(Refusal):
            await directory.revoke("acme")

    run(revoke())
    assert saved == [
        Revocation("acme", "t-1", None, world.clock.time() + MINIMUM_MARGIN_SECONDS),
        Revocation("acme", None, "7", world.clock.time() + MINIMUM_MARGIN_SECONDS),
    ]
