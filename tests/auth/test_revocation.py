"""Tokens that are refused although they are still valid."""

from __future__ import annotations

import pytest
from core_stage import Stage
from core_world import principal

from callcenter_ws.auth import revocation
from callcenter_ws.auth.revocation import Revocations
from callcenter_ws.cluster.local_directory import LocalDirectory
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Principal
from callcenter_ws.interfaces import Revocation


def passes(revocations: Revocations, who: Principal) -> bool:
    try:
        revocations.check(who)
    except Refusal as refusal:
        assert refusal.code is ErrorCode.UNAUTHORIZED
        return False
    return True


def test_everybody_passes_at_first() -> None:
    assert passes(Revocations(), principal(jti="t-1", issued_at=1.0))


def test_a_revoked_token_is_refused_and_no_other() -> None:
    revocations = Revocations()
    revocations.revoke_token("acme", "t-1")
    assert not passes(revocations, principal(jti="t-1"))
    assert passes(revocations, principal(jti="t-2"))
    assert passes(revocations, principal(jti=None))
    assert passes(revocations, principal(jti="t-1", tenant_id="globex"))


def test_a_users_tokens_until_now_are_refused() -> None:
    revocations = Revocations()
    revocations.revoke_user("acme", "7", 1000.0)
    assert not passes(revocations, principal(issued_at=999.0))
    assert not passes(revocations, principal(issued_at=1000.0))
    assert passes(revocations, principal(issued_at=1001.0))
    assert passes(revocations, principal(user_id="8", issued_at=1.0))
    assert passes(revocations, principal(tenant_id="globex", issued_at=1.0))


def test_a_token_that_does_not_say_when_it_was_issued_is_refused() -> None:
    revocations = Revocations()
    revocations.revoke_user("acme", "7", 1000.0)
    assert not passes(revocations, principal(issued_at=None))


def test_a_later_revocation_of_the_same_user_counts() -> None:
    revocations = Revocations()
    revocations.revoke_user("acme", "7", 1000.0)
    revocations.revoke_user("acme", "7", 2000.0)
    assert not passes(revocations, principal(issued_at=1500.0))


def test_a_full_list_says_so_and_forgets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "MAX_REVOCATIONS", 2)
    revocations = Revocations()
    revocations.revoke_token("acme", "t-1")
    revocations.revoke_user("acme", "7", 5.0)
    for revoke in (lambda: revocations.revoke_token("acme", "t-2"), lambda: revocations.revoke_user("acme", "8", 1.0)):
        with pytest.raises(Refusal) as raised:
            revoke()
        assert raised.value.code is ErrorCode.OVERLOADED
    assert not passes(revocations, principal(user_id="9", jti="t-1"))
    assert not passes(revocations, principal(issued_at=1.0))


def test_revoking_again_needs_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who presses the button twice, or again for newer tokens, must not hear that there is no room."""
    monkeypatch.setattr(revocation, "MAX_REVOCATIONS", 2)
    revocations = Revocations()
    revocations.revoke_token("acme", "t-1")
    revocations.revoke_user("acme", "7", 5.0)
    revocations.revoke_token("acme", "t-1")
    revocations.revoke_user("acme", "7", 9.0)
    assert not passes(revocations, principal(issued_at=8.0))


def test_what_was_revoked_before_is_taken_up() -> None:
    revocations = Revocations()
    revocations.recall([Revocation("acme", "t-1", None, 5.0), Revocation("acme", None, "8", 1000.0)])
    assert not passes(revocations, principal(jti="t-1"))
    assert not passes(revocations, principal(user_id="8", issued_at=1000.0))
    assert passes(revocations, principal(user_id="8", issued_at=1001.0))


def test_a_revocation_is_noted_once_it_holds() -> None:
    stage = Stage()
    noted: list[Revocation] = []
    stage.broker.save_revocation = noted.append  # type: ignore[method-assign]  # to see what is noted
    directory = LocalDirectory(stage.hub, stage.presence, stage.broker, stage.clock)

    async def revoke() -> None:
        await directory.revoke("acme", jti="t-1")
        await directory.revoke("acme", user_id="7")
        with pytest.raises(Refusal):
            await directory.revoke("acme")

    with pytest.raises(StopIteration):
        revoke().send(None)
    assert noted == [
        Revocation("acme", "t-1", None, stage.clock.time()),
        Revocation("acme", None, "7", stage.clock.time()),
    ]
