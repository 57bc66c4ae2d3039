"""Whether an exchange is still booting, where it does not tell: its lists would lack what it has not loaded yet."""

from __future__ import annotations

from datetime import UTC, datetime

MAX_BOOT_SECONDS = 30.0
"""How long after its start an exchange that does not say that it is booted is taken for one that boots."""

_CLOCK_STEP_SECONDS = 900
"""The exchange tells its start in its own time zone: all of them differ from UTC by a multiple of this."""


def may_be_booting(boot: str, now: float) -> bool:
    """Return whether an exchange may have been started within ``MAX_BOOT_SECONDS``.

    Args:
        boot: its start, as CoreStatus tells it.
        now: the present Unix time.
    """
    try:
        started = datetime.strptime(boot, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return False
    return (now - started) % _CLOCK_STEP_SECONDS < MAX_BOOT_SECONDS
