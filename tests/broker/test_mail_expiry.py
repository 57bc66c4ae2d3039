"""When a mail may be removed from its mailbox: known since the event was validated."""

from __future__ import annotations

import pytest
from sample_events import event

from callcenter_ws.broker.mailboxes import LIFETIME, mail_expires_at


@pytest.mark.parametrize(
    ("expires_at", "expected"),
    [
        (None, 1_000 + LIFETIME),
        ("1970-01-01T01:00:00Z", 3_600),
        ("9000-01-01T00:00:00Z", 1_000 + LIFETIME),
        ("0001-01-01T00:00:00Z", -62_135_596_800),
    ],
)
def test_the_payload_is_not_decoded_again(expires_at: str | None, expected: float) -> None:
    mail = event("notification", {} if expires_at is None else {"expires_at": expires_at})
    mail.payload = b"no JSON"
    assert mail_expires_at(mail, 1_000) == expected
