"""What all HTTP resources of the gateway share: authorization, JSON responses and error responses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.http import Request as HTTPRequest
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from callcenter_ws.errors import CLOSES, CloseCode, ErrorCode, Refusal
from callcenter_ws.events.identifiers import identifier_problem
from callcenter_ws.events.principal import EVERY_TENANT, Principal, Role
from callcenter_ws.http.cors import CorsPolicy
from callcenter_ws.http.large_body import PIECE_BYTES, BodyWriting, LargeBody
from callcenter_ws.http.request_peer import RequestPeer
from callcenter_ws.http.site_state import SiteState
from callcenter_ws.interfaces import Authenticator
from callcenter_ws.runtime.http_head import is_percent_encoded
from callcenter_ws.runtime.json import encode_json

STAFF_ROLES = frozenset(Role) - {Role.VISITOR}
"""The roles that may read statistics and the presence of users."""

PUBLISHER_ROLES = frozenset({Role.SERVICE, Role.ADMIN})
"""The roles that may publish over HTTP."""

_HEADERS = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


_WITHOUT_BODY = frozenset({204, 304})
"""The statuses of responses that have no body (RFC 9110 section 6.4.1)."""


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response. ``headers`` are added to the headers that every response has, and override them."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PiecewiseResponse(Response):
    """A response whose body is written in pieces.

    Attributes:
        start: starts writing the body, and finishes the request at its end.
    """

    body: bytes = b""
    start: Callable[[Request], None]


Handler = Callable[[Request], Coroutine[Deferred[object], object, Response]]
"""Returns the response to a request whose body is complete, or raises a Refusal."""


def json_response(value: object, status: int = 200) -> Response:
    """Return a response with ``value`` as JSON."""
    return Response(encode_json(value), status)


def refusal_response(refusal: Refusal) -> Response:
    """Return the error response of ``refusal``."""
    return Response(refusal.http_body, refusal.entry.http_status, refusal.http_headers)


def raw_response(refusal: Refusal) -> bytes:
    """Return the bytes of an error response to what is no request; the connection must be closed after it."""
    body, status = refusal.http_body, HTTPStatus(refusal.entry.http_status)
    headers = {**_HEADERS, **refusal.http_headers, "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


_INTERNAL_ERROR = CLOSES[CloseCode.INTERNAL_ERROR]
INTERNAL_ERROR = json_response({"error": {"code": _INTERNAL_ERROR.name, "message": _INTERNAL_ERROR.text}}, 500)
"""The response after an unhandled error, whose details are only logged."""


def send(request: Request, response: Response) -> None:
    """Write a response without finishing the request. For a HEAD request only the headers are written."""
    _set_headers(request, response)
    request.write(response.body)


def send_and_finish(request: Request, response: Response) -> None:
    """Write a response and finish the request; a large body is written as the peer reads it."""
    writing: BodyWriting | None = getattr(request.site, "body_writing", None)
    if isinstance(response, PiecewiseResponse) and request.method != b"HEAD":
        _set_headers(request, response)
        response.start(request)
    elif writing is None or len(response.body) <= PIECE_BYTES or request.method == b"HEAD":
        send(request, response)
        request.finish()
    else:
        _set_headers(request, response)
        request.write(b"")
        LargeBody(request, response.body, writing).start()


def _set_headers(request: Request, response: Response) -> None:
    # twisted.web has no reason phrase for 426, 429 and 431.
    request.setResponseCode(response.status, HTTPStatus(response.status).phrase.encode())
    headers = {**_HEADERS, **response.headers}
    # A response in pieces is sent in chunks.
    if response.status not in _WITHOUT_BODY and not isinstance(response, PiecewiseResponse):
        headers["Content-Length"] = str(len(response.body))
    for name, value in headers.items():
        request.setHeader(name, value)


def cors_headers(request: Request) -> Mapping[str, str]:
    """Return the headers that say whether pages of other sites may read the response to a request."""
    policy = _cors_policy(request)
    return {} if policy is None else policy.headers(_path_of(request), origin_of(request))


def _cors_policy(request: Request) -> CorsPolicy | None:
    channel: Any = request.channel  # a GatewayChannel, which twisted.web declares as its own
    policy: CorsPolicy | None = None if channel is None else channel.cors  # None: the connection is lost
    return policy


def _path_of(request: Request) -> bytes:
    """Return the path of a request, also of one that is refused before it is complete."""
    return request.uri.partition(b"?")[0]


def origin_of(request: Request) -> str | None:
    """Return the ``Origin`` of a request; None if there is none, or more than one."""
    origins = request.requestHeaders.getRawHeaders(b"Origin") or []
    return origins[0].decode("latin-1").strip() if len(origins) == 1 else None


def request_body(request: Request) -> bytes:
    """Return the body of a request, whose size the site has limited."""
    content = request.content
    return b"" if content is None else bytes(content.read())


def loggable_path(request: HTTPRequest) -> str:
    """Return the path of a request without its query string, which may hold a token."""
    return (request.path or b"-").decode("ascii", "backslashreplace")


def authorize(authenticator: Authenticator, request: Request, roles: Collection[Role]) -> Principal:
    """Return the principal of a request.

    Raises:
        Refusal: ``unauthorized`` without a valid ``Authorization: Bearer`` header (RFC 6750 section 2.1);
            ``forbidden`` if the principal's role is not one of ``roles``; ``rate_limited`` after too many refused
            tokens of the peer's network.
    """
    token = _bearer_token(request)
    peer: RequestPeer = request.peer  # type: ignore[attr-defined]  # a BoundedRequest, which has one
    peer.check_try()
    try:
        principal = authenticator.verify(token)
    except Refusal as refusal:
        if refusal.code is ErrorCode.UNAUTHORIZED:
            peer.token_refused()
        raise
    peer.token_accepted()
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


def requested_tenant(principal: Principal, request: Request) -> str | None:
    """Return the tenant of a request: that of the token, or of ``?tenant_id=`` if the token is for all tenants.

    Return None if the token is for all tenants and the request names none.

    Raises:
        Refusal: ``forbidden`` if the request names another tenant than the token; ``invalid_message`` if the parameter
            or the percent-encoding of the URI is malformed.
    """
    if not is_percent_encoded(request.uri):
        raise Refusal(ErrorCode.INVALID_MESSAGE, "the request target has a % without two hexadecimal digits")
    named = query_value(request, "tenant_id")
    if principal.every_tenant:
        return None if named == EVERY_TENANT else named
    if named not in (None, principal.tenant_id):
        raise Refusal(ErrorCode.FORBIDDEN, "tenant_id: the token is for another tenant")
    return principal.tenant_id


def query_value(request: Request, name: str) -> str | None:
    """Return an identifier of the query; None if the request does not name it.

    Raises:
        Refusal: ``invalid_message``.
    """
    values = (request.args or {}).get(name.encode(), [])
    if not values:
        return None
    if len(values) > 1:
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"{name}: given more than once")
    return identifier(name, values[0])


def identifier(name: str, raw: bytes) -> str:
    """Decode an identifier from a URL.

    Raises:
        Refusal: ``invalid_message`` unless it is UTF-8 and has 1 to 255 characters, none of them a control character.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"{name}: not UTF-8") from None
    if problem := identifier_problem(text):
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"{name}: {problem}")
    return text


