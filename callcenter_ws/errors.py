"""All expected failures: their codes, their texts and their form in each protocol.

``ERRORS`` defines how a failure is reported over WebSocket (``error`` message), HTTP (status) and AMP (error code).
``CLOSES`` defines the close codes of a WebSocket. The manual's tables are generated from both.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from enum import IntEnum, StrEnum

LIMIT_RETRY_SECONDS = 30.0
"""The ``Retry-After`` of an HTTP response to a peer that exceeds a limit, if nothing better is known."""


class ErrorCode(StrEnum):
    """Codes of expected failures: ``error.code`` on the wire."""

    INVALID_JSON = "invalid_json"
    INVALID_MESSAGE = "invalid_message"
    INVALID_EVENT = "invalid_event"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_EVENT = "unknown_event"
    FORBIDDEN = "forbidden"
    UNAUTHORIZED = "unauthorized"
    RATE_LIMITED = "rate_limited"
    CONNECTION_LIMIT = "connection_limit"
    TOO_LARGE = "too_large"
    OVERLOADED = "overloaded"
    UNAVAILABLE = "unavailable"
    DRAINING = "draining"
    TENANT_SUSPENDED = "tenant_suspended"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UPGRADE_REQUIRED = "upgrade_required"
    TRY_LATER = "try_later"
    UNKNOWN_SESSION = "unknown_session"
    HEADERS_TOO_LARGE = "headers_too_large"
    SOURCE_IN_USE = "source_in_use"
    STALE_GENERATION = "stale_generation"
    STATISTICS_OFF = "statistics_off"
    UNKNOWN_ALERT = "unknown_alert"
    SIGNED_OUT = "signed_out"
    WRONG_PASSWORD = "wrong_password"  # noqa: S105 - no secret: the name of a failure
    NEEDS_HTTPS = "needs_https"
    SIGNING_IN_OFF = "signing_in_off"
    UNKNOWN_CODE = "unknown_code"
    UNKNOWN_USER = "unknown_user"
    USER_EXISTS = "user_exists"
    COMMANDS_OFF = "commands_off"
    UNKNOWN_COMMAND = "unknown_command"
    CONFLICT = "conflict"
    NO_SOURCE = "no_source"
    SOURCE_DOWN = "source_down"
    UNSUPPORTED = "unsupported"
    NOT_ALLOWED = "not_allowed"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """How an expected failure is reported.

    Attributes:
        code: the code over WebSocket and HTTP.
        http_status: the status of the HTTP response.
        amp_code: the AMP error code.
        text: a readable description.
    """

    code: ErrorCode
    http_status: int
    amp_code: bytes
    text: str


ERRORS: dict[ErrorCode, ErrorEntry] = {
    entry.code: entry
    for entry in (
        ErrorEntry(ErrorCode.INVALID_JSON, 400, b"INVALID_EVENT", "not a JSON object"),
        ErrorEntry(ErrorCode.INVALID_MESSAGE, 400, b"INVALID_EVENT", "a field is missing or has the wrong type"),
        ErrorEntry(
            ErrorCode.INVALID_EVENT, 400, b"INVALID_EVENT", "the event does not match the declaration of its type"
        ),
        ErrorEntry(ErrorCode.UNKNOWN_TYPE, 400, b"INVALID_EVENT", "unknown message type"),
        ErrorEntry(ErrorCode.UNKNOWN_EVENT, 400, b"INVALID_EVENT", "unknown event type"),
        ErrorEntry(ErrorCode.FORBIDDEN, 403, b"FORBIDDEN", "not allowed for this role, tenant or origin"),
        ErrorEntry(ErrorCode.UNAUTHORIZED, 401, b"UNAUTHENTICATED", "a valid token is required"),
        ErrorEntry(ErrorCode.RATE_LIMITED, 429, b"OVERLOADED", "too many messages; reduce the rate"),
        ErrorEntry(ErrorCode.CONNECTION_LIMIT, 429, b"OVERLOADED", "too many connections"),
        ErrorEntry(ErrorCode.TOO_LARGE, 413, b"TOO_LARGE", "the message is larger than the limit"),
        ErrorEntry(ErrorCode.OVERLOADED, 503, b"OVERLOADED", "the gateway is overloaded; retry later"),
        ErrorEntry(ErrorCode.UNAVAILABLE, 503, b"UNAVAILABLE", "temporarily unavailable; retry later"),
        ErrorEntry(ErrorCode.DRAINING, 503, b"UNAVAILABLE", "this node is shutting down; reconnect"),
        ErrorEntry(ErrorCode.TENANT_SUSPENDED, 403, b"FORBIDDEN", "reserved, not sent: the tenant is suspended"),
        ErrorEntry(ErrorCode.NOT_FOUND, 404, b"INVALID_EVENT", "not found"),
        ErrorEntry(ErrorCode.METHOD_NOT_ALLOWED, 405, b"INVALID_EVENT", "method not allowed"),
        ErrorEntry(ErrorCode.UPGRADE_REQUIRED, 426, b"INVALID_EVENT", "this URL accepts WebSocket handshakes only"),
        ErrorEntry(ErrorCode.TRY_LATER, 503, b"UNAVAILABLE", "not possible now; the same request may succeed later"),
        ErrorEntry(ErrorCode.UNKNOWN_SESSION, 404, b"INVALID_EVENT", "there is no open chat session with this id"),
        ErrorEntry(ErrorCode.HEADERS_TOO_LARGE, 431, b"TOO_LARGE", "the request's headers are larger than the limit"),
        ErrorEntry(ErrorCode.SOURCE_IN_USE, 409, b"SOURCE_IN_USE", "another instance of this source is connected"),
        ErrorEntry(
            ErrorCode.STALE_GENERATION, 409, b"STALE_GENERATION", "the source has been started in a later generation"
        ),
        ErrorEntry(ErrorCode.STATISTICS_OFF, 404, b"INVALID_EVENT", "statistics are not enabled for this tenant"),
        ErrorEntry(ErrorCode.UNKNOWN_ALERT, 404, b"INVALID_EVENT", "there is no raised alert with this id"),
        ErrorEntry(
            ErrorCode.SIGNED_OUT, 401, b"UNAUTHENTICATED", "there is no session, or it has ended; sign in again"
        ),
        ErrorEntry(ErrorCode.WRONG_PASSWORD, 401, b"UNAUTHENTICATED", "the name or the password is wrong"),
        ErrorEntry(
            ErrorCode.NEEDS_HTTPS,
            403,
            b"FORBIDDEN",
            "signing in needs https, or a browser on the gateway's own machine",
        ),
        ErrorEntry(ErrorCode.SIGNING_IN_OFF, 404, b"INVALID_EVENT", "signing in is not set up at this gateway"),
        ErrorEntry(
            ErrorCode.UNKNOWN_CODE,
            404,
            b"INVALID_EVENT",
            "there is no such pairing code: it was used, has expired, or was never shown",
        ),
        ErrorEntry(ErrorCode.UNKNOWN_USER, 404, b"INVALID_EVENT", "there is no user with this name"),
        ErrorEntry(ErrorCode.USER_EXISTS, 409, b"INVALID_EVENT", "there is a user with this name already"),
        ErrorEntry(ErrorCode.COMMANDS_OFF, 404, b"INVALID_EVENT", "commands are not enabled at this gateway"),
        ErrorEntry(ErrorCode.UNKNOWN_COMMAND, 404, b"INVALID_EVENT", "there is no open command with this id"),
        ErrorEntry(ErrorCode.CONFLICT, 409, b"INVALID_EVENT", "this command_id was used for another command"),
        ErrorEntry(ErrorCode.NO_SOURCE, 501, b"INVALID_EVENT", "no source of the tenant carries out this command"),
        ErrorEntry(ErrorCode.SOURCE_DOWN, 503, b"UNAVAILABLE", "the source that would carry it out is disconnected"),
        ErrorEntry(ErrorCode.UNSUPPORTED, 501, b"INVALID_EVENT", "the source cannot do this"),
        ErrorEntry(ErrorCode.EXPIRED, 410, b"INVALID_EVENT", "it came after its expires_at, and nothing was done"),
        ErrorEntry(ErrorCode.NOT_ALLOWED, 403, b"FORBIDDEN", "not allowed for this user, call or queue"),
    )
}


class CloseCode(IntEnum):
    """Why a connection was closed (RFC 6455 section 7.4; ``docs/protocol.rst``, "Close codes").

    After 4000 to 4499 a client reconnects and resumes. After 4500 to 4999 it must not reconnect.
    """

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    ABNORMAL = 1006  # Never sent (RFC 6455 section 7.4.1): the connection was lost.
    INVALID_PAYLOAD = 1007
    TOO_LARGE = 1009
    INTERNAL_ERROR = 1011
    SLOW_CONSUMER = 4001
    KEEPALIVE_TIMEOUT = 4002
    DRAINING = 4003
    RATE_LIMITED = 4004
    TOKEN_EXPIRED = 4005
    TRY_LATER = 4006
    UNAUTHORIZED = 4500
    PROTOCOL_ABUSE = 4501
    AUTH_TIMEOUT = 4502
    REVOKED = 4503
    CONNECTION_LIMIT = 4504
    REPLACED = 4505
    TENANT_SUSPENDED = 4506

    @property
    def reconnect(self) -> bool:
        """Whether a client should reconnect after this code."""
        return self < CloseCode.UNAUTHORIZED


@dataclass(frozen=True, slots=True)
class CloseEntry:
    """A close code, its ``name``, and its ``text``, the reason of the close frame.

    ``text`` has at most 123 bytes (RFC 6455 section 5.5).
    """

    code: CloseCode
    name: str
    text: str


CLOSES: dict[CloseCode, CloseEntry] = {
    entry.code: entry
    for entry in (
        CloseEntry(CloseCode.NORMAL, "normal", "closed normally"),
        CloseEntry(CloseCode.GOING_AWAY, "going_away", "the peer is going away"),
        CloseEntry(CloseCode.PROTOCOL_ERROR, "protocol_error", "the peer violated the WebSocket protocol"),
        CloseEntry(CloseCode.UNSUPPORTED_DATA, "unsupported_data", "binary messages are not accepted; send JSON text"),
        CloseEntry(CloseCode.ABNORMAL, "abnormal", "the connection was lost without a close frame"),
        CloseEntry(
            CloseCode.INVALID_PAYLOAD,
            "invalid_payload",
            "a message is not valid UTF-8 or not compressed as negotiated",
        ),
        CloseEntry(CloseCode.TOO_LARGE, "too_large", "the message is larger than the limit"),
        CloseEntry(CloseCode.INTERNAL_ERROR, "internal_error", "internal error of the gateway"),
        CloseEntry(CloseCode.SLOW_CONSUMER, "slow_consumer", "the client reads too slowly"),
        CloseEntry(CloseCode.KEEPALIVE_TIMEOUT, "keepalive_timeout", "the client did not answer a ping"),
        CloseEntry(CloseCode.DRAINING, "draining", "this node is shutting down; reconnect"),
        CloseEntry(CloseCode.RATE_LIMITED, "rate_limited", "the client sent too many messages"),
        CloseEntry(CloseCode.TOKEN_EXPIRED, "token_expired", "the token has expired; reconnect with a new token"),
        CloseEntry(CloseCode.TRY_LATER, "try_later", "not possible now; reconnect after retry_after_ms"),
        CloseEntry(CloseCode.UNAUTHORIZED, "unauthorized", "refused; the error message before it says why"),
        CloseEntry(CloseCode.PROTOCOL_ABUSE, "protocol_abuse", "too many invalid messages"),
        CloseEntry(CloseCode.AUTH_TIMEOUT, "auth_timeout", "the client did not authenticate in time"),
        CloseEntry(CloseCode.REVOKED, "revoked", "the session was ended by an administrator"),
        CloseEntry(CloseCode.CONNECTION_LIMIT, "connection_limit", "too many connections"),
        CloseEntry(CloseCode.REPLACED, "replaced", "replaced by a newer connection of the same user"),
        CloseEntry(CloseCode.TENANT_SUSPENDED, "tenant_suspended", "reserved, not sent: the tenant is suspended"),
    )
}

_CLOSE_OF_ERROR: dict[ErrorCode, CloseCode] = {
    ErrorCode.CONNECTION_LIMIT: CloseCode.CONNECTION_LIMIT,
    ErrorCode.TENANT_SUSPENDED: CloseCode.TENANT_SUSPENDED,
    ErrorCode.DRAINING: CloseCode.DRAINING,
    ErrorCode.UNAVAILABLE: CloseCode.DRAINING,
    ErrorCode.TRY_LATER: CloseCode.TRY_LATER,
    ErrorCode.OVERLOADED: CloseCode.DRAINING,
    ErrorCode.RATE_LIMITED: CloseCode.RATE_LIMITED,
    ErrorCode.TOO_LARGE: CloseCode.TOO_LARGE,
}


_WS_CODE_OF_ERROR: dict[ErrorCode, ErrorCode] = {
    ErrorCode.INVALID_EVENT: ErrorCode.INVALID_MESSAGE,
    ErrorCode.CONNECTION_LIMIT: ErrorCode.RATE_LIMITED,
    ErrorCode.OVERLOADED: ErrorCode.UNAVAILABLE,
    ErrorCode.DRAINING: ErrorCode.UNAVAILABLE,
    ErrorCode.TRY_LATER: ErrorCode.UNAVAILABLE,
    ErrorCode.TENANT_SUSPENDED: ErrorCode.FORBIDDEN,
}


class Refusal(Exception):
    """An expected failure: the request of a peer is refused, and the refusal is sent to the peer.

    ``message`` must not contain a token or a payload: it is sent to the peer and logged.

    Args:
        code: a key of ``ERRORS``.
        message: a readable description of what is wrong; defaults to the text of the entry.
        retry_after: seconds after which a retry may succeed.
    """

    def __init__(self, code: ErrorCode, message: str | None = None, *, retry_after: float | None = None) -> None:
        self.code = code
        self.entry = ERRORS[code]
        self.message = message or self.entry.text
        self.retry_after = retry_after
        super().__init__(f"{code}: {self.message}")

    def copy(self) -> Refusal:
        """Return a copy, to be raised in place of a stored refusal, or stored in place of one that was raised.

        A raised exception refers to the frames that it passed through. If such a frame refers to the exception, both,
        and the events in the frame, stay in memory until a garbage collection.
        """
        return Refusal(self.code, self.message, retry_after=self.retry_after)

    @property
    def retry_after_ms(self) -> int | None:
        """Milliseconds after which a retry may succeed, for an ``error`` message."""
        return None if self.retry_after is None else math.ceil(self.retry_after * 1000)

    @property
    def ws_code(self) -> ErrorCode:
        """The code for an ``error`` message: WebSocket clients get fewer codes than HTTP clients."""
        return _WS_CODE_OF_ERROR.get(self.code, self.code)

    @property
    def close_code(self) -> CloseCode:
        """The close code for a connection that is accepted only to send this refusal.

        If a retry may succeed, it is one after which clients reconnect.
        """
        code = _CLOSE_OF_ERROR.get(self.code, CloseCode.UNAUTHORIZED)
        return code if code.reconnect or self.retry_after is None else CloseCode.TRY_LATER

    @property
    def http_headers(self) -> dict[str, str]:
        """The headers of an HTTP response with this refusal (RFC 6750 section 3, RFC 9110 section 10.2.3)."""
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
        if self.code is ErrorCode.UNAUTHORIZED:
            headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
        retry_after = self.retry_after
        if retry_after is None and self.code is ErrorCode.CONNECTION_LIMIT:
            # An HTTP client may retry what a WebSocket client must not: it is not told by a close code.
            retry_after = LIMIT_RETRY_SECONDS
        if retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(retry_after)))
        return headers

    @property
    def http_body(self) -> bytes:
        """The JSON body of an HTTP response with this refusal."""
        return json.dumps({"error": {"code": self.code.value, "message": self.message}}).encode()
