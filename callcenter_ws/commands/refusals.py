"""What a source says in place of taking a command, as its outcome; and other texts of sources, fit to be shown."""

from __future__ import annotations

from callcenter_ws.commands.closing import failed
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import MAX_MESSAGE_LENGTH, CommandOutcome, OutcomeCode

_CODES = {
    ErrorCode.OVERLOADED: OutcomeCode.BUSY,
    ErrorCode.UNAVAILABLE: OutcomeCode.BUSY,
    ErrorCode.UNSUPPORTED: OutcomeCode.UNSUPPORTED,
}

_TEXTS = {
    OutcomeCode.BUSY: "the source is busy; try again",
    OutcomeCode.UNSUPPORTED: "the source cannot do this",
    OutcomeCode.REJECTED: "the source refused this",
}


def outcome_of_refusal(refusal: Refusal) -> CommandOutcome:
    """Return the outcome of a command that its source has refused."""
    code = _CODES.get(refusal.code, OutcomeCode.REJECTED)
    text = printable(refusal.message)
    return failed(code, f"{_TEXTS[code]}: {text}" if text else _TEXTS[code])


def printable(text: str) -> str:
    """Return what a source says for a person, without control characters and not too long."""
    return "".join(character if character.isprintable() else " " for character in text[:MAX_MESSAGE_LENGTH]).strip()
