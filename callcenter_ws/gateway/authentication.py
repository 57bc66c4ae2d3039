"""Builds what decides which tokens, origins and secrets are accepted, at the start and for a reload."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from twisted.logger import Logger
from twisted.web.client import Agent

from callcenter_ws.auth.jwks import JwksSource
from callcenter_ws.auth.jwkset import JwkSet
from callcenter_ws.auth.keys import KeyRing, read_secret
from callcenter_ws.auth.page_tokens import MIN_KEY_BYTES, PageTokens, page_keys
from callcenter_ws.auth.revocation import Revocations, UnrevokedTokens
from callcenter_ws.auth.tokens import TokenVerifier
from callcenter_ws.auth.visitors import GatewayTokens, VisitorSessions
from callcenter_ws.config.settings import JwtSettings, Settings
from callcenter_ws.config.verification import fixed_keys, token_rules
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.runtime.secret_files import make_secret
from callcenter_ws.workers.handoff import WorkerHandoff
from callcenter_ws.ws.handshake import OptionalTokenSources
from callcenter_ws.ws.origin import OriginList, OriginPolicy, PublicTenant

_log = Logger()


@dataclass(slots=True, kw_only=True)
class Authentication:
    """The parts that decide which tokens are accepted.

    Attributes:
        tokens: verifies all tokens; its keys are replaced when they change.
        visitors: issues and verifies the session tokens of anonymous visitors.
        pages: issues and verifies the tokens of the pages that the gateway serves.
        jwks: fetches the JWK set; None if ``jwt.jwks_url`` is not set.
        jwt: the settings that ``tokens`` follows now.
    """

    authenticator: UnrevokedTokens
    tokens: GatewayTokens
    visitors: VisitorSessions
    pages: PageTokens
    jwks: JwksSource | None
    jwt: JwtSettings

    def missing_keys(self) -> str | None:
        """Return why no token can be verified; None if there are keys."""
        if self.jwks is not None:
            return self.jwks.not_ready()
        jwt = self.jwt
        return None if jwt.secret_file or jwt.public_key_files else "jwt: no key is configured, every token is refused"


def authentication(
    reactor: Reactor, clock: Clock, settings: Settings, handoff: WorkerHandoff | None, revocations: Revocations
) -> Authentication:
    """Build the parts for the start.

    Raises:
        OSError, ValueError: a file with a key cannot be used.
    """
    jwt = settings.jwt
    ring = key_ring(jwt)
    visitors = VisitorSessions(session_key(settings, handoff), clock.time, lambda: secrets.token_urlsafe(16))
    pages = PageTokens(page_token_keys(settings), clock.time)
    tokens = GatewayTokens(visitors, pages, TokenVerifier(ring, token_rules(jwt), clock.time))
    return Authentication(
        authenticator=UnrevokedTokens(tokens, revocations),
        tokens=tokens,
        visitors=visitors,
        pages=pages,
        jwks=jwks_source(reactor, clock, jwt, ring),
        jwt=jwt,
    )


def key_ring(jwt: JwtSettings, fetched: JwkSet | None = None) -> KeyRing:
    """Return a ring with the keys of the files, and those that were fetched before.

    Raises:
        ValueError: a file cannot be used, or there are too many keys.
    """
    ring = KeyRing(fixed_keys(jwt), awaits_fetched=jwt.jwks_url is not None)
    if fetched is not None:
        ring.renew(fetched.keys)
    return ring


def jwks_source(
    reactor: Reactor, clock: Clock, jwt: JwtSettings, ring: KeyRing, known: JwkSet | None = None
) -> JwksSource | None:
    """Return what fetches keys for a ring; None if there is no URL to fetch them from.

    Args:
        known: the keys that the ring has until the first fetch has succeeded.
    """
    if jwt.jwks_url is None:
        return None
    agent = Agent(reactor, connectTimeout=10)
    return JwksSource(jwt.jwks_url, ring, agent, clock, interval=jwt.jwks_refresh, known=known)


def session_key(settings: Settings, handoff: WorkerHandoff | None) -> bytes:
    """Return the key of visitors' session tokens; without a file the sessions end with the node's processes."""
    if settings.public.session_key_file is not None:
        return read_secret(settings.public.session_key_file)
    # Every worker must accept the session tokens that another worker signed.
    return secrets.token_bytes(32) if handoff is None else handoff.session_key.read_bytes()


def page_token_keys(settings: Settings) -> list[bytes]:
    """Return the keys of the pages' tokens; none if signing in is off.

    Beside a store's file a key is made at the first start: it lasts as long as the sessions in the file. Processes that
    share a Redis need a file that all of them have. With a store in memory the sessions end with the process. If the
    key cannot be written beside the store, signing in is off, and the log says why.

    Raises:
        OSError, ValueError: a file cannot be used.
    """
    path = settings.session_key_file
    if path is None:
        return [] if settings.redis_is_used else [secrets.token_bytes(MIN_KEY_BYTES)]
    if settings.session.key_file is None:
        try:
            make_secret(path, secrets.token_urlsafe(48))
        except OSError as error:
            _log.warn("signing in is off: cannot write its key to {path}: {reason}", path=path, reason=error.strerror)
            return []
    return page_keys(path)


def amp_secret(settings: Settings) -> bytes | None:
    """Return the shared secret of daemons; None if there is none."""
    token_file = settings.amp.token_file
    return None if token_file is None else token_file.read_bytes().strip()


def origin_policy(settings: Settings) -> OriginPolicy:
    """Return which pages may connect."""
    tenants = {
        name: PublicTenant(OriginList(tenant.origins), tenant.anonymous)
        for name, tenant in settings.public.tenants.items()
    }
    return OriginPolicy(OriginList(settings.web.allowed_origins), tenants)


def token_sources(jwt: JwtSettings) -> OptionalTokenSources:
    """Return where a token may be in a handshake."""
    return OptionalTokenSources(cookie=jwt.cookie, query=jwt.allow_query_token)
