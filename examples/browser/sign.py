"""Signs a token for a user of this site: what /my/token answers ("Signing a token" in docs/browser.rst)."""

import time
import uuid
from collections.abc import Mapping
from typing import Any

import jwt  # PyJWT


def callcenter_token(secret: bytes, claims: Mapping[str, Any], seconds: int = 600) -> str:
    """Return a token with ``claims``: sub, tenant_id, role; and for some queues only: queues."""
    now = int(time.time())
    return jwt.encode({"iat": now, "exp": now + seconds, "jti": uuid.uuid4().hex, **claims}, secret, algorithm="HS256")
