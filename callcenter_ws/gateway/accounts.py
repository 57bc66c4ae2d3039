"""Builds what signs people and screens in, from the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.threads import deferToThreadPool

from callcenter_ws.auth.account_operations import AccountOperations
from callcenter_ws.auth.accounts import Accounts, SignInRules
from callcenter_ws.auth.page_tokens import PageTokens
from callcenter_ws.auth.passwords import PasswordChecks
from callcenter_ws.auth.revocation import Revocations
from callcenter_ws.config.settings import Settings
from callcenter_ws.interfaces import AccountStore, Audit, Directory
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.runtime.threads import DedicatedThreadPool


@dataclass(frozen=True, slots=True)
class SigningIn:
    """The parts that sign in.

    Attributes:
        rules: how long sessions last, and how often a password may be tried; a reload changes them.
        operations: what operators do with users and screens.
    """

    rules: SignInRules
    accounts: Accounts
    operations: AccountOperations


def signing_in(
    reactor: Reactor,
    clock: Clock,
    settings: Settings,
    store: AccountStore,
    tokens: PageTokens,
    directory: Directory,
    revocations: Revocations,
    audit: Audit,
) -> SigningIn:
    """Return the parts."""
    # It does not keep the process from exiting, as the other pools.
    pool = DedicatedThreadPool(1, "callcenter-ws passwords")
    pool.start()

    async def run(call: Callable[[], bool]) -> bool:
        return await deferToThreadPool(reactor, pool, call)

    async def revoke(tenant_id: str, user_id: str) -> int:
        return await directory.revoke(tenant_id, user_id=user_id, for_all=True)

    rules = sign_in_rules(settings)
    accounts = Accounts(
        store,
        tokens,
        PasswordChecks(run, monotonic=clock.monotonic),
        rules,
        clock,
        revoked_until=revocations.revoked_until,
        audit=audit,
    )
    return SigningIn(rules, accounts, AccountOperations(accounts, clock, revoke))


def sign_in_rules(settings: Settings) -> SignInRules:
    """Return the rules of signing in."""
    session = settings.session
    return SignInRules(session.lifetime, session.screen_lifetime, settings.limits.failed_sign_ins_per_name)
