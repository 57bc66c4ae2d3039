"""Decides which web pages may open a WebSocket (RFC 6455 section 10.2, RFC 6454)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from callcenter_ws.errors import ErrorCode, Refusal

_DEFAULT_PORTS = {"http": 80, "https": 443}
_NOT_IN_ORIGINS = frozenset("@\\?#")


@dataclass(frozen=True, slots=True)
class WebOrigin:
    """A scheme, a host and a port. In a pattern, a host that begins with ``*.`` matches all its subdomains."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> WebOrigin:
        """Parse an origin or a pattern.

        Raises:
            ValueError: it is not ``scheme://host[:port]``, or the scheme is neither http nor https; also for ``null``.
        """
        parts = urlsplit(text.strip().lower())
        if not _NOT_IN_ORIGINS.isdisjoint(text):
            raise ValueError(f"not an origin: {text[:100]!r}")
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError(f"not an origin: {text[:100]!r}")
        return cls(parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme])

    def matches(self, other: WebOrigin) -> bool:
        """Return whether ``other`` equals this origin or matches this pattern."""
        if (self.scheme, self.port) != (other.scheme, other.port):
            return False
        if self.host.startswith("*."):
            return other.host.endswith(self.host[1:])
        return self.host == other.host


class OriginList:
    """An allow-list of origins."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = [WebOrigin.parse(text) for text in allowed]

    def allows(self, origin: str) -> bool:
        """Return whether ``origin`` is on the list."""
        try:
            parsed = WebOrigin.parse(origin)
        except ValueError:
            return False
        return any(allowed.matches(parsed) for allowed in self._allowed)


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
            raise _refused()

    def check_public(self, origin: str | None) -> None:
        """Check the origin of a public connection before its tenant is known.

        Raises:
            Refusal: ``forbidden`` if it is neither on the allow-list nor an origin of any public tenant.
        """
        if origin is None or self._allowed.allows(origin):
            return
        if not any(tenant.origins.allows(origin) for tenant in self._public.values()):
            raise _refused()

    def check_visitor(self, tenant_id: str, origin: str | None) -> None:
        """Check the origin of a visitor of ``tenant_id``.

        Raises:
            Refusal: ``forbidden`` if it is neither on the allow-list nor an origin of that tenant.
        """
        if origin is None or self._allowed.allows(origin):
            return
        tenant = self._public.get(tenant_id)
        if tenant is None or not tenant.origins.allows(origin):
            raise _refused()

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


def _refused() -> Refusal:
    return Refusal(ErrorCode.FORBIDDEN, "the Origin is not on the allow-list")
