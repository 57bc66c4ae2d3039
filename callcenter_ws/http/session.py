"""``/session/``: signing in at the pages that the gateway serves, and their tokens (``docs/http.rst``, "Signing in").

All of it is for pages of the gateway only: each request names its ``Origin``, and nothing can be read across origins.
The cookie is sent to ``/session/token`` only, and nothing but that resource accepts it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import Request

from callcenter_ws import __version__
from callcenter_ws.auth.accounts import Accounts, NewSession, Subject
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.audit import AuditAction
from callcenter_ws.http.own_origin import Site, signing_in_site
from callcenter_ws.http.page_options import PageOptions
from callcenter_ws.http.request_peer import RequestPeer
from callcenter_ws.http.responses import (
    JsonNotFound,
    JsonResource,
    Response,
    json_response,
    refusal_response,
    request_body,
)
from callcenter_ws.interfaces import SessionRecord
from callcenter_ws.runtime.client_address import TrustedProxies
from callcenter_ws.runtime.json import JsonObject, encode_json, rfc3339
from callcenter_ws.runtime.log_fields import Name
from callcenter_ws.runtime.peer_budget import Credential

MAX_BODY_BYTES = 4_096
"""The largest body of a request."""

POLL_MS = 3_000
"""How often a screen asks whether it was approved."""

COOKIE_PATH = "/session/token"
_SECURE_COOKIE = "__Secure-callcenter-session"
_PLAIN_COOKIE = "callcenter-session"

_log = Logger("callcenter_ws")


@dataclass(frozen=True, slots=True)
class DemoSignIn:
    """Whom a click signs in at the demo.

    Attributes:
        subjects: by role.
        hosts: the hosts, with ports, at which the demo may be used. Any other name may belong to a site that lets it
            resolve to this address (DNS rebinding).
        sender: what sends the events: ``simulator``, or ``exchange``, which can do less.
    """

    subjects: Mapping[str, Subject]
    hosts: Collection[str]
    sender: str = "simulator"


class _Login(msgspec.Struct, frozen=True):
    name: str
    password: str


class _Claim(msgspec.Struct, frozen=True):
    poll: str


class _Demo(msgspec.Struct, frozen=True):
    role: str


class _Empty(msgspec.Struct, frozen=True):
    pass


class SessionResource(JsonNotFound):
    """The parent of the resources of signing in.

    Args:
        proxies: the trusted proxies, which say what the browser has asked.
        demo: whom a click signs in; None without the demo.
    """

    def __init__(self, accounts: Accounts, proxies: TrustedProxies, demo: DemoSignIn | None) -> None:
        super().__init__()
        self._accounts = accounts
        self._proxies = proxies
        self._demo = demo
        self.putChild(b"login", JsonResource(post=self._login))
        self.putChild(b"token", JsonResource(post=self._token, delete=self._sign_out))
        pairing = JsonResource(post=self._pair)
        pairing.putChild(b"claim", JsonResource(post=self._claim))
        self.putChild(b"pairing", pairing)
        if demo is not None:
            self.putChild(b"demo", JsonResource(post=self._sign_in_at_demo))

    # People

    async def _login(self, request: Request) -> Response:
        site, peer = signing_in_site(request, self._proxies), _peer_of(request)
        body = _body(request, _Login)
        try:
            peer.check_try(Credential.PASSWORD)
            new = await self._accounts.sign_in(body.name, body.password, peer.network)
        except Refusal as refusal:
            if refusal.code is ErrorCode.WRONG_PASSWORD:
                peer.token_refused(Credential.PASSWORD)
            if refusal.code in (ErrorCode.WRONG_PASSWORD, ErrorCode.RATE_LIMITED):
                self._accounts.count(refusal.code.value)
            raise
        self._accounts.count("ok")
        return self._opened(new, site, peer)

    async def _sign_in_at_demo(self, request: Request) -> Response:
        site, role = signing_in_site(request, self._proxies), _body(request, _Demo).role
        if self._demo is None or site.host not in self._demo.hosts:
            raise Refusal(ErrorCode.FORBIDDEN, "the demo signs in at the addresses that it announced")
        subject = self._demo.subjects.get(role)
        if subject is None:
            raise Refusal(ErrorCode.INVALID_MESSAGE, f"role: expected one of {', '.join(self._demo.subjects)}")
        new = await self._accounts.open_demo_session(subject)
        return self._opened(new, site, _peer_of(request))

    # Tokens

    async def _token(self, request: Request) -> Response:
        site = signing_in_site(request, self._proxies)
        _body(request, _Empty)
        cookie = _cookie(request, site) or ""
        try:
            signed = await self._accounts.token(cookie)
        except Refusal as refusal:
            if refusal.code is not ErrorCode.SIGNED_OUT:
                raise
            refused = refusal_response(refusal)
            return Response(refused.body, refused.status, {**refused.headers, **_deleted(site)})
        peer = _peer_of(request)
        peer.token_accepted()
        if signed.session.kind != "demo":
            self._accounts.known_networks.add(peer.network)
        fields = _fields(signed.session) | {
            "expires_at": rfc3339(signed.expires_at),
            "token": signed.token,
            "session": signed.session.public_id,
        }
        return _with_cookie(fields, site, cookie, self._accounts.seconds_of(signed.session))

    async def _sign_out(self, request: Request) -> Response:
        site = signing_in_site(request, self._proxies)
        session = await self._accounts.sign_out(_cookie(request, site) or "")
        if session is not None:
            self._record(AuditAction.SIGNED_OUT, session, _peer_of(request))
            _log.info("signed out: {kind} {name} from {peer}", **_log_fields(session, _peer_of(request)))
        return Response(b"", 204, _deleted(site))

    # Screens

    async def _pair(self, request: Request) -> Response:
        signing_in_site(request, self._proxies)
        _body(request, _Empty)
        peer = _peer_of(request)
        peer.check_try(Credential.PASSWORD)
        pairing = await self._accounts.open_pairing(peer.network)
        # Each code makes guessing another one easier, so it counts as a refused password.
        peer.token_refused(Credential.PASSWORD)
        fields = {
            "code": pairing.code,
            "poll": pairing.poll,
            "expires_at": rfc3339(pairing.expires_at),
            "poll_ms": POLL_MS,
        }
        return json_response(fields, 201)

    async def _claim(self, request: Request) -> Response:
        site, poll = signing_in_site(request, self._proxies), _body(request, _Claim).poll
        new = await self._accounts.claim(poll)
        if new is None:
            return json_response({"state": "waiting"}, 202)
        self._accounts.count("paired")
        peer = _peer_of(request)
        self._accounts.known_networks.add(peer.network)
        return self._opened(new, site, peer)

    def _opened(self, new: NewSession, site: Site, peer: RequestPeer) -> Response:
        peer.token_accepted()
        self._record(AuditAction.SIGNED_IN, new.session, peer)
        _log.info("signed in: {kind} {name} as {role} in {tenant} from {peer}", **_log_fields(new.session, peer))
        fields = _fields(new.session) | {"expires_at": rfc3339(new.session.expires_at)}
        return _with_cookie(fields, site, new.cookie, self._accounts.seconds_of(new.session))

    def _record(self, action: AuditAction, session: SessionRecord, peer: RequestPeer) -> None:
        self._accounts.audit.record(
            action,
            kind=session.kind,
            session=session.public_id,
            name=session.name or session.display_name or None,
            tenant_id=session.tenant_id,
            user_id=session.user_id,
            role=session.role,
            network=peer.network,
        )


class AboutResource(JsonResource):
    """``GET /pages/about``: what the pages need before a user has signed in."""

    def __init__(self, accounts: Accounts, options: PageOptions, demo: DemoSignIn | None) -> None:
        super().__init__(get=self._get)
        self._accounts = accounts
        self._options = options
        self._roles = [] if demo is None else list(demo.subjects)
        self._sender = None if demo is None else demo.sender

    async def _get(self, request: Request) -> Response:
        about = {
            "version": __version__,
            "build": self._options.build,
            "signing_in": self._accounts.is_on,
            "demo": self._roles if self._accounts.is_on else [],
            "demo_sender": self._sender,
            "embedders": list(self._options.embedders),
        }
        return Response(encode_json(about), headers={"Cache-Control": "no-cache"})


def session_resources(
    accounts: Accounts, proxies: TrustedProxies, options: PageOptions, demo: DemoSignIn | None
) -> dict[bytes, Resource]:
    """Return the resources by their path segment below the root of the site."""
    pages = JsonNotFound()
    pages.putChild(b"about", AboutResource(accounts, options, demo))
    return {b"session": SessionResource(accounts, proxies, demo), b"pages": pages}


def _peer_of(request: Request) -> RequestPeer:
    peer: RequestPeer = request.peer  # type: ignore[attr-defined]  # a BoundedRequest, which has one
    return peer


T = TypeVar("T", bound=msgspec.Struct)


def _body(request: Request, kind: type[T]) -> T:
    """Return the body of a request; its text, which may hold a password, is in no message.

    Raises:
        Refusal: ``invalid_message``, ``invalid_json`` or ``too_large``.
    """
    types = request.requestHeaders.getRawHeaders(b"Content-Type") or []
    # A form of another site cannot have this type.
    if [value.partition(b";")[0].strip().lower() for value in types] != [b"application/json"]:
        raise Refusal(ErrorCode.INVALID_MESSAGE, "Content-Type: expected application/json")
    text = request_body(request)
    if len(text) > MAX_BODY_BYTES:
        raise Refusal(ErrorCode.TOO_LARGE, f"the body is larger than {MAX_BODY_BYTES} bytes")
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError:
        names = ", ".join(field.name for field in msgspec.structs.fields(kind))
        text_of_fields = f"expected an object with the texts {names}" if names else "expected an object"
        raise Refusal(ErrorCode.INVALID_MESSAGE, text_of_fields) from None
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise Refusal(ErrorCode.INVALID_JSON) from None


def _cookie_name(site: Site) -> str:
    # Browsers share the cookies of a host over its ports; a name with __Secure- is refused without https.
    return _SECURE_COOKIE if site.is_encrypted else f"{_PLAIN_COOKIE}-{site.origin.port}"


def _cookie(request: Request, site: Site) -> str | None:
    """Return the cookie of a session; None without one, or with two: a site beside this one may have set the other."""
    name = _cookie_name(site)
    values = []
    for header in request.requestHeaders.getRawHeaders(b"Cookie") or ():
        for pair in header.decode("latin-1").split(";"):
            key, _, value = pair.strip().partition("=")
            if key == name:
                values.append(value)
    return values[0] if len(values) == 1 else None


def _with_cookie(fields: JsonObject, site: Site, cookie: str, seconds: float) -> Response:
    return Response(encode_json(fields), headers=_set_cookie(site, cookie, int(seconds)))


def _deleted(site: Site) -> dict[str, str]:
    return _set_cookie(site, "", 0)


def _set_cookie(site: Site, value: str, seconds: int) -> dict[str, str]:
    secure = "; Secure" if site.is_encrypted else ""
    attributes = f"Path={COOKIE_PATH}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    return {"Set-Cookie": f"{_cookie_name(site)}={value}; {attributes}"}


def _fields(session: SessionRecord) -> JsonObject:
    return {
        "user_id": session.user_id,
        "tenant_id": session.tenant_id,
        "role": session.role,
        "name": session.display_name or None,
        "queues": None if session.queues is None else list(session.queues),
    }


def _log_fields(session: SessionRecord, peer: RequestPeer) -> JsonObject:
    return {
        "kind": session.kind,
        "name": Name(session.name or session.display_name or session.user_id),
        "role": session.role,
        "tenant": Name(session.tenant_id),
        "peer": peer.network,
    }
