"""Decides which web pages may open a WebSocket (RFC 6455 section 10.2, RFC 6454)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.runtime.web_origin import OriginList, WebOrigin, shown_origin

__all__ = ["OriginList", "OriginPolicy", "PublicTenant", "WebOrigin"]

_STAFF_SETTING = "web.allowed_origins"
_PUBLIC_SETTINGS = "public.tenants.TENANT.origins and web.allowed_origins"


@dataclass(frozen=True, slots=True)
class PublicTenant:
    """The settings of a tenant whose website visitors may connect.

    Attributes:
        origins: the origins of pages that may connect.
        anonymous: whether visitors without a token are accepted.
    """

    origins: OriginList
    anonymous: bool


class OriginPolicy:
    """Checks the ``Origin`` of a handshake.

    A handshake without ``Origin`` does not come from a browser, so cross-site requests are no concern: it is accepted,
    but not with a cookie.

    Args:
        allowed: the origins of all pages that staff may connect from.
        public: the settings of tenants with public access, by tenant id.
    """

    def __init__(self, allowed: OriginList, public: Mapping[str, PublicTenant]) -> None:
        self._allowed = allowed
        self._public = public

    def check_staff(self, origin: str | None) -> None:
        """Check the origin of a staff connection.

        Raises:
            Refusal: ``forbidden`` if it is not on the allow-list.
        """
        if origin is not None and not self._allowed.allows(origin):
            raise _refused(origin, _STAFF_SETTING)

    def check_public(self, origin: str | None) -> None:
        """Check the origin of a public connection before its tenant is known.

        Raises:
            Refusal: ``forbidden`` if it is neither on the allow-list nor an origin of any public tenant.
        """
        if origin is None or self._allowed.allows(origin):
            return
        if not any(tenant.origins.allows(origin) for tenant in self._public.values()):
            raise _refused(origin, _PUBLIC_SETTINGS)

    def check_visitor(self, tenant_id: str, origin: str | None) -> None:
        """Check the origin of a visitor of ``tenant_id``.

        Raises:
            Refusal: ``forbidden`` if it is neither on the allow-list nor an origin of that tenant.
        """
        if origin is None or self._allowed.allows(origin):
            return
        tenant = self._public.get(tenant_id)
        if tenant is None or not tenant.origins.allows(origin):
            raise _refused(origin, _PUBLIC_SETTINGS)

    def is_listed(self, origin: str | None) -> bool:
        """Return whether there is an origin and it is on the allow-list, as a token in a cookie requires."""
        return origin is not None and self._allowed.allows(origin)

    def anonymous_tenant(self, tenant_id: str | None, origin: str | None) -> str | None:
        """Return the tenant that an anonymous visitor connects to; None if there is none that accepts it.

        Args:
            tenant_id: the tenant that the URL names. If it is None, the only tenant with ``origin`` is used.
        """
        if tenant_id is None and origin is not None:
            owners = [name for name, tenant in self._public.items() if tenant.origins.allows(origin)]
            tenant_id = owners[0] if len(owners) == 1 else None
        tenant = None if tenant_id is None else self._public.get(tenant_id)
        return tenant_id if tenant is not None and tenant.anonymous else None


def _refused(origin: str, settings: str) -> Refusal:
    """Return the refusal of an origin that none of these settings lists."""
    if origin == "null":
        text = "the Origin is null, that of a local file or a sandboxed frame, which every site can have"
        return Refusal(ErrorCode.FORBIDDEN, f"{text}; serve the page from an origin of its own")
    return Refusal(ErrorCode.FORBIDDEN, f"the Origin {shown_origin(origin)} is not listed in {settings}")
