"""What a script asks of its runner: actions to send, and what has to be seen before it goes on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

from callcenter_ws.bridge.asterisk.commands.checked_command import Data
from callcenter_ws.bridge.asterisk.message import AmiMessage

Proof = Callable[[AmiMessage | None], bool]
"""Returns whether the exchange has shown that it happened. It is called with each event, after the state machine has
taken it, and once with None before anything is sent: what is true already is done. May raise ``CommandFailed``."""


@dataclass(frozen=True, slots=True)
class Action:
    """One action of the manager interface."""

    name: str
    headers: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, name: str, /, **headers: str | None) -> Action:
        """Return an action; headers that are None are left out."""
        return cls(name, tuple((key, value) for key, value in headers.items() if value is not None))


@dataclass(slots=True)
class Step:
    """Actions that are sent together.

    Attributes:
        proof: what shows that they have had their effect. None: the responses are enough, as those to questions.
        needs_responses: whether they are waited for, even if the proof is there.
        is_question: it changes nothing at the exchange, and an error is an answer, too.
        ids: the ActionIDs, once they are sent.
    """

    actions: Sequence[Action]
    proof: Proof | None = None
    needs_responses: bool = False
    is_question: bool = False
    ids: list[str] = field(default_factory=list)


Script = Generator[Step, Sequence[AmiMessage], Data | None]
"""Carries one command out: yields steps, is sent the responses, in the order of the actions, and returns the data."""
