"""The parameters in the URLs of ``/ws``, ``/ws/snapshot`` and ``/ws/statistics``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.runtime.suggestions import closest_name

PARAMETERS = ("events", "queues", "tenant_id", "snapshot", "ack", "epoch", "seq", "access_token", "token")
"""Those that have a meaning for ``/ws`` and ``/ws/snapshot``."""

_SWITCH = {"1": True, "true": True, "0": False, "false": False}

_MAX_COMPARED = 5
"""Unknown names that are compared; comparing is slow, and peers choose the names."""


def check_parameters(names: Iterable[str], known: Sequence[str] = PARAMETERS) -> None:
    """Refuse parameters that are probably misspelled. Other unknown ones are ignored: proxies and caches add some.

    Raises:
        Refusal: ``invalid_message`` with the name that was probably meant.
    """
    unknown = [name for name in names if name not in known]
    for name in unknown[:_MAX_COMPARED]:
        if meant := closest_name(name, known):
            raise Refusal(ErrorCode.INVALID_MESSAGE, f"unknown parameter {name!r}; did you mean {meant}?")


def switch(name: str, value: str | None) -> bool:
    """Return the value of a parameter that is on or off; None if it is absent, which means off.

    Raises:
        Refusal: ``invalid_message`` for another value.
    """
    if value is None:
        return False
    if value not in _SWITCH:
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"{name}: expected 1, true, 0 or false")
    return _SWITCH[value]
