"""Fields of log events: names that peers have chosen, and reasons that may repeat what a peer has sent."""

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


_QUOTED = re.compile(r"(?<!\w)'(?:[^'\\]|\\.)*'|(?<!\w)\"(?:[^\"\\]|\\.)*\"")
_VOCABULARY = re.compile(r"[a-z]+(?:[._-][a-z]+)*(?:\.?\*)?|[a-z]+://[\w.:\[\]-]+")
_MAX_SHOWN = 60

HIDDEN = "'…'"
"""What a quoted text is replaced by."""


def reason_of(message: str) -> str:
    """Return the message of a refusal as the log has it: without quoted texts that may be a token or a payload.

    A quoted text is shown if it has the form of a name of the protocol, of a setting, or of an origin.
    """
    return _QUOTED.sub(_shown, message) if "'" in message or '"' in message else message


def _shown(quoted: re.Match[str]) -> str:
    text = quoted[0][1:-1]
    return quoted[0] if len(text) <= _MAX_SHOWN and _VOCABULARY.fullmatch(text) else HIDDEN
