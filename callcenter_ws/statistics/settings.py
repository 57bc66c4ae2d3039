"""The settings that change figures: per tenant, overridable per queue, changed by an event in the stream."""

from __future__ import annotations

import msgspec

from callcenter_ws.statistics.occurrence import Facts
from callcenter_ws.statistics.service_level import DEFAULT_METHOD, METHODS

MAX_OVERRIDES = 2000
"""Queues with settings of their own; those beyond have the tenant's."""


class Settings(msgspec.Struct, frozen=True, array_like=True):
    """The settings of a tenant or of one queue; the zone counts for the tenant only.

    Attributes:
        service_level_ms: T; a wait of at most T is in the service level.
        service_level_target: the percentage to reach.
        short_abandon_ms: S; an abandoned wait strictly below S is short.
    """

    time_zone: str = "UTC"
    service_level_ms: int = 20_000
    service_level_target: float = 80.0
    short_abandon_ms: int = 5_000
    service_level_method: str = DEFAULT_METHOD

    def changed(self, facts: Facts) -> Settings:
        """Return these settings with the fields that an event has; unknown methods and negative numbers are ignored."""
        method = facts.service_level_method
        return Settings(
            facts.time_zone or self.time_zone,
            _threshold(facts.service_level_seconds, self.service_level_ms),
            self.service_level_target if facts.service_level_target is None else facts.service_level_target,
            _threshold(facts.short_abandon_seconds, self.short_abandon_ms),
            method if method in METHODS else self.service_level_method,
        )


class SettingsTable(msgspec.Struct, array_like=True):
    """The settings of a tenant, and those of queues that differ."""

    tenant: Settings = Settings()
    queues: dict[str, Settings] = {}

    def of(self, queue_name: str) -> Settings:
        """Return the settings of a queue."""
        return self.queues.get(queue_name, self.tenant)

    def change(self, facts: Facts) -> None:
        """Take over the settings of ``statistics.settings.changed``: always all of them, with all overrides."""
        self.tenant = Settings(time_zone=self.tenant.time_zone).changed(facts)
        overrides = facts.queues if isinstance(facts.queues, dict) else {}
        self.queues = {
            name: self.tenant.changed(msgspec.convert(fields, Facts))
            for name, fields in list(overrides.items())[:MAX_OVERRIDES]
        }


def settings_payload(settings: Settings, queues: dict[str, Settings]) -> dict[str, object]:
    """Return the payload of ``statistics.settings.changed``."""
    return {**_fields(settings), "queues": {name: _fields(one) for name, one in sorted(queues.items())}}


def _fields(settings: Settings) -> dict[str, object]:
    return {
        "time_zone": settings.time_zone,
        "service_level_seconds": settings.service_level_ms / 1000,
        "service_level_target": settings.service_level_target,
        "short_abandon_seconds": settings.short_abandon_ms / 1000,
        "service_level_method": settings.service_level_method,
    }


def _threshold(seconds: float | None, default: int) -> int:
    # At most a day; the comparison is false for what is no number.
    return round(seconds * 1000) if seconds is not None and 0 <= seconds <= 86_400 else default
