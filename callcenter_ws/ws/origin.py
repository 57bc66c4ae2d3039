"""Which web pages may open a socket (RFC 6455 section 10.2, RFC 6454)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from callcenter_ws.errors import ErrorCode, Refusal

_DEFAULT_PORTS = {"http": 80, "https": 443}
_NEVER_IN_ORIGINS = frozenset("@\\?#")


@dataclass(frozen=True, slots=True)
class Origin:
    """A scheme, a host and a port; ``*.`` before the host stands for its subdomains, in a pattern only."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Origin:
        """Return the origin that ``text`` names.

        Raises:
            ValueError: for anything but ``scheme://host[:port]``; ``null`` included.
        """
        parts = urlsplit(text.strip().lower())
        if not _NEVER_IN_ORIGINS.isdisjoint(text):
            raise ValueError(f"not an origin: {text[:100]!r}")
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError(f"not an origin: {text[:100]!r}")
        return cls(parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme])

    def covers(self, other: Origin) -> bool:
        """Whether ``other`` is this origin, or one that this pattern stands for."""
        if (self.scheme, self.port) != (other.scheme, other.port):
            return False
        if self.host.startswith("*."):
            return other.host.endswith(self.host[1:])
        return self.host == other.host


class OriginList:
    """An allow-list of origins."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = [Origin.parse(text) for text in allowed]

    def holds(self, origin: str) -> bool:
        """Whether a browser page of ``origin`` may connect."""
        try:
            asked = Origin.parse(origin)
        except ValueError:
            return False
        return any(allowed.covers(asked) for allowed in self._allowed)


@dataclass(frozen=True, slots=True)
class PublicTenant:
    """What a tenant allows its website's visitors.

    Attributes:
        origins: pages that may open a chat.
        anonymous: whether a visitor needs no token.
    """

    origins: OriginList
    anonymous: bool


class OriginPolicy:
    """Decides on the ``Origin`` of a handshake.

    A peer that sends none is not a browser, so no page is using somebody's browser against us: it passes,
    but never with a cookie.
    """

    def __init__(self, allowed: OriginList, public: Mapping[str, PublicTenant]) -> None:
        self._allowed = allowed
        self._public = public

    def check_staff(self, origin: str | None) -> None:
        """Let the page of a staff connection pass.

        Raises:
            Refusal: ``forbidden``.
        """
        if origin is not None and not self._allowed.holds(origin):
            raise _refused()

    def check_public(self, origin: str | None) -> None:
        """Let a page pass that some tenant's visitors may come from; the tenant itself is checked later.

        Raises:
            Refusal: ``forbidden``.
        """
        if origin is None or self._allowed.holds(origin):
            return
        if not any(tenant.origins.holds(origin) for tenant in self._public.values()):
            raise _refused()

    def check_visitor(self, tenant_id: str, origin: str | None) -> None:
        """Let a visitor of ``tenant_id`` pass.

        Raises:
            Refusal: ``forbidden`` when the page is not one of the tenant's.
        """
        if origin is None or self._allowed.holds(origin):
            return
        tenant = self._public.get(tenant_id)
        if tenant is None or not tenant.origins.holds(origin):
            raise _refused()

    def is_listed(self, origin: str | None) -> bool:
        """Whether there is an origin and staff may come from it: what a cookie needs."""
        return origin is not None and self._allowed.holds(origin)

    def anonymous_tenant(self, tenant_id: str | None, origin: str | None) -> str | None:
        """The tenant that an anonymous visitor connects to, or None when none takes it.

        It is the one that the URL names, else the only one that the page's origin belongs to.
        """
        if tenant_id is None and origin is not None:
            owners = [name for name, tenant in self._public.items() if tenant.origins.holds(origin)]
            tenant_id = owners[0] if len(owners) == 1 else None
        tenant = None if tenant_id is None else self._public.get(tenant_id)
        return tenant_id if tenant is not None and tenant.anonymous else None


def _refused() -> Refusal:
    return Refusal(ErrorCode.FORBIDDEN, "the page's origin is not on the allow-list")
