"""Every failure that the gateway expects, once: its name, its words and how each edge says it.

Two tables and one exception. ``ERRORS`` says how an expected failure looks on a WebSocket (``error``
message), over HTTP (status) and over AMP (error code). ``CLOSES`` says why a WebSocket is closed.
Clients, documentation and tests are held against these tables.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from enum import IntEnum, StrEnum


class ErrorCode(StrEnum):
    """Names of expected failures, as ``error.code`` on the wire."""

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


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """One expected failure.

    Attributes:
        code: the name of the failure.
        http_status: the status of an HTTP answer that carries it.
        amp_code: the AMP error code that carries it (PROTOCOL section 6).
        text: what it means, for a person.
    """

    code: ErrorCode
    http_status: int
    amp_code: bytes
    text: str


ERRORS: dict[ErrorCode, ErrorEntry] = {
    entry.code: entry
    for entry in (
        ErrorEntry(ErrorCode.INVALID_JSON, 400, b"INVALID_EVENT", "the text is not a JSON object"),
        ErrorEntry(ErrorCode.INVALID_MESSAGE, 400, b"INVALID_EVENT", "a field is missing or has the wrong type"),
        ErrorEntry(ErrorCode.INVALID_EVENT, 400, b"INVALID_EVENT", "the event does not match its declaration"),
        ErrorEntry(ErrorCode.UNKNOWN_TYPE, 400, b"INVALID_EVENT", "no such message type"),
        ErrorEntry(ErrorCode.UNKNOWN_EVENT, 400, b"INVALID_EVENT", "no such event type"),
        ErrorEntry(ErrorCode.FORBIDDEN, 403, b"FORBIDDEN", "not allowed for this role, tenant or origin"),
        ErrorEntry(ErrorCode.UNAUTHORIZED, 401, b"UNAUTHENTICATED", "a valid token is required"),
        ErrorEntry(ErrorCode.RATE_LIMITED, 429, b"OVERLOADED", "too many messages, slow down"),
        ErrorEntry(ErrorCode.CONNECTION_LIMIT, 429, b"OVERLOADED", "too many connections"),
        ErrorEntry(ErrorCode.TOO_LARGE, 413, b"TOO_LARGE", "the message is larger than the limit"),
        ErrorEntry(ErrorCode.OVERLOADED, 503, b"OVERLOADED", "the gateway is busy, retry later"),
        ErrorEntry(ErrorCode.UNAVAILABLE, 503, b"UNAVAILABLE", "the gateway cannot do this now"),
        ErrorEntry(ErrorCode.DRAINING, 503, b"UNAVAILABLE", "this node is shutting down, reconnect"),
        ErrorEntry(ErrorCode.TENANT_SUSPENDED, 403, b"FORBIDDEN", "the tenant is suspended"),
        ErrorEntry(ErrorCode.NOT_FOUND, 404, b"INVALID_EVENT", "there is nothing at this address"),
        ErrorEntry(ErrorCode.METHOD_NOT_ALLOWED, 405, b"INVALID_EVENT", "this address does not take that method"),
        ErrorEntry(ErrorCode.UPGRADE_REQUIRED, 426, b"INVALID_EVENT", "this address speaks WebSocket only"),
    )
}


class CloseCode(IntEnum):
    """Why a connection ended (PROTOCOL section 3, RFC 6455 section 7.4).

    4000 to 4499: reconnect and resume. 4500 to 4999: do not reconnect.
    """

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    ABNORMAL = 1006  # Never sent (RFC 6455 section 7.4.1): the name of a connection that broke off.
    INVALID_PAYLOAD = 1007
    TOO_LARGE = 1009
    INTERNAL_ERROR = 1011
    SLOW_CONSUMER = 4001
    KEEPALIVE_TIMEOUT = 4002
    DRAINING = 4003
    RATE_LIMITED = 4004
    TOKEN_EXPIRED = 4005
    UNAUTHORIZED = 4500
    PROTOCOL_ABUSE = 4501
    AUTH_TIMEOUT = 4502
    REVOKED = 4503
    CONNECTION_LIMIT = 4504
    REPLACED = 4505
    TENANT_SUSPENDED = 4506

    @property
    def reconnect(self) -> bool:
        """Whether a client should come back by itself after this code."""
        return self < CloseCode.UNAUTHORIZED


@dataclass(frozen=True, slots=True)
class CloseEntry:
    """One reason to close: ``code``, wire ``name`` and ``text`` (at most 123 bytes, RFC 6455 section 5.5)."""

    code: CloseCode
    name: str
    text: str


CLOSES: dict[CloseCode, CloseEntry] = {
    entry.code: entry
    for entry in (
        CloseEntry(CloseCode.NORMAL, "normal", "closed normally"),
        CloseEntry(CloseCode.GOING_AWAY, "going_away", "the peer is going away"),
        CloseEntry(CloseCode.PROTOCOL_ERROR, "protocol_error", "the peer broke the WebSocket protocol"),
        CloseEntry(CloseCode.UNSUPPORTED_DATA, "unsupported_data", "binary frames are not accepted, send JSON text"),
        CloseEntry(CloseCode.ABNORMAL, "abnormal", "the connection broke off without a close frame"),
        CloseEntry(
            CloseCode.INVALID_PAYLOAD,
            "invalid_payload",
            "a text message is not valid UTF-8 or not compressed as agreed",
        ),
        CloseEntry(CloseCode.TOO_LARGE, "too_large", "the message is larger than the limit"),
        CloseEntry(CloseCode.INTERNAL_ERROR, "internal_error", "the gateway met an error of its own"),
        CloseEntry(CloseCode.SLOW_CONSUMER, "slow_consumer", "the client read nothing for too long"),
        CloseEntry(CloseCode.KEEPALIVE_TIMEOUT, "keepalive_timeout", "the client answered no ping"),
        CloseEntry(CloseCode.DRAINING, "draining", "this node is shutting down, reconnect"),
        CloseEntry(CloseCode.RATE_LIMITED, "rate_limited", "the client sends too many messages"),
        CloseEntry(CloseCode.TOKEN_EXPIRED, "token_expired", "the token has expired, reconnect with a fresh one"),
        CloseEntry(CloseCode.UNAUTHORIZED, "unauthorized", "the token was refused"),
        CloseEntry(CloseCode.PROTOCOL_ABUSE, "protocol_abuse", "too many messages that cannot be understood"),
        CloseEntry(CloseCode.AUTH_TIMEOUT, "auth_timeout", "no token came in time"),
        CloseEntry(CloseCode.REVOKED, "revoked", "the session was ended by an administrator"),
        CloseEntry(CloseCode.CONNECTION_LIMIT, "connection_limit", "too many connections"),
        CloseEntry(CloseCode.REPLACED, "replaced", "another connection took this one's place"),
        CloseEntry(CloseCode.TENANT_SUSPENDED, "tenant_suspended", "the tenant is suspended"),
    )
}

_CLOSE_OF_ERROR: dict[ErrorCode, CloseCode] = {
    ErrorCode.CONNECTION_LIMIT: CloseCode.CONNECTION_LIMIT,
    ErrorCode.TENANT_SUSPENDED: CloseCode.TENANT_SUSPENDED,
    ErrorCode.DRAINING: CloseCode.DRAINING,
    ErrorCode.UNAVAILABLE: CloseCode.DRAINING,
    ErrorCode.OVERLOADED: CloseCode.DRAINING,
    ErrorCode.RATE_LIMITED: CloseCode.RATE_LIMITED,
    ErrorCode.TOO_LARGE: CloseCode.TOO_LARGE,
}


_WS_CODE_OF_ERROR: dict[ErrorCode, ErrorCode] = {
    ErrorCode.INVALID_EVENT: ErrorCode.INVALID_MESSAGE,
    ErrorCode.CONNECTION_LIMIT: ErrorCode.RATE_LIMITED,
    ErrorCode.OVERLOADED: ErrorCode.UNAVAILABLE,
    ErrorCode.DRAINING: ErrorCode.UNAVAILABLE,
    ErrorCode.TENANT_SUSPENDED: ErrorCode.FORBIDDEN,
}


class Refusal(Exception):
    """An expected failure: what a peer asked for is refused, and the peer is told.

    Never put a token or a payload into ``message``: it is sent to the peer and logged.

    Args:
        code: the entry of ``ERRORS``.
        message: what exactly is wrong, for a person; the entry's text when left out.
        retry_after: seconds after which trying again makes sense.
    """

    def __init__(self, code: ErrorCode, message: str | None = None, *, retry_after: float | None = None) -> None:
        self.code = code
        self.entry = ERRORS[code]
        self.message = message or self.entry.text
        self.retry_after = retry_after
        super().__init__(f"{code}: {self.message}")

    def anew(self) -> Refusal:
        """The same, to be raised.

        An exception that is raised holds the frames that it passes. If one of these holds it in turn, only the
        collector of garbage frees them, and the events in them, which may be large and many.
        """
        return Refusal(self.code, self.message, retry_after=self.retry_after)

    @property
    def retry_after_ms(self) -> int | None:
        """Milliseconds to wait, for an ``error`` message."""
        return None if self.retry_after is None else math.ceil(self.retry_after * 1000)

    @property
    def ws_code(self) -> ErrorCode:
        """The code of an ``error`` message, whose vocabulary is narrower (PROTOCOL section 2)."""
        return _WS_CODE_OF_ERROR.get(self.code, self.code)

    @property
    def close_code(self) -> CloseCode:
        """The close code for a connection that is let in only to be told of this refusal."""
        return _CLOSE_OF_ERROR.get(self.code, CloseCode.UNAUTHORIZED)

    @property
    def http_headers(self) -> dict[str, str]:
        """Headers that an HTTP answer with this refusal owes (RFC 6750 section 3, RFC 9110 section 10.2.3)."""
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
        if self.code is ErrorCode.UNAUTHORIZED:
            headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        return headers

    @property
    def http_body(self) -> bytes:
        """The JSON body of an HTTP answer with this refusal (PROTOCOL section 5)."""
        return json.dumps({"error": {"code": self.code.value, "message": self.message}}).encode()
