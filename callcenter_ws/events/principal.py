"""The principal of a connection: its tenant, user, role and claims; and which view of a payload its role has."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct, structs

from callcenter_ws.events.redaction import View

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