class JsonResource(Resource):
    """A resource whose handlers are coroutines that return a Response or raise a Refusal.

    The handler of GET also serves HEAD. OPTIONS is answered by ``http.cors``. Other methods get 405 with ``Allow`` (RFC
    9110 section 15.5.6). An unhandled error is logged and gets 500; one while the response is sent ends the connection.
    A handler runs to completion even if the client has disconnected, so that a list of events is not published in part.

    Args:
        get: handles GET and HEAD.
        post: handles POST.
        delete: handles DELETE.
    """

    def __init__(
        self, *, get: Handler | None = None, post: Handler | None = None, delete: Handler | None = None
    ) -> None:
        super().__init__()
        self._handlers: dict[bytes, Handler] = {}
        if get is not None:
            self._handlers |= {b"GET": get, b"HEAD": get}
        if post is not None:
            self._handlers[b"POST"] = post
        if delete is not None:
            self._handlers[b"DELETE"] = delete

    def getChild(self, path: bytes, request: IRequest) -> Resource:
        """Return 404 for every path below, unless a child was added for it."""
        return JsonNotFound()

    def render(self, request: Request) -> int:
        """Start the handler; the response is sent when it finishes."""
        Deferred.fromCoroutine(self._serve(request)).addErrback(_end_connection, request)
        return NOT_DONE_YET

    async def _serve(self, request: Request) -> None:
        disconnected: list[Failure] = []
        channel: Any = request.channel  # a GatewayChannel, which twisted.web declares as its own
        state: SiteState = channel.site_state
        state.requests_in_progress += 1
        request.notifyFinish().addErrback(disconnected.append).addBoth(state.request_ended)
        response = await self._respond(request)
        if not disconnected:
            send_and_finish(request, response)

    async def _respond(self, request: Request) -> Response:
        try:
            return await self._handle(request)
        except Refusal as refusal:
            if refusal.code in _LOGGED_REFUSALS:
                _log_refusal(refusal, request)
            return refusal_response(refusal)
        except Exception:
            log_unhandled(Failure(), request)
            return INTERNAL_ERROR

    async def _handle(self, request: Request) -> Response:
        handler = self._handlers.get(request.method)
        if handler is not None:
            return await handler(request)
        policy = _cors_policy(request)
        if request.method == b"OPTIONS" and policy is not None and policy.covers(_path_of(request)):
            methods = [method.decode() for method in self._handlers]
            return Response(b"", 204, policy.preflight_headers(origin_of(request), methods))
        refused = refusal_response(Refusal(ErrorCode.METHOD_NOT_ALLOWED))
        allow = b", ".join(self._handlers).decode()
        return Response(refused.body, refused.status, {**refused.headers, "Allow": allow})


