"""Event filters of the manager interface: which form a version understands, and what is filtered out."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable

EVENT_CLASSES = "system,call,agent,dialplan"
"""The classes of events that a bridge asks for at its login; it gets those of them that its user may read."""

NOISE = (
    "Newexten",
    "DeviceStateChange",
    "ExtensionStatus",
    "PresenceStateChange",
    "PresenceStatus",
    "ChannelTalkingStart",
    "ChannelTalkingStop",
    "MusicOnHoldStart",
    "MusicOnHoldStop",
    "NewConnectedLine",
    "Newstate",
    "DialState",
    "SoftHangupRequest",
)
"""Frequent events of these classes. Those of them that the state machine does not want are filtered out."""

ALWAYS_NOISE = ("Newexten", "DeviceStateChange", "ExtensionStatus", "PresenceStateChange", "PresenceStatus")
"""Those that are of no use to any version of the bridge."""

_STRUCTURED_SINCE = {18: 26, 20: 11, 21: 6, 22: 1}
"""By branch of Asterisk, the first release with structured filters. Branch 19 never got them."""

_VERSION = re.compile(r"(?:^|[^0-9.])(\d{2})\.(\d+)")


def has_structured_filters(version: str) -> bool:
    """Return whether an Asterisk has filters such as ``eventfilter(name(Hangup))``.

    Args:
        version: as CoreSettings shows it, for example ``22.10.1`` or ``certified/18.9-cert5``.
    """
    found = _VERSION.search(version)
    if found is None:
        return False
    branch, release = int(found[1]), int(found[2])
    return branch > max(_STRUCTURED_SINCE) or release >= _STRUCTURED_SINCE.get(branch, release + 1)


def excluded_names(wanted: Container[str] | None) -> list[str]:
    """Return the frequent events that are not wanted; None: all are wanted."""
    return [] if wanted is None else [name for name in NOISE if name not in wanted]


def filter_lines(version: str, wanted: Container[str] | None, variables: Iterable[str] = ()) -> list[str]:
    """Return the lines ``eventfilter`` for ``manager.conf``: all events but the frequent ones that are not wanted.

    They exclude, since an include filter would hide all other events, those of later versions of the bridge as well.
    Of ``VarSet`` everything is excluded but ``QUEUESTATUS`` and ``variables``.
    """
    names = [*ALWAYS_NOISE, *(name for name in excluded_names(wanted) if name not in ALWAYS_NOISE)]
    kept = sorted({"QUEUESTATUS", *variables})
    if has_structured_filters(version):
        criteria = "eventfilter(action(exclude),name(VarSet),header(Variable),method(regex))"
        return [
            *(f"eventfilter(action(exclude),name({name})) =" for name in names),
            f"{criteria} = ^{_other_than(kept, '$')}",
        ]
    end = "[[:space:]]"
    return [
        f"eventfilter = !^Event: ({'|'.join(names)}){end}",
        f"eventfilter = !^Event: VarSet{end}.*{end}Variable: {_other_than(kept, end)}",
    ]


def _other_than(words: list[str], end: str) -> str:
    """Return a POSIX extended regular expression for the beginning of each text but ``words``.

    There is no negation in these expressions: a text differs where its first other character is, or by its length.

    Args:
        end: matches what follows a text.
    """
    by_first: dict[str, list[str]] = {}
    for word in words:
        if word:
            by_first.setdefault(word[0], []).append(word[1:])
    parts = [] if "" in words else [end]
    # What ends the text is no other character.
    parts.append(f"[^{''.join(by_first)}{'[:space:]' if end != '$' else ''}]" if by_first or end != "$" else ".")
    parts += [first + _other_than(rest, end) for first, rest in by_first.items()]
    return f"({'|'.join(parts)})"
