"""The source that a broadcaster sends the events of: its name, its generation and the numbers of its events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from twisted.logger import Logger

from callcenter_ws.amp.commands import Hello
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.capabilities import capability_problem
from callcenter_ws.events.commands import COMMANDS
from callcenter_ws.events.identifiers import control_character, has_control_character
from callcenter_ws.remote.gateway_connection import CommandResponse, GatewayConnection
from callcenter_ws.remote.persistence import Persistence
from callcenter_ws.runtime.json import encode_json

_MAX_NAME, _MAX_TEXT, _MAX_CAPABILITY = 128, 64, 32
_MAX_CAPABILITIES, _MAX_TENANTS = 16, 1_000

_log = Logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceIdentity:
    """What ``Hello`` tells the gateway about a source.

    Attributes:
        name: the name of the source.
        kind: what it is, for people.
        instance: identifies the process or the spool; empty: that of the spool, or a new one for each process.
        tenants: those that it sends events of; None: the tenant of its token.
        capabilities: what it does itself, such as ``health``.
        version: of the daemon's software, for people.

    Raises:
        ValueError: a value is not within the limits of the gateway.
    """

    name: str
    kind: str
    instance: str
    tenants: tuple[str, ...] | None
    capabilities: tuple[str, ...]
    version: str | None

    @classmethod
    def create(
        cls,
        name: str,
        kind: str,
        instance: str,
        tenants: Sequence[str] | None,
        capabilities: Sequence[str],
        version: str | None,
    ) -> Self:
        """Return an identity from the arguments of a broadcaster.

        Raises:
            ValueError: a value is not within the limits of the gateway.
        """
        return cls(
            name=name,
            kind=kind,
            instance=instance,
            tenants=None if tenants is None else _checked_texts("tenants", tenants),
            capabilities=_checked_texts("capabilities", capabilities),
            version=version,
        )

    def __post_init__(self) -> None:
        _check_text("source", self.name, _MAX_NAME, shortest=1)
        _check_text("kind", self.kind, _MAX_TEXT)
        _check_text("instance", self.instance, _MAX_NAME)
        _check_text("version", self.version or "", _MAX_TEXT)
        if len(self.tenants or ()) > _MAX_TENANTS or len(self.capabilities) > _MAX_CAPABILITIES:
            raise ValueError(f"at most {_MAX_TENANTS} tenants and {_MAX_CAPABILITIES} capabilities are allowed")
        for capability in self.capabilities:
            _check_text("capabilities", capability, _MAX_CAPABILITY, shortest=1)
            if problem := capability_problem(capability):
                raise ValueError(f"capabilities: {problem}")
            if capability in COMMANDS:
                raise ValueError(f"capabilities: {capability} is a command; call on_command for it")

    def arguments(self, instance: str, generation: int | None, commands: Sequence[str] = ()) -> dict[str, object]:
        """Return the arguments of ``Hello``.

        Args:
            commands: the names of those that the source carries out.
        """
        lists = {"tenants": self.tenants, "capabilities": (*self.capabilities, *commands) or None}
        return {
            "source": self.name,
            "kind": self.kind,
            "instance": self.instance or instance,
            "generation": generation,
            "version": self.version,
            **{name: None if given is None else encode_json(list(given)) for name, given in lists.items()},
        }


def _check_text(name: str, text: str, longest: int, *, shortest: int = 0) -> None:
    if has_control_character(text):
        raise ValueError(f"{name}: the control character {control_character(text)} is not allowed")
    if not shortest <= len(text) <= longest:
        raise ValueError(f"{name}: expected a text of {shortest} to {longest} characters, not {text!r}")


def _checked_texts(name: str, values: Sequence[str]) -> tuple[str, ...]:
    """Return a sequence of texts.

    Raises:
        ValueError: it is one text, or holds something else.
    """
    if isinstance(values, str) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{name}: expected a list of texts, not {values!r}")
    return tuple(values)


class SourceNumbers:
    """Numbers the events of a source, and agrees with the gateway on their generation.

    The events of a source are numbered in the order in which they are published and sent. Within a generation the
    gateway takes each number once. So no number may ever be given to two events, of this process, of an earlier one
    that used the same spool, or of one that used a copy of it.

    Args:
        persistence: keeps the generation, and what numbers may have been given.
        drop_known: called with a number: all events up to it are known to the gateway.
        commands: returns the names of the commands that the source carries out.
    """

    def __init__(
        self,
        identity: SourceIdentity,
        persistence: Persistence,
        drop_known: Callable[[int], None],
        commands: Callable[[], Sequence[str]],
    ) -> None:
        self._identity = identity
        self._commands = commands
        self._persistence = persistence
        self._drop_known = drop_known
        self._last = 0
        self._given_before = 0
        self._last_sent = 0

    def open(self, last: int) -> None:
        """Continue after ``last``: numbers up to it may have been given by earlier processes."""
        self._last = self._given_before = max(self._last, last)

    def next(self) -> int:
        """Return the number of the next event."""
        self._last += 1
        return self._last

    def sent(self, number: int) -> None:
        """Note that an event is being sent."""
        self._last_sent = max(self._last_sent, number)

    async def introduce(self, connection: GatewayConnection) -> None:
        """Say ``Hello`` on a new connection.

        Raises:
            Refusal: that of the gateway; ``unavailable``: the generation cannot be stored, or another one is needed.
        """
        own = self._persistence.generation
        arguments = self._identity.arguments(self._persistence.instance, own, self._commands())
        answer = await connection.call(Hello, **arguments)
        if own is None:
            await self._persistence.keep_generation(answer["generation"])
        elif answer["source_seq"] > max(self._given_before, self._last_sent):
            await self._begin_generation(answer)

    async def _begin_generation(self, answer: CommandResponse) -> None:
        """Leave a generation in which others have used the numbers of this spool's next events.

        The spool is an older copy, or lost its last changes, which its disk had reported as stored. The events up to
        the last number that it knows were sent before those others, and answered.
        """
        _log.error(
            "source {source}: the gateway has event {theirs} of generation {generation}, but the spool knows of none "
            "after {ours}: it is an older copy, or its disk lost changes. A new generation is begun",
            source=self._identity.name,
            generation=answer["generation"],
            theirs=answer["source_seq"],
            ours=self._given_before,
        )
        await self._persistence.leave_generation(self._given_before)
        self._drop_known(self._given_before)
        raise Refusal(ErrorCode.UNAVAILABLE, f"source {self._identity.name} begins a new generation")
