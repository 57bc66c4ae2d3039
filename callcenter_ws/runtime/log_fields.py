"""Fields of log events: names that peers have chosen."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[\w.@+*:/-]+")


class Name(str):
    """A name that a peer has chosen, or that an administrator has chosen for it.

    In the text of a log line it is quoted, with escapes, if it has other than the usual characters: it could be taken
    for another part of the line. As a field of a JSON line it is unchanged.
    """

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        """Return the name as the text shows it."""
        return str(self) if _PLAIN.fullmatch(self) else repr(str(self))
