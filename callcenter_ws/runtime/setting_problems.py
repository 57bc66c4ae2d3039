"""Problems with settings: all of them are reported together, each with its source, its key and a reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem with the settings.

    Attributes:
        source: where the value was set: the path of the file, the name of a variable, or ``--set``.
        key: ``section.key``; empty if the problem concerns the source as a whole.
        reason: the text for the operator; it never contains the content of a secret's file.
    """

    source: str
    key: str
    reason: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.source, self.key, self.reason) if part)


class ConfigError(Exception):
    """The settings cannot be used; ``problems`` holds every reason."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        head = "the configuration has 1 problem:"
        if len(self.problems) != 1:
            head = f"the configuration has {len(self.problems)} problems:"
        return "\n".join([head, *(f"  - {problem}" for problem in self.problems)])


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return the reason that there is no such section, key or field, with a suggestion if one is similar."""
    close = get_close_matches(name[:80], list(known), 1)
    return f"there is no such {what}" + (f"; did you mean {close[0]}?" if close else "")
