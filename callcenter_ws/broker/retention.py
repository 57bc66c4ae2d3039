"""Limits that every store applies to what it keeps beside the events."""

from __future__ import annotations

MAX_PRESENCE_RECORDS = 50_000
"""Users whose presence is kept, over all tenants; above that, offline users seen longest ago are removed first."""

UNFOLDED_EVENTS = 1_000_000
UNFOLDED_BYTES = 536_870_912
"""Events, and bytes of payload, of a tenant's log that are kept because the statistics or the archive need them."""
