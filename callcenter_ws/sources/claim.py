"""What a ``Hello`` claims, checked, and who owns the names of sources."""

from __future__ import annotations

from dataclasses import dataclass

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.capabilities import capability_problem
from callcenter_ws.events.identifiers import MAX_ID_LENGTH, control_character, has_control_character
from callcenter_ws.events.principal import EVERY_TENANT, Principal
from callcenter_ws.events.source_rules import MAX_NUMBER

MAX_NAME_LENGTH = 128
"""Of a source and of an instance."""

MAX_TEXT_LENGTH = 64
"""Of ``kind`` and ``version``."""

MAX_CAPABILITIES = 64
MAX_CAPABILITY_LENGTH = 32
MAX_TENANTS = 1_000
"""Tenants of one source; more are refused with ``invalid_event``."""

MAX_SOURCES_PER_TENANT = 256
MAX_SOURCES = 10_000
"""Names that are taken in one tenant, and sources in all; more are refused with ``overloaded``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The arguments of ``Hello``, with the owner of the name; see ``interfaces.SourceRecord``.

    Attributes:
        generation: None: assign the next one.
    """

    scope: str
    subject: str
    name: str
    kind: str
    version: str
    instance: str
    generation: int | None
    tenants: tuple[str, ...]
    capabilities: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str]:
        """The identity of the source: scope and name."""
        return self.scope, self.name


def owner_of(principal: Principal) -> tuple[str, str]:
    """Return the owner of the names that a principal registers: scope and subject."""
    return (EVERY_TENANT, "") if principal.every_tenant else (principal.tenant_id, principal.user_id)


def claim_of(
    principal: Principal,
    *,
    source: str,
    kind: str,
    instance: str,
    generation: int | None,
    tenants: object,
    capabilities: object,
    version: str | None,
) -> Claim:
    """Return the claim of a ``Hello``.

    Args:
        tenants, capabilities: the decoded JSON; None if they were omitted.

    Raises:
        Refusal: ``invalid_event`` with the name of the argument; ``forbidden`` for another tenant than the token's.
    """
    scope, subject = owner_of(principal)
    if generation is not None and not 1 <= generation <= MAX_NUMBER:
        raise Refusal(ErrorCode.INVALID_EVENT, f"generation: expected an integer of 1 to {MAX_NUMBER}")
    return Claim(
        scope=scope,
        subject=subject,
        name=_text("source", source, MAX_NAME_LENGTH),
        kind=_text("kind", kind, MAX_TEXT_LENGTH),
        version="" if version is None else _text("version", version, MAX_TEXT_LENGTH, min_length=0),
        instance=_text("instance", instance, MAX_NAME_LENGTH),
        generation=generation,
        tenants=_tenants(principal, tenants),
        capabilities=_capabilities(capabilities),
    )


def _text(name: str, value: object, max_length: int, *, min_length: int = 1) -> str:
    if not isinstance(value, str) or not min_length <= len(value) <= max_length:
        raise Refusal(ErrorCode.INVALID_EVENT, f"{name}: expected a string of {min_length} to {max_length} characters")
    if has_control_character(value):
        raise Refusal(
            ErrorCode.INVALID_EVENT, f"{name}: the control character {control_character(value)} is not allowed"
        )
    return value


def _texts(name: str, value: object, max_items: int, max_length: int) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > max_items:
        raise Refusal(ErrorCode.INVALID_EVENT, f"{name}: expected a list of at most {max_items} strings")
    return tuple(dict.fromkeys(_text(name, item, max_length) for item in value))


def _capabilities(value: object) -> tuple[str, ...]:
    names = _texts("capabilities", value, MAX_CAPABILITIES, MAX_CAPABILITY_LENGTH)
    for name in names:
        if problem := capability_problem(name):
            raise Refusal(ErrorCode.INVALID_EVENT, f"capabilities: {problem}")
    return names


def _tenants(principal: Principal, value: object) -> tuple[str, ...]:
    tenants = _texts("tenants", value, MAX_TENANTS, MAX_ID_LENGTH)
    if EVERY_TENANT in tenants:
        raise Refusal(ErrorCode.INVALID_EVENT, "tenants: name each tenant")
    if principal.every_tenant:
        if not tenants:
            raise Refusal(ErrorCode.INVALID_EVENT, "tenants: required, the credential is for all tenants")
        return tenants
    if any(tenant != principal.tenant_id for tenant in tenants):
        raise Refusal(ErrorCode.FORBIDDEN, "tenants: the token is for another tenant")
    return (principal.tenant_id,)
