"""Passes the messages of one client to their handlers: rate limit, errors, and the end of a client with too many."""

from __future__ import annotations

from callcenter_ws.delivery.client import Client
from callcenter_ws.delivery.snapshot_cache import RequestId
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.requests.context import Context
from callcenter_ws.requests.rate_limit import MistakeCount, TokenBucket
from callcenter_ws.runtime.json import MAX_INTEGER, MIN_INTEGER, decode_json

MAX_REQUEST_ID_LENGTH = 255

_MISTAKES = frozenset(
    {
        ErrorCode.INVALID_JSON,
        ErrorCode.INVALID_MESSAGE,
        ErrorCode.INVALID_EVENT,
        ErrorCode.UNKNOWN_TYPE,
        ErrorCode.UNKNOWN_EVENT,
        ErrorCode.FORBIDDEN,
        ErrorCode.UNAUTHORIZED,
        ErrorCode.TOO_LARGE,
    }
)
"""Errors that a correct client does not cause."""


class Dispatcher:
    """Dispatches the requests of one client. The WebSocket protocol owns it."""

    __slots__ = ("_bucket", "_client", "_context", "_mistakes", "_rate_limited")

    def __init__(self, client: Client, context: Context) -> None:
        limits = context.limits
        self._client = client
        self._context = context
        self._bucket = TokenBucket(limits.rate, limits.burst, context.clock.monotonic())
        # Few clients ever cause one.
        self._mistakes: MistakeCount | None = None
        self._rate_limited: MistakeCount | None = None

    def receive(self, text: bytes) -> None:
        """Dispatch a text message of the peer."""
        client, context = self._client, self._context
        if client.closed:
            return
        client.count_received()
        now = context.clock.monotonic()
        delay = self._bucket.wait_for(now)
        if not delay:
            context.spawn(self._answer(text))
            return
        self._refuse(Refusal(ErrorCode.RATE_LIMITED, retry_after=delay))
        if self._rate_limited is None:
            self._rate_limited = MistakeCount(context.limits.bad_messages)
        if self._rate_limited.too_many(now):
            client.close(CloseCode.RATE_LIMITED)

    async def _answer(self, text: bytes) -> None:
        request_id = None
        try:
            message = decode_json(text)
            if not isinstance(message, dict):
                raise Refusal(ErrorCode.INVALID_MESSAGE, "expected a JSON object with type and payload")
            request_id = _request_id(message.get("id"))
            await self._context.handlers.handle(self._client, message, request_id)
        except Refusal as refusal:
            self._refuse(refusal, request_id)
        except Exception:
            self._context.log.unhandled_error(f"a request of {self._client}")
            self._refuse(Refusal(ErrorCode.UNAVAILABLE, "internal error of the gateway"), request_id)

    def _refuse(self, refusal: Refusal, request_id: RequestId = None) -> None:
        """Send an ``error``; too many mistakes within a minute end the connection."""
        client = self._client
        if client.closed:
            return
        client.refuse(refusal, request_id)
        if refusal.code in _MISTAKES:
            if self._mistakes is None:
                self._mistakes = MistakeCount(self._context.limits.bad_messages)
            if self._mistakes.too_many(self._context.clock.monotonic()):
                client.close(CloseCode.PROTOCOL_ABUSE)


def _request_id(value: object) -> RequestId:
    if value is None:
        return None
    if isinstance(value, str) and len(value) <= MAX_REQUEST_ID_LENGTH:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and MIN_INTEGER <= value <= MAX_INTEGER:
        return value
    text = f"id: expected a string of at most {MAX_REQUEST_ID_LENGTH} characters, or an integer of 64 bits"
    raise Refusal(ErrorCode.INVALID_MESSAGE, text)
