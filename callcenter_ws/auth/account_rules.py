"""What users and sessions can be: their names, and whom their tokens may be for."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Sequence

from callcenter_ws.auth.page_tokens import PAGE_ROLES
from callcenter_ws.auth.passwords import is_password_record
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.identifiers import MAX_ID_LENGTH, identifier_problem
from callcenter_ws.events.principal import EVERY_TENANT
from callcenter_ws.interfaces import UserRecord

MAX_CLAIM_BYTES = 5_000
"""Bytes of the claims that an operator chooses: they are in each token, which has at most ``jws.MAX_TOKEN_BYTES``."""

MAX_NAME_CHARACTERS = 4 * MAX_ID_LENGTH
"""Characters of a name as it was typed."""


def digest_of(secret: str) -> str:
    """Return what a store has of a secret of 256 random bits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def normal_name(name: str) -> str:
    """Return the name of a user in one spelling: keyboards send the same letter as one character, or as two.

    Raises:
        Refusal: ``invalid_message`` for what no user can have as name.
    """
    # Before it is normalized, which takes the square of the length. A letter with accents is a few characters.
    too_long = len(name) > MAX_NAME_CHARACTERS
    normal = name if too_long else unicodedata.normalize("NFC", name).strip()
    if problem := identifier_problem(normal):
        raise _invalid("name", problem)
    return normal


def check_user(record: UserRecord) -> None:
    """Check a user.

    Raises:
        Refusal: ``invalid_message``.
    """
    check_rights(record.tenant_id, record.role, record.queues, record.display_name, user_id=record.user_id)
    if not is_password_record(record.password):
        raise _invalid("password", "not a record that the gateway can check")


def check_rights(
    tenant_id: str, role: str, queues: Sequence[str] | None, display_name: str, *, user_id: str = "screen"
) -> None:
    """Check whom tokens may be for.

    Raises:
        Refusal: ``invalid_message``.
    """
    if tenant_id == EVERY_TENANT:
        raise _invalid("tenant_id", "there are no users for all tenants")
    for field, text in (("tenant_id", tenant_id), ("user_id", user_id), *(("queues", queue) for queue in queues or ())):
        if problem := identifier_problem(text):
            raise _invalid(field, problem)
    if display_name and (problem := identifier_problem(display_name)):
        raise _invalid("display_name", problem)
    if role not in PAGE_ROLES:
        raise _invalid("role", f"expected one of {', '.join(PAGE_ROLES)}")
    if len(json.dumps([tenant_id, user_id, display_name, queues])) > MAX_CLAIM_BYTES:
        raise _invalid("queues", "the names are too long together: all of them are in each token")


def _invalid(field: str, text: str) -> Refusal:
    return Refusal(ErrorCode.INVALID_MESSAGE, f"{field}: {text}")
