"""How every HTTP resource of the gateway answers: JSON, authorized, and never with a trace of a bug."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request as HTTPRequest
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from callcenter_ws.errors import CLOSES, CloseCode, ErrorCode, Refusal
from callcenter_ws.events.event import MAX_ID_LENGTH
from callcenter_ws.events.principal import EVERY_TENANT, Principal, Role
from callcenter_ws.interfaces import Authenticator
from callcenter_ws.runtime.json import encode_json

_log = Logger()

STAFF_ROLES = frozenset(Role) - {Role.VISITOR}
"""Who may ask about connections and users."""

PUBLISHERS = frozenset({Role.SERVICE, Role.ADMIN})
"""Who may publish over HTTP."""

_HEADERS = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. ``headers`` come on top of those that every answer has, and win over them."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Coroutine[Any, Any, Answer]]
"""Answers a request whose body is complete; raises Refusal for what it does not grant."""


def json_answer(value: object, status: int = 200) -> Answer:
    """Return ``value`` as a JSON answer."""
    return Answer(encode_json(value), status)


def refusal_answer(refusal: Refusal) -> Answer:
    """Return the answer that tells a peer of ``refusal``."""
    return Answer(refusal.http_body, refusal.entry.http_status, refusal.http_headers)


_BUG = CLOSES[CloseCode.INTERNAL_ERROR]
INTERNAL_ERROR = json_answer({"error": {"code": _BUG.name, "message": _BUG.text}}, 500)
"""What a peer sees of a bug; the log has the rest."""


def send(request: Request, answer: Answer) -> None:
    """Write ``answer``, without finishing the request. A HEAD request gets the headers alone."""
    request.setResponseCode(answer.status)
    for name, value in {**_HEADERS, **answer.headers, "Content-Length": str(len(answer.body))}.items():
        request.setHeader(name, value)
    request.write(answer.body)


def body_of(request: Request) -> bytes:
    """The body of a request, which the site has bounded."""
    content = request.content
    return b"" if content is None else bytes(content.read())


def loggable_path(request: HTTPRequest) -> str:
    """The path of a request without its query string, which may hold a token."""
    return (request.path or b"-").decode("ascii", "backslashreplace")


def authorize(authenticator: Authenticator, request: Request, roles: Collection[Role]) -> Principal:
    """Return who sent the request.

    Raises:
        Refusal: ``unauthorized`` without a valid ``Authorization: Bearer`` header (RFC 6750 section 2.1),
            ``forbidden`` when its role is not one of ``roles``.
    """
    principal = authenticator.verify(_bearer_token(request))
    if principal.role not in roles:
        raise Refusal(ErrorCode.FORBIDDEN, f"the role {principal.role.value} may not do this")
    return principal


def _bearer_token(request: Request) -> str:
    headers = request.requestHeaders.getRawHeaders(b"Authorization") or []
    if len(headers) != 1:
        raise Refusal(ErrorCode.UNAUTHORIZED, "exactly one Authorization: Bearer header is required")
    scheme, _, token = headers[0].strip().partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token or not token.isascii():
        raise Refusal(ErrorCode.UNAUTHORIZED, "the Authorization header must be: Bearer <token>")
    return token.decode("ascii")


def asked_tenant(principal: Principal, request: Request) -> str | None:
    """Return the tenant that the request is about: the token's own, or for a ``*`` token ``?tenant_id=``.

    None when a ``*`` token names no tenant.

    Raises:
        Refusal: ``forbidden`` when a tenant's token names another tenant, ``invalid_message`` for a
            parameter that cannot be read.
    """
    named = _query_value(request, "tenant_id")
    if principal.every_tenant:
        return None if named == EVERY_TENANT else named
    if named not in (None, principal.tenant_id):
        raise Refusal(ErrorCode.FORBIDDEN, "tenant_id: the token speaks for another tenant")
    return principal.tenant_id


def _query_value(request: Request, name: str) -> str | None:
    values = (request.args or {}).get(name.encode(), [])
    if not values:
        return None
    if len(values) > 1:
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"{name}: given more than once")
    return identifier(name, values[0])


def identifier(name: str, raw: bytes) -> str:
    """Decode an identifier from a URL.

    Raises:
        Refusal: ``invalid_message`` unless it is UTF-8 of 1 to 255 characters.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"{name}: not UTF-8") from None
    if not 0 < len(text) <= MAX_ID_LENGTH:
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"{name}: expected 1 to {MAX_ID_LENGTH} characters")
    return text


class JsonResource(Resource):
    """A resource whose methods are coroutines that return an Answer or raise a Refusal.

    HEAD is answered wherever GET is, any other method with 405 and ``Allow`` (RFC 9110 section 15.5.6).
    A bug in a handler is logged and answered with 500. A client that is gone before its answer gets none;
    the handler still runs to its end, because what it publishes must not be half done.
    """

    def __init__(self, *, get: Handler | None = None, post: Handler | None = None) -> None:
        super().__init__()
        self._handlers: dict[bytes, Handler] = {}
        if get is not None:
            self._handlers |= {b"GET": get, b"HEAD": get}
        if post is not None:
            self._handlers[b"POST"] = post

    def getChild(self, path: bytes, request: IRequest) -> Resource:
        """Nothing lies below, unless it was put there."""
        return JsonNotFound()

    def render(self, request: Request) -> int:
        """Start to answer the request."""
        Deferred.fromCoroutine(self._serve(request)).addErrback(_log_bug, request)
        return NOT_DONE_YET

    async def _serve(self, request: Request) -> None:
        gone: list[Failure] = []
        request.notifyFinish().addErrback(gone.append)
        answer = await self._answer(request)
        if not gone:
            send(request, answer)
            request.finish()

    async def _answer(self, request: Request) -> Answer:
        try:
            return await self._handler(request)
        except Refusal as refusal:
            if refusal.code in _TOLD_TO_THE_OPERATOR:
                _log_refusal(refusal, request)
            return refusal_answer(refusal)
        except Exception:
            _log_bug(Failure(), request)
            return INTERNAL_ERROR

    async def _handler(self, request: Request) -> Answer:
        handler = self._handlers.get(request.method)
        if handler is not None:
            return await handler(request)
        refused = refusal_answer(Refusal(ErrorCode.METHOD_NOT_ALLOWED))
        allow = b", ".join(self._handlers).decode()
        return Answer(refused.body, refused.status, {**refused.headers, "Allow": allow})


class JsonNotFound(JsonResource):
    """404, whatever the method. Also the root of the site, and every step on a path that has no answer itself."""

    def __init__(self) -> None:
        super().__init__()

    async def _handler(self, request: Request) -> Answer:
        raise Refusal(ErrorCode.NOT_FOUND)


_TOLD_TO_THE_OPERATOR = frozenset({ErrorCode.UNAUTHORIZED, ErrorCode.FORBIDDEN})


def _log_refusal(refusal: Refusal, request: Request) -> None:
    _log.info(
        "{method} {path} from {peer} is refused: {code}, {reason}",
        method=request.method.decode("ascii", "backslashreplace"),
        path=loggable_path(request),
        peer=str(getattr(request.getClientAddress(), "host", "a unix socket")),
        code=refusal.code.value,
        reason=refusal.message,
    )


def _log_bug(failure: Failure, request: Request) -> None:
    method = request.method.decode("ascii", "backslashreplace")
    _log.failure("{method} {path} failed", failure, method=method, path=loggable_path(request))
