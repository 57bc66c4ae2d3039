"""The signature of a webhook's request, by which the receiver knows that the gateway has sent it."""

from __future__ import annotations

import hashlib
import hmac


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """Return the value of ``X-Callcenter-Signature``: of ``X-Callcenter-Timestamp``, a period and the body."""
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
