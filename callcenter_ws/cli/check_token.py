"""``callcenter-ws check-token``: verifies a token as a gateway with these settings would."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Iterator

from callcenter_ws.auth.jwkset import JwkSet, parse_jwk_set
from callcenter_ws.auth.jws import parse
from callcenter_ws.auth.keys import KeyRing, UnusableKey, read_secret
from callcenter_ws.auth.page_tokens import PAGE_KID, PageTokens, page_keys
from callcenter_ws.auth.tokens import TokenVerifier
from callcenter_ws.auth.visitors import SESSION_KID, GatewayTokens, VisitorSessions
from callcenter_ws.cli.arguments import TOKEN_VARIABLE, Commands, add_command, add_settings, add_timeout, add_token
from callcenter_ws.cli.http_request import get
from callcenter_ws.cli.printable import printable
from callcenter_ws.cli.spans import instant, span
from callcenter_ws.cli.target import CommandFailed, given_token, settings_of
from callcenter_ws.cli.token_hints import KnownKeys, hints, is_known_spelling
from callcenter_ws.config.load import load
from callcenter_ws.config.settings import Settings
from callcenter_ws.config.verification import fixed_keys, token_rules
from callcenter_ws.demo.settings import demo_settings
from callcenter_ws.demo.state import DemoState
from callcenter_ws.errors import Refusal
from callcenter_ws.events.principal import Principal

_NOT_CHECKED = "Not checked: whether the token was revoked, which the gateway knows."


def add(commands: Commands) -> None:
    """Add the command."""
    example = "callcenter-ws check-token --config gw.toml --token-file my.token"
    text = "verify a token as the gateway would, and print whom it is for or why it is refused"
    command = add_command(commands, "check-token", check_token, text, example)
    add_token(command)
    add_settings(command)
    add_timeout(command)


def check_token(arguments: argparse.Namespace) -> int:
    """Print the principal of a token; fail with the reason if the gateway would refuse it."""
    token = given_token(arguments)
    if token is None:
        raise CommandFailed(f"no token given: use --token-file FILE (- for standard input) or {TOKEN_VARIABLE}")
    settings = _settings(arguments)
    try:
        keys = _keys(settings, arguments.timeout)
        verifier = _verifier(settings, keys.ring)
    except UnusableKey as error:
        raise CommandFailed(str(error)) from None
    _refuse_unknown_session(settings, token)
    try:
        principal = verifier.verify(token)
    except Refusal as refusal:
        reasons = [f"refused: {refusal.message}", *hints(token, refusal.message, settings, keys, time.time())]
        raise CommandFailed("\n".join(reasons)) from None
    if keys.problem is not None:
        print(f"warning: {keys.problem}", file=sys.stderr)
    print("\n".join(_described(principal, token, time.time())))
    return 0


def _settings(arguments: argparse.Namespace) -> Settings:
    if arguments.config is not None or arguments.set:
        return settings_of(arguments)
    demo = DemoState.find()
    return demo_settings(load(None, demo=True), demo)


def _keys(settings: Settings, timeout: float) -> KnownKeys:
    """Return the keys of the settings: those in files, and those of the JWK set, which is fetched once."""
    jwt = settings.jwt
    fixed = fixed_keys(jwt)
    ring = KeyRing(fixed, awaits_fetched=jwt.jwks_url is not None)
    if jwt.jwks_url is None:
        return KnownKeys(ring, tuple(fixed), None)
    try:
        fetched = _fetch(jwt.jwks_url, timeout)
    except (CommandFailed, UnusableKey) as error:
        return KnownKeys(ring, tuple(fixed), f"jwt.jwks_url: {error}")
    ring.renew(fetched.keys)
    ignored = f"jwt.jwks_url: keys that are not used: {'; '.join(fetched.ignored)}" if fetched.ignored else None
    return KnownKeys(ring, (*fixed, *fetched.keys), ignored)


def _fetch(url: str, timeout: float) -> JwkSet:
    status, body = get(url, {"Accept": "application/jwk-set+json, application/json"}, timeout)
    if status != 200:
        raise CommandFailed(f"{url.partition('?')[0]} answers with status {status}; redirects are not followed")
    return parse_jwk_set(body)


def _verifier(settings: Settings, ring: KeyRing) -> GatewayTokens:
    file = settings.public.session_key_file
    session_key = secrets.token_bytes(32) if file is None else read_secret(file)
    sessions = VisitorSessions(session_key, time.time, lambda: "")
    # The file of a gateway is read, never made: the command may run as another user.
    page_file = settings.session_key_file
    keys = page_keys(page_file) if page_file is not None and page_file.exists() else []
    pages = PageTokens(keys, time.time)
    return GatewayTokens(sessions, pages, TokenVerifier(ring, token_rules(settings.jwt), time.time))


def _refuse_unknown_session(settings: Settings, token: str) -> None:
    """Refuse to judge a token whose key only the gateway has."""
    kid = parse(token).kid if is_known_spelling(token) else None
    page_file = settings.session_key_file
    if kid == PAGE_KID and (page_file is None or not page_file.exists()):
        raise CommandFailed(
            "this is a token of the gateway's pages, and its key is not where these settings say: it cannot be "
            "verified here (session.key_file)"
        )
    if settings.public.session_key_file is None and kid == SESSION_KID:
        raise CommandFailed(
            "this is the session token of an anonymous visitor, which the gateway has signed with a key in its "
            "memory: it cannot be verified here (public.session_key_file is not set)"
        )


def _described(principal: Principal, token: str, now: float) -> Iterator[str]:
    header = parse(token)
    yield "OK: the token is valid"
    yield _line("user", principal.user_id + (f" ({principal.name})" if principal.name else ""))
    yield _line("tenant", "* (all tenants)" if principal.every_tenant else principal.tenant_id)
    yield _line("role", principal.role)
    yield _line("queues", "all" if principal.queues is None else ", ".join(sorted(principal.queues)) or "none")
    if principal.session_id is not None:
        yield _line("chat session", principal.session_id)
    if principal.extension is not None:
        yield _line("extension", principal.extension)
    if principal.issued_at is not None:
        yield _line("issued", f"{instant(principal.issued_at)}, {span(now - principal.issued_at)} ago")
    if principal.expires_at is not None:
        yield _line("expires", f"{instant(principal.expires_at)}, in {span(principal.expires_at - now)}")
    yield _line("jti", principal.jti or "none: only all tokens of the user can be revoked together")
    yield _line("signature", f"{header.algorithm}, {'no kid' if header.kid is None else f'kid {header.kid}'}")
    yield _line("connects to", "/ws/public" if principal.is_visitor else "/ws")
    yield _NOT_CHECKED


def _line(name: str, value: str) -> str:
    return f"  {name:14} {printable(value)}"
