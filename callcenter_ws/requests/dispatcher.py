"""Passes the messages of one client to their handlers: rate limit, errors, and the end of a client with too many."""

from __future__ import annotations

from callcenter_ws.delivery.client import Client
from callcenter_ws.delivery.snapshot_cache import RequestId
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.frames import error_frame
from callcenter_ws.requests.context import Context
from callcenter_ws.requests.quotas import Charge, Delay
from callcenter_ws.requests.rate_limit import MINUTE_SECONDS, Budget, MistakeCount
from callcenter_ws.requests.request import read_request

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

TOKEN_UNITS = 3
"""Units of a turn for verifying the token of an ``auth`` message."""

NAME_BYTES_PER_UNIT = 512
"""Bytes of a message with names of events and queues that count as one unit of a turn."""

_WITH_NAMES = frozenset({b'"subscribe"', b'"unsubscribe"'})


class Dispatcher:
    """Dispatches the requests of one client. The WebSocket protocol owns it.

    Args:
        network: the network that the address of the client is counted by.
    """

    __slots__ = (
        "_budget",
        "_charges",
        "_client",
        "_context",
        "_log_again_at",
        "_mistakes",
        "_network",
        "_rate_limited",
    )

    def __init__(self, client: Client, context: Context, network: str) -> None:
        self._client = client
        self._context = context
        self._network = network
        # Made with the first message: most clients only listen.
        self._budget: Budget | None = None
        self._charges: tuple[Charge, ...] = ()
        # Few clients ever cause one.
        self._mistakes: MistakeCount | None = None
        self._rate_limited: MistakeCount | None = None
        self._log_again_at = 0.0

    def receive(self, text: bytes) -> None:
        """Dispatch a text message of the peer."""
        client, context = self._client, self._context
        if client.closed:
            return
        client.count_received()
        if self._budget is None:
            self._budget = context.quotas.connection_budget(client.principal)
            self._charges = context.quotas.charges(client.principal, self._network)
        delay = context.quotas.charge(self._budget, self._charges, len(text))
        if delay is None:
            context.spawn(self._answer(text))
            return
        self._delay(delay)

    def _delay(self, delay: Delay) -> None:
        """Refuse a message that came too early; close the connection of a client that goes on sending too much.

        What others of its network or tenant send is no reason to close it.
        """
        client, now = self._client, self._context.clock.monotonic()
        refusal = Refusal(ErrorCode.RATE_LIMITED, retry_after=delay.seconds)
        if now >= self._log_again_at:
            self._log_again_at = now + MINUTE_SECONDS
            client.refuse(refusal, None)
        else:
            client.send(error_frame(refusal))
        if delay.own:
            if self._rate_limited is None:
                self._rate_limited = MistakeCount()
            if self._rate_limited.too_many(now, self._context.limits.bad_messages):
                client.close(CloseCode.RATE_LIMITED)

    async def _answer(self, text: bytes) -> None:
        request_id = None
        self._client.requests_in_progress += 1
        try:
            request = read_request(text)
            request_id = request.checked_id()
            type_ = bytes(request.type_)
            if type_ == b'"auth"':
                self._context.spend(TOKEN_UNITS)
            elif type_ in _WITH_NAMES:
                self._context.spend(len(text) // NAME_BYTES_PER_UNIT)
            await self._context.handlers.handle(self._client, request, request_id)
        except Refusal as refusal:
            self._refuse(refusal, request_id)
        except Exception:
            self._context.log.unhandled_error(f"a request of {self._client}")
            self._refuse(Refusal(ErrorCode.UNAVAILABLE, "internal error of the gateway"), request_id)
        finally:
            self._client.requests_in_progress -= 1

    def _refuse(self, refusal: Refusal, request_id: RequestId = None) -> None:
        """Send an ``error``; too many mistakes within a minute end the connection."""
        client = self._client
        if client.closed:
            return
        client.refuse(refusal, request_id)
        if refusal.code in _MISTAKES:
            if self._mistakes is None:
                self._mistakes = MistakeCount()
            if self._mistakes.too_many(self._context.clock.monotonic(), self._context.limits.bad_messages):
                client.close(CloseCode.PROTOCOL_ABUSE)
