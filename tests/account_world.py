"""Accounts over a store in memory, with passwords that are checked at once and at a low cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from callcenter_ws.auth.account_operations import AccountOperations
from callcenter_ws.auth.accounts import Accounts, NewSession, SignInRules
from callcenter_ws.auth.page_tokens import PageTokens
from callcenter_ws.auth.passwords import PasswordChecks, hash_password
from callcenter_ws.auth.revocation import Revocations
from callcenter_ws.broker.memory_accounts import MemoryAccounts
from callcenter_ws.interfaces import UserRecord
from callcenter_ws.testing import FakeClock, run

COST = 4
PASSWORD = "correct horse"
RECORD = hash_password(PASSWORD, log2_n=COST)
KEY = b"the key of the pages of this test"


@dataclass
class AccountWorld:
    """What signs in, and what is changed by it.

    Attributes:
        before_check: called while a password is checked.
        closed: the tenants and users whose connections were closed.
    """

    clock: FakeClock = field(default_factory=FakeClock)
    store: Any = field(default_factory=MemoryAccounts)
    rules: SignInRules = field(default_factory=lambda: SignInRules(43_200, 7_776_000, 10))
    before_check: Callable[[], object] = lambda: None
    closed: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = PageTokens([KEY], self.clock.time)
        self.revocations = Revocations(now=self.clock.time)
        self.accounts = Accounts(
            self.store,
            self.tokens,
            PasswordChecks(self._check, log2_n=COST),
            self.rules,
            self.clock,
            revoked_until=self.revocations.revoked_until,
        )
        self.operations = AccountOperations(self.accounts, self.clock, self._revoke)

    async def _check(self, call: Callable[[], bool]) -> bool:
        result = call()
        self.before_check()
        return result

    async def _revoke(self, tenant_id: str, user_id: str) -> int:
        now = self.clock.time()
        self.revocations.revoke_user(tenant_id, user_id, self.revocations.cutoff(now))
        self.closed.append((tenant_id, user_id))
        return 2

    def add_user(self, name: str = "anna", **changes: Any) -> UserRecord:
        given = {"tenant_id": "acme", "user_id": name, "role": "agent", "password": RECORD, "changed_at": 0.0}
        record = UserRecord(name=name, **{**given, **changes})
        run(self.operations.add_user(record))
        return record

    def sign_in(self, name: str = "anna", password: str = PASSWORD, network: str = "192.0.2.7") -> NewSession:
        return run(self.accounts.sign_in(name, password, network))
