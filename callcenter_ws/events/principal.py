"""Who a connection is, and what it may see.

The rules of PROTOCOL section 4.1 live here and nowhere else. They depend only on the principal and on the
message itself, so that live delivery, replay and snapshots cannot disagree.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any

from msgspec import Struct, structs

if TYPE_CHECKING:
    pass


EVERY_TENANT = "*"
"""The ``tenant_id`` of a token that speaks for all tenants. No event is ever published for it."""


class Role(StrEnum):
    """The ``role`` claim of a token."""

    AGENT = "agent"
    SUPERVISOR = "supervisor"
    ADMIN = "admin"
    WALLBOARD = "wallboard"
    VISITOR = "visitor"
    SERVICE = "service"


STAFF = frozenset({Role.AGENT, Role.SUPERVISOR, Role.ADMIN, Role.SERVICE})
STAFF_AND_WALLS = STAFF | {Role.WALLBOARD}
STAFF_AND_VISITORS = STAFF | {Role.VISITOR}


class View(IntEnum):
    """How much of a payload a role is shown."""

    FULL = 0
    WALLBOARD = 1
    VISITOR = 2


class Principal(Struct, frozen=True):
    """Who is connected, as its verified token says. A Struct, because one is made for each connection.

    Attributes:
        tenant_id: the tenant; ``*`` (every tenant) only for the roles ``admin`` and ``service``.
        user_id: the ``sub`` claim.
        expires_at: Unix time in seconds when the token ends; None for a principal without a token.
        issued_at: Unix time in seconds of the ``iat`` claim, if there was one.
        queues: the ``queues`` claim; None when the claim is absent (no restriction).
        session_id: a visitor's chat session.
        narrowed: the token speaks for all tenants, and was narrowed to this one as it was let in.
    """

    tenant_id: str
    user_id: str
    role: Role
    expires_at: float | None = None
    issued_at: float | None = None
    name: str | None = None
    queues: frozenset[str] | None = None
    session_id: str | None = None
    extension: str | None = None
    jti: str | None = None
    narrowed: bool = False

    @property
    def every_tenant(self) -> bool:
        """Whether this principal speaks for all tenants."""
        return self.tenant_id == EVERY_TENANT

    def narrow(self, tenant_id: str) -> Principal:
        """Return this principal, who speaks for all tenants, as one of that tenant."""
        return structs.replace(self, tenant_id=tenant_id, narrowed=True)

    @property
    def is_visitor(self) -> bool:
        """Whether this is a visitor of a website, whose ids are not the staff's."""
        return self.role is Role.VISITOR

    @property
    def view(self) -> View:
        """The view of a payload that this principal gets."""
        return _VIEW_OF_ROLE.get(self.role, View.FULL)


_VIEW_OF_ROLE = {Role.WALLBOARD: View.WALLBOARD, Role.VISITOR: View.VISITOR}

_MASK = "***"


def redact(payload: dict[str, Any], view: View) -> dict[str, Any]:
    """Return ``payload`` as ``view`` shows it.

    Wallboards hang in rooms that customers walk through: the caller's number and name are masked (of an
    outbound call the destination, for there the customer is the one who is called), and the
    channel variables, which usually repeat them, are left out. Visitors get no e-mail address of anybody.
    """
    if view is View.WALLBOARD:
        masked = _CALLER | {"destination"} if payload.get("direction") == "outbound" else _CALLER
        shown = {key: value for key, value in payload.items() if key != "variables"}
        return {key: _MASK if key in masked and value else _without_callers(value) for key, value in shown.items()}
    if view is View.VISITOR:
        return {key: _without_emails(value) for key, value in payload.items() if "email" not in key.lower()}
    return payload


def _without_emails(value: Any) -> Any:
    """Leave e-mail addresses out wherever a producer has put them; payloads have at most 100 levels."""
    if isinstance(value, dict):
        return redact(value, View.VISITOR)
    return [_without_emails(item) for item in value] if isinstance(value, list) else value


def _without_callers(value: Any) -> Any:
    """Mask the caller wherever a producer has repeated it."""
    if isinstance(value, dict):
        return redact(value, View.WALLBOARD)
    return [_without_callers(item) for item in value] if isinstance(value, list) else value


_CALLER = frozenset({"caller_id", "caller_name"})
