"""The tables of errors and close codes, checked against what the manual documents."""

from __future__ import annotations

import json

import pytest

from callcenter_ws.errors import CLOSES, ERRORS, CloseCode, ErrorCode, Refusal

AMP_CODES = {
    b"UNAUTHENTICATED", b"FORBIDDEN", b"INVALID_EVENT", b"TOO_LARGE", b"OVERLOADED", b"UNAVAILABLE", b"SOURCE_IN_USE",
    b"STALE_GENERATION",
}  # fmt: skip
WEBSOCKET_CODES = {
    "invalid_json", "invalid_message", "unknown_type", "unknown_event", "forbidden", "unauthorized", "rate_limited",
    "too_large", "unavailable", "unknown_session", "unknown_alert",
}  # fmt: skip
OF_COMMANDS = {
    ErrorCode.COMMANDS_OFF, ErrorCode.UNKNOWN_COMMAND, ErrorCode.CONFLICT, ErrorCode.NO_SOURCE, ErrorCode.SOURCE_DOWN,
    ErrorCode.UNSUPPORTED, ErrorCode.NOT_ALLOWED, ErrorCode.EXPIRED,
}  # fmt: skip
"""Answers to one request, over WebSocket too; they never end a connection."""

HTTP_ONLY = {
    ErrorCode.NOT_FOUND, ErrorCode.METHOD_NOT_ALLOWED, ErrorCode.UPGRADE_REQUIRED, ErrorCode.HEADERS_TOO_LARGE,
    ErrorCode.STATISTICS_OFF, ErrorCode.SIGNED_OUT, ErrorCode.WRONG_PASSWORD, ErrorCode.NEEDS_HTTPS,
    ErrorCode.SIGNING_IN_OFF, ErrorCode.UNKNOWN_CODE,
}  # fmt: skip
AMP_ONLY = {
    ErrorCode.SOURCE_IN_USE, ErrorCode.STALE_GENERATION, ErrorCode.UNKNOWN_USER, ErrorCode.USER_EXISTS,
}  # fmt: skip

DOCUMENTED_CLOSES = {
    4001: "slow_consumer", 4002: "keepalive_timeout", 4003: "draining", 4004: "rate_limited", 4005: "token_expired",
    4006: "try_later",
    4500: "unauthorized", 4501: "protocol_abuse", 4502: "auth_timeout", 4503: "revoked", 4504: "connection_limit",
    4505: "replaced", 4506: "tenant_suspended",
}  # fmt: skip


def test_every_error_has_an_entry() -> None:
    assert set(ERRORS) == set(ErrorCode)
    assert all(code is entry.code for code, entry in ERRORS.items())


def test_every_close_code_has_an_entry() -> None:
    assert set(CLOSES) == set(CloseCode)
    assert all(code is entry.code for code, entry in CLOSES.items())
    assert len({entry.name for entry in CLOSES.values()}) == len(CLOSES)


@pytest.mark.parametrize("code", ErrorCode)
def test_an_error_can_be_reported_in_every_protocol(code: ErrorCode) -> None:
    entry = ERRORS[code]
    assert 400 <= entry.http_status < 600
    assert entry.amp_code in AMP_CODES
    assert entry.text
    assert entry.text[0].islower()
    assert not entry.text.endswith(".")
    if code not in HTTP_ONLY | AMP_ONLY | OF_COMMANDS:
        assert Refusal(code).ws_code in WEBSOCKET_CODES


@pytest.mark.parametrize("code", CloseCode)
def test_a_close_text_fits_its_frame(code: CloseCode) -> None:
    """RFC 6455 section 5.5: a control frame holds 125 bytes, two of which are the code."""
    assert 0 < len(CLOSES[code].text.encode()) <= 123


@pytest.mark.parametrize("code", CloseCode)
def test_close_codes_lie_in_the_documented_ranges(code: CloseCode) -> None:
    if code < 4000:
        assert code in (1000, 1001, 1002, 1003, 1006, 1007, 1009, 1011)
    else:
        assert DOCUMENTED_CLOSES[code] == CLOSES[code].name
    assert code.reconnect is (code < 4500)


def test_no_documented_close_code_is_missing() -> None:
    assert set(DOCUMENTED_CLOSES) <= {int(code) for code in CloseCode}


class TestRefusal:
    def test_the_message_defaults_to_the_text_of_the_entry(self) -> None:
        assert Refusal(ErrorCode.FORBIDDEN).message == ERRORS[ErrorCode.FORBIDDEN].text
        assert Refusal(ErrorCode.FORBIDDEN, "no").message == "no"
        assert str(Refusal(ErrorCode.FORBIDDEN, "no")) == "forbidden: no"

    @pytest.mark.parametrize(
        ("seconds", "milliseconds", "header"), [(30, 30_000, "30"), (0.0001, 1, "1"), (1.2, 1200, "2")]
    )
    def test_retry_after_is_never_rounded_down(self, seconds: float, milliseconds: int, header: str) -> None:
        refusal = Refusal(ErrorCode.RATE_LIMITED, retry_after=seconds)
        assert refusal.retry_after_ms == milliseconds
        assert refusal.http_headers["Retry-After"] == header

    @pytest.mark.parametrize("code", ErrorCode)
    def test_a_refusal_that_waiting_may_cure_has_no_terminal_close_code(self, code: ErrorCode) -> None:
        assert Refusal(code, retry_after=1).close_code.reconnect

    def test_retry_after_is_optional(self) -> None:
        refusal = Refusal(ErrorCode.RATE_LIMITED)
        assert refusal.retry_after_ms is None
        assert "Retry-After" not in refusal.http_headers

    def test_http_responses_are_json_and_never_cached(self) -> None:
        refusal = Refusal(ErrorCode.INVALID_EVENT, 'say "é"')
        assert json.loads(refusal.http_body) == {"error": {"code": "invalid_event", "message": 'say "é"'}}
        assert refusal.http_headers == {"Content-Type": "application/json", "Cache-Control": "no-store"}

    def test_an_invalid_token_is_reported_as_rfc_6750_requires(self) -> None:
        headers = Refusal(ErrorCode.UNAUTHORIZED).http_headers
        assert headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'

    @pytest.mark.parametrize(
        ("code", "close"),
        [
            (ErrorCode.UNAUTHORIZED, CloseCode.UNAUTHORIZED),
            (ErrorCode.FORBIDDEN, CloseCode.UNAUTHORIZED),
            (ErrorCode.CONNECTION_LIMIT, CloseCode.CONNECTION_LIMIT),
            (ErrorCode.TENANT_SUSPENDED, CloseCode.TENANT_SUSPENDED),
            (ErrorCode.DRAINING, CloseCode.DRAINING),
        ],
    )
    def test_the_close_code_of_a_refusal_sent_over_websocket(self, code: ErrorCode, close: CloseCode) -> None:
        assert Refusal(code).close_code is close

    @pytest.mark.parametrize(
        "code", [code for code, entry in ERRORS.items() if entry.http_status >= 500 and code not in OF_COMMANDS]
    )
    def test_clients_reconnect_after_temporary_errors(self, code: ErrorCode) -> None:
        """The token verifier raises ``unavailable`` until the keys have been fetched for the first time."""
        assert Refusal(code).close_code.reconnect
