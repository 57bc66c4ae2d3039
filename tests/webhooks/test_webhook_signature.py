"""The manual's example of a receiver accepts what the gateway signs, and nothing else."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from callcenter_ws.webhooks.signing import signature

PAGE = Path(__file__).parent.parent.parent / "docs" / "statistics.rst"

SECRET = b"a secret of thirty-two bytes, or more"
BODY = b'{"type":"queue.alert.raised"}'


@pytest.fixture(scope="module")
def is_genuine() -> Any:
    block = PAGE.read_text().partition("   import hashlib\n")[2].partition("\nTo change the secret")[0]
    names: dict[str, Any] = {}
    exec(textwrap.dedent("   import hashlib\n" + block), names)  # noqa: S102 - of the manual
    return names["is_genuine"]


def headers(seconds_ago: int = 0, secret: bytes = SECRET, body: bytes = BODY) -> dict[str, str]:
    timestamp = str(int(time.time()) - seconds_ago)
    return {"X-Callcenter-Timestamp": timestamp, "X-Callcenter-Signature": signature(secret, timestamp, body)}


def test_what_the_gateway_signs_is_accepted(is_genuine: Any) -> None:
    assert is_genuine(SECRET, headers(), BODY)


@pytest.mark.parametrize(
    "forged",
    [
        {},
        headers(secret=b"another secret"),
        headers(body=b"{}"),
        headers(seconds_ago=400),
        {**headers(), "X-Callcenter-Timestamp": "1"},
        {**headers(), "X-Callcenter-Signature": "sha256=\u00e9"},
        {"X-Callcenter-Timestamp": "soon", "X-Callcenter-Signature": "sha256="},
    ],
)
def test_everything_else_is_refused(is_genuine: Any, forged: dict[str, str]) -> None:
    assert not is_genuine(SECRET, forged, BODY)
