"""What one client asks for: at what pace, how it is answered, and when its mistakes are too many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.frames import ControlFrame, control_frame
from callcenter_ws.requests.context import Context
from callcenter_ws.requests.rate_limit import MistakeCount, TokenBucket
from callcenter_ws.runtime.json import decode_json

if TYPE_CHECKING:
    from callcenter_ws.delivery.client import Client

MAX_REQUEST_ID = 255

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


class Dispatcher:
    """Takes the messages of one client to their handlers."""

    __slots__ = ("_bucket", "_client", "_floods", "_gateway", "_mistakes")

    def __init__(self, client: Client, gateway: Context) -> None:
        limits = gateway.limits
        self._client = client
        self._gateway = gateway
        self._bucket = TokenBucket(limits.rate, limits.burst, gateway.clock.monotonic())
        # Few ever make one.
        self._mistakes: MistakeCount | None = None
        self._floods: MistakeCount | None = None

    def receive(self, text: bytes) -> None:
        """Take a text message that the peer sent."""
        gateway = self._gateway
        now = gateway.clock.monotonic()
        wait = self._bucket.wait_for(now)
        if not wait:
            gateway.spawn(self._answer(text))
            return
        self.refuse(Refusal(ErrorCode.RATE_LIMITED, retry_after=wait))
        if self._too_many_floods(now):
            self._client.close(CloseCode.RATE_LIMITED)

    async def _answer(self, text: bytes) -> None:
        client, request_id = self._client, None
        try:
            message = decode_json(text)
            if not isinstance(message, dict):
                raise Refusal(ErrorCode.INVALID_MESSAGE, "expected a JSON object with type and payload")
            request_id = _request_id(message.get("id"))
            await self._gateway.handlers.handle(client, message, request_id)
        except Refusal as refusal:
            self.refuse(refusal, request_id)
        except Exception:
            self._gateway.log.unhandled_error(f"a request of {client}")
            self.refuse(Refusal(ErrorCode.UNAVAILABLE, "the gateway met an error of its own"), request_id)

    def refuse(self, refusal: Refusal, request_id: str | int | None = None) -> None:
        """Tell the peer that its request is refused; too many of these end the connection."""
        client, gateway = self._client, self._gateway
        if client.closed:
            return
        gateway.log.refused(str(client), refusal)
        client.send(error_frame(refusal, request_id))
        if refusal.code in _MISTAKES and self._too_many_mistakes(gateway.clock.monotonic()):
            client.close(CloseCode.PROTOCOL_ABUSE)

    def _too_many_floods(self, now: float) -> bool:
        if self._floods is None:
            self._floods = MistakeCount(self._gateway.limits.bad_messages)
        return self._floods.too_many(now)

    def _too_many_mistakes(self, now: float) -> bool:
        if self._mistakes is None:
            self._mistakes = MistakeCount(self._gateway.limits.bad_messages)
        return self._mistakes.too_many(now)


def _request_id(value: object) -> str | int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int) or len(str(value)) > MAX_REQUEST_ID:
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"id: expected a string of at most {MAX_REQUEST_ID} characters")
    return value


def error_frame(refusal: Refusal, request_id: str | int | None = None) -> ControlFrame:
    """Return an ``error`` message."""
    payload: dict[str, Any] = {"code": refusal.ws_code, "message": refusal.message}
    if refusal.retry_after_ms is not None:
        payload["retry_after_ms"] = refusal.retry_after_ms
    return control_frame("error", payload, in_reply_to=request_id)
