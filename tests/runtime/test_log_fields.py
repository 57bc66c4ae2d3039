"""Names and reasons in log lines."""

from __future__ import annotations

import pytest

from callcenter_ws.runtime.log_fields import Name, reason_of


@pytest.mark.parametrize("name", ["acme", "7", "*", "unix", "zoë@example.org", "SIP/100-1"])
def test_a_plain_name_is_shown_as_it_is(name: str) -> None:
    assert f"{Name(name)}" == name


@pytest.mark.parametrize("name", ["", "a b", "7 (agent", "a\nb", "\u202e", "'"])
def test_any_other_name_is_quoted(name: str) -> None:
    assert f"{Name(name)}" == repr(name)
    assert Name(name) == name


@pytest.mark.parametrize(
    "reason",
    [
        "there is no message type 'chat.mesage'; did you mean 'chat.message'?",
        "the Origin 'https://app.example:8443' is not listed in web.allowed_origins",
        "events: unknown event 'call.*', 'state.agent_x'",
        "the token's key isn't known",
    ],
)
def test_the_vocabulary_of_the_protocol_is_shown(reason: str) -> None:
    assert reason_of(reason) == reason


@pytest.mark.parametrize(
    "text", ["eyJhbGciOi.x.y", "s3cret", "a text of a chat", "x" * 61, "https://a.example/?token=x"]
)
@pytest.mark.parametrize("quote", ["'", '"'])
def test_any_other_quoted_text_is_not(text: str, quote: str) -> None:
    assert reason_of(f"the client's {quote}{text}{quote} is wrong") == "the client's '…' is wrong"


def test_an_escaped_quote_does_not_end_a_text() -> None:
    assert reason_of(f"no type {'a' + chr(39) + chr(34) + 's3cret'!r} here") == "no type '…' here"