class JsonNotFound(JsonResource):
    """Responds with 404 to every method. Also serves as the root of the site and as a parent of other resources."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__()
        self._message = message

    async def _handle(self, request: Request) -> Response:
        raise Refusal(ErrorCode.NOT_FOUND, self._message)


_LOGGED_REFUSALS = frozenset(
    {
        ErrorCode.UNAUTHORIZED,
        ErrorCode.FORBIDDEN,
        ErrorCode.RATE_LIMITED,
        ErrorCode.WRONG_PASSWORD,
        ErrorCode.NEEDS_HTTPS,
        ErrorCode.UNKNOWN_CODE,
    }
)

_MAX_LOGGED_PATH = 200


def _log_refusal(refusal: Refusal, request: Request) -> None:
    peer: RequestPeer = request.peer  # type: ignore[attr-defined]  # a BoundedRequest, which has one
    peer.log_refusal(
        "refused {method} {path} from {peer}: {code}, {reason}",
        refusal,
        method=request.method[:_MAX_LOGGED_PATH].decode("ascii", "backslashreplace"),
        path=loggable_path(request)[:_MAX_LOGGED_PATH],
    )


def _end_connection(failure: Failure, request: Request) -> None:
    """Log an error that left a request without a complete response, and close its connection."""
    log_unhandled(failure, request)
    request.loseConnection()


def log_unhandled(failure: Failure, request: Request) -> None:
    """Log an exception, as often as the log of what any peer can cause allows."""
    peer: RequestPeer = request.peer  # type: ignore[attr-defined]  # a BoundedRequest, which has one
    method = request.method[:_MAX_LOGGED_PATH].decode("ascii", "backslashreplace")
    path = loggable_path(request)[:_MAX_LOGGED_PATH]
    peer.log_unhandled("unhandled error in {method} {path}", failure, method=method, path=path)
