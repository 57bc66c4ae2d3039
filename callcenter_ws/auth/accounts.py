"""Accounts: signing in at the pages that the gateway serves.

The store has digests only: of the cookie of a session, of the code and the secret of a screen that waits, and of
passwords.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from msgspec.structs import replace

from callcenter_ws.auth.account_rules import digest_of, normal_name
from callcenter_ws.auth.page_tokens import PageTokens
from callcenter_ws.auth.pairing_codes import new_code
from callcenter_ws.auth.passwords import PasswordChecks
from callcenter_ws.auth.sign_in_tries import KnownNetworks, OpenCodes, SignInTries
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.audit import NO_AUDIT, AuditAction
from callcenter_ws.interfaces import AccountStore, Audit, PairingRecord, SessionKind, SessionRecord, UserRecord
from callcenter_ws.runtime.clock import Clock

PAIRING_SECONDS = 600.0
"""Seconds for which a screen shows its code."""

MAX_PERSON_SECONDS = 2_592_000.0
"""Seconds after which a person has to sign in again, however often the session is used: a stolen cookie ends, too."""

USED_SHARE = 20
"""The use of a session is stored when a part of its lifetime has passed: one in so many."""


@dataclass(slots=True)
class SignInRules:
    """How long sessions last, and how often a password may be tried; may be changed.

    Attributes:
        lifetime, screen_lifetime: seconds after the last use of a person's session, and of a screen's.
        failed_per_name: refused passwords of one name in 15 minutes.
    """

    lifetime: float
    screen_lifetime: float
    failed_per_name: int

    def end_of(self, kind: SessionKind, created_at: float, used_at: float) -> float:
        """Return when a session ends (Unix seconds) that is not used any more."""
        if kind == "screen":
            return used_at + self.screen_lifetime
        return min(used_at + self.lifetime, created_at + MAX_PERSON_SECONDS)


class NewSession(NamedTuple):
    """A session and its cookie, which is nowhere else."""

    session: SessionRecord
    cookie: str


class SignedIn(NamedTuple):
    """A token of a session, and when it ends (Unix seconds)."""

    session: SessionRecord
    token: str
    expires_at: int


class Pairing(NamedTuple):
    """What a screen shows, and the secret with which it asks whether it was approved."""

    code: str
    poll: str
    expires_at: float


class Subject(NamedTuple):
    """Whom the tokens of a session are for."""

    tenant_id: str
    user_id: str
    role: str
    display_name: str
    queues: tuple[str, ...] | None


class Accounts:
    """Signs people and screens in, and gives their sessions tokens.

    Args:
        store: where users and sessions are.
        revoked_until: returns until which ``iat`` the tokens of a user are refused; None if they are not.

    Attributes:
        tokens: signs the tokens.
        known_networks: from which users or screens have signed in.
        outcomes: how often something ended how, for the metrics.
        audit: where signing in is recorded.
    """

    def __init__(
        self,
        store: AccountStore,
        tokens: PageTokens,
        passwords: PasswordChecks,
        rules: SignInRules,
        clock: Clock,
        *,
        revoked_until: Callable[[str, str], float | None],
        audit: Audit = NO_AUDIT,
    ) -> None:
        self._store = store
        self.tokens = tokens
        self._passwords = passwords
        self._rules = rules
        self._clock = clock
        self._revoked_until = revoked_until
        self.audit = audit
        self.known_networks = KnownNetworks()
        self._tries = SignInTries(clock.monotonic, lambda: rules.failed_per_name, self.known_networks)
        self._codes = OpenCodes(clock.monotonic, PAIRING_SECONDS, self.known_networks)
        self.outcomes: dict[str, int] = {}

    @property
    def is_on(self) -> bool:
        """Whether people can sign in."""
        return self.tokens.has_keys

    @property
    def store(self) -> AccountStore:
        """The store.

        Raises:
            Refusal: ``signing_in_off``, with what is missing: processes that share a Redis need a file with keys.
        """
        if not self.tokens.has_keys:
            raise Refusal(ErrorCode.SIGNING_IN_OFF, "signing in is not set up at this gateway: set session.key_file")
        return self._store

    def count(self, outcome: str) -> None:
        """Count an outcome."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    # People

    async def sign_in(self, name: str, password: str, network: str) -> NewSession:
        """Open a session for a user with the right password.

        Raises:
            Refusal: ``wrong_password``, ``rate_limited``, ``try_later``, ``signing_in_off``, ``unavailable``.
        """
        store, name = self.store, normal_name(name)
        give_back = self._tries.take(name, network)
        try:
            user = await store.user(name)
            record = self._passwords.dummy if user is None else user.password
            is_known = network in self.known_networks
            is_right = await self._passwords.check(password, record, network, is_known=is_known)
        except BaseException:
            give_back()
            raise
        if user is None or not is_right:
            # Not the name that was given, which may be a password in the wrong field.
            self.audit.record(
                AuditAction.SIGN_IN_REFUSED,
                name=None if user is None else user.name,
                tenant_id=None if user is None else user.tenant_id,
                user_id=None if user is None else user.user_id,
                code=ErrorCode.WRONG_PASSWORD.value,
                network=network,
            )
            raise Refusal(ErrorCode.WRONG_PASSWORD)
        give_back()
        self.known_networks.add(network)
        return await self.open_session("person", _subject_of(user), user)

    async def open_session(self, kind: SessionKind, subject: Subject, user: UserRecord | None = None) -> NewSession:
        """Open a session.

        Args:
            user: whose password was right. If the user was changed meanwhile, the session has ended when it begins.

        Raises:
            Refusal: ``overloaded``, ``signing_in_off``, ``unavailable``.
        """
        now = self._clock.time()
        cookie = secrets.token_urlsafe(32)
        session = SessionRecord(
            id=digest_of(cookie),
            public_id=secrets.token_hex(8),
            kind=kind,
            name="" if user is None else user.name,
            **subject._asdict(),
            created_at=now,
            used_at=now,
            expires_at=self._rules.end_of(kind, now, now),
            user_changed_at=0.0 if user is None else user.changed_at,
        )
        await self.store.save_session(session, now, create=True)
        return NewSession(session, cookie)

    async def open_demo_session(self, subject: Subject) -> NewSession:
        """Open a session without a password; raises as ``open_session``."""
        return await self.open_session("demo", subject)

    def seconds_of(self, session: SessionRecord) -> float:
        """Return the seconds until a session ends that is used now, and not any more."""
        now = self._clock.time()
        return self._rules.end_of(session.kind, session.created_at, now) - now

    async def token(self, cookie: str) -> SignedIn:
        """Return a token for the session with a cookie, with the present rights of its user.

        Raises:
            Refusal: ``signed_out`` if it has ended; ``try_later`` if the token would still be covered by a revocation;
                ``signing_in_off``, ``unavailable``.
        """
        now = self._clock.time()
        session = await self._present(await self.store.session(digest_of(cookie), now), now)
        if session is None:
            raise Refusal(ErrorCode.SIGNED_OUT)
        until = self._revoked_until(session.tenant_id, session.user_id)
        if until is not None and int(now) <= until:
            text = "the user's tokens were revoked a moment ago; a new one can be had in some seconds"
            raise Refusal(ErrorCode.TRY_LATER, text, retry_after=until - int(now) + 1)
        return SignedIn(session, *self.tokens.sign(session))

    async def _present(self, session: SessionRecord | None, now: float) -> SessionRecord | None:
        """Return a session with the present rights of its user, and record its use; None if it has ended."""
        # The lifetime may be shorter than when the session was used last.
        if session is None or self._rules.end_of(session.kind, session.created_at, session.used_at) <= now:
            return None
        if session.kind == "person":
            user = await self.store.user(session.name)
            if user is None or user.changed_at != session.user_changed_at:
                await self.store.end_sessions(now, public_id=session.public_id)
                return None
            session = replace(session, **_subject_of(user)._asdict())
        expires_at = self._rules.end_of(session.kind, session.created_at, now)
        if now - session.used_at > (expires_at - now) / USED_SHARE:
            session = replace(session, used_at=now, expires_at=expires_at)
            # An operator may have ended it meanwhile. It is not longer, but valid, while the store takes no changes.
            try:
                if not await self.store.save_session(session, now, create=False):
                    return None
            except Refusal as refusal:
                if refusal.code is not ErrorCode.UNAVAILABLE:
                    raise
        return session

    async def sign_out(self, cookie: str) -> SessionRecord | None:
        """End the session with a cookie; return it if there was one. Its last token ends within ten minutes.

        Raises:
            Refusal: ``signing_in_off``, ``unavailable``.
        """
        now = self._clock.time()
        session = await self.store.session(digest_of(cookie), now)
        if session is not None:
            await self.store.end_sessions(now, public_id=session.public_id)
            self.count("ended")
        return session

    # Screens

    async def open_pairing(self, network: str) -> Pairing:
        """Return a code for a screen to show.

        Raises:
            Refusal: ``rate_limited``, ``try_later`` if too many wait, ``signing_in_off``, ``unavailable``.
        """
        store, now = self.store, self._clock.time()
        self._codes.add(network)
        pairing = Pairing(new_code(), secrets.token_urlsafe(32), now + PAIRING_SECONDS)
        record = PairingRecord(
            code=self.tokens.code_digests(pairing.code)[0],
            poll=digest_of(pairing.poll),
            network=network,
            expires_at=pairing.expires_at,
        )
        if not await store.save_pairing(record, now):
            raise Refusal(ErrorCode.TRY_LATER, "too many screens wait to be paired", retry_after=60.0)
        return pairing

    async def claim(self, poll: str) -> NewSession | None:
        """Open the session of a screen that was approved; None while it was not.

        Raises:
            Refusal: ``unknown_code`` if it does not wait any more; ``signing_in_off``, ``unavailable``.
        """
        grant = await self.store.claim_pairing(digest_of(poll), self._clock.time())
        if grant is None:
            raise Refusal(ErrorCode.UNKNOWN_CODE)
        if isinstance(grant, str):
            return None
        user_id = f"screen-{secrets.token_hex(8)}"
        subject = Subject(grant.tenant_id, user_id, grant.role, grant.display_name, grant.queues)
        return await self.open_session("screen", subject)


def _subject_of(user: UserRecord) -> Subject:
    return Subject(user.tenant_id, user.user_id, user.role, user.display_name, user.queues)
