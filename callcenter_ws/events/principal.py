"""The principal of a connection: its tenant, user, role and claims; and which view of a payload its role has."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from msgspec import Struct, structs

EVERY_TENANT = "*"
"""The ``tenant_id`` of a token for all tenants. No event is published for it."""


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
    """A part of a payload that some roles see."""

    FULL = 0
    WALLBOARD = 1
    VISITOR = 2


class Principal(Struct, frozen=True):
    """A connected user, by the claims of its verified token. A Struct, because one is made for each connection.

    Attributes:
        tenant_id: the tenant; ``*`` (every tenant) only for the roles ``admin`` and ``service``.
        user_id: the ``sub`` claim.
        expires_at: Unix time in seconds when the token ends; None for a principal without a token.
        issued_at: Unix time in seconds of the ``iat`` claim, if there was one.
        queues: the ``queues`` claim; None when the claim is absent (no restriction).
        session_id: a visitor's chat session.
        narrowed: whether the token is for all tenants, and was narrowed to this one when it was admitted.
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
        """Whether the token is for all tenants."""
        return self.tenant_id == EVERY_TENANT

    def narrow(self, tenant_id: str) -> Principal:
        """Return this principal of all tenants as one of that tenant."""
        return structs.replace(self, tenant_id=tenant_id, narrowed=True)

    @property
    def is_visitor(self) -> bool:
        """Whether this is a visitor of a website, whose user ids are apart from those of the staff."""
        return self.role is Role.VISITOR

    @property
    def view(self) -> View:
        """The view of payloads that the role has."""
        return _VIEW_OF_ROLE.get(self.role, View.FULL)


_VIEW_OF_ROLE = {Role.WALLBOARD: View.WALLBOARD, Role.VISITOR: View.VISITOR}

_MASK = "***"


def redact(payload: dict[str, object], view: View) -> dict[str, object]:
    """Return the part of ``payload`` that ``view`` shows.

    Wallboards are visible to customers who walk by: the caller's number and name are masked (for an outbound call the
    destination too, which is the customer's), and channel variables, which usually repeat them, are removed. E-mail
    addresses are removed for visitors.
    """
    if view is View.WALLBOARD:
        masked = _CALLER | {"destination"} if payload.get("direction") == "outbound" else _CALLER
        shown = {key: value for key, value in payload.items() if key != "variables"}
        return {key: _MASK if key in masked and value else _without_callers(value) for key, value in shown.items()}
    if view is View.VISITOR:
        return {key: _without_emails(value) for key, value in payload.items() if "email" not in key.lower()}
    return payload


def _without_emails(value: object) -> object:
    """Remove e-mail addresses at every level of a payload, which has at most 100."""
    if isinstance(value, dict):
        return redact(value, View.VISITOR)
    return [_without_emails(item) for item in value] if isinstance(value, list) else value


def _without_callers(value: object) -> object:
    """Mask the caller at every level of a payload."""
    if isinstance(value, dict):
        return redact(value, View.WALLBOARD)
    return [_without_callers(item) for item in value] if isinstance(value, list) else value


_CALLER = frozenset({"caller_id", "caller_name"})
