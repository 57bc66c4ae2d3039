"""Passwords: what is stored of one, and whether another is the same. Both take the time of a guess, in a thread.

A record is ``scrypt$15$8$3$SALT$HASH``: the parameters of scrypt (RFC 7914) and base64url without padding.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import threading
import time
import unicodedata
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple, TypeVar

from twisted.internet.defer import Deferred

from callcenter_ws.errors import ErrorCode, Refusal

MIN_PASSWORD_CHARACTERS = 10
MAX_PASSWORD_BYTES = 1_024

MAX_WAITING = 32
"""Passwords that wait to be checked; each takes about 0.3 s."""

_LOG2_N, _R, _P = 15, 8, 3
"""One of the settings that OWASP calls equal; n = 2**17 with p = 1 would take 128 MiB each."""

_MAX_LOG2_N, _MAX_R, _MAX_P = 17, 8, 8
_MEMORY = 160 * 2**20
_HASH_BYTES = 32
_SALT_BYTES = 16
_NICENESS = 10

MAX_WAIT_SECONDS = 20
"""Seconds after which a password that waits is refused for now: a proxy may wait for an answer for 30 s only."""

T = TypeVar("T")


class _Turn(NamedTuple):
    begin: Deferred[None]
    since: float


class _Parts(NamedTuple):
    log2_n: int
    r: int
    p: int
    salt: bytes
    hash: bytes


def password_problem(name: str, password: str) -> str | None:
    """Return why a password cannot be used for a user, as a readable text without it; None if it can."""
    if _is_too_long(password):
        return f"a password has at most {MAX_PASSWORD_BYTES} bytes"
    text = _normal(password)
    if len(text) < MIN_PASSWORD_CHARACTERS:
        return f"a password has at least {MIN_PASSWORD_CHARACTERS} characters"
    if _normal(name).casefold() in text.casefold() and len(text) - len(name) < MIN_PASSWORD_CHARACTERS // 2:
        return "a password is not the name of the user"
    return None


def hash_password(password: str, *, log2_n: int = _LOG2_N) -> str:
    """Return the record of a password. Blocks for the time of a guess.

    Args:
        log2_n: the cost; a smaller one is for tests.
    """
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = _scrypt(password, _Parts(log2_n, _R, _P, salt, b""))
    return f"scrypt${log2_n}${_R}${_P}${_base64(salt)}${_base64(digest)}"


def matches(password: str, record: str) -> bool:
    """Return whether a record is that of a password. Blocks for the time of a guess."""
    parts = _parse(record)
    if parts is None or _is_too_long(password):
        return False
    return hmac.compare_digest(_scrypt(password, parts), parts.hash)


def is_password_record(text: str) -> bool:
    """Return whether a text is a record that this gateway can check within bounds."""
    return _parse(text) is not None


class PasswordChecks:
    """Checks passwords, one at a time, in a thread. The networks that ask take turns, known ones every other time.

    If too many wait, one that comes from a network that is known takes the place of one that does not, and one of a
    network that has few the place of one that has many: no unknown network keeps others from signing in.

    Args:
        run: runs a call in that thread, and returns its result.
        monotonic: returns seconds.
        max_waiting: the passwords that may wait.
        log2_n: the cost of the dummy; a smaller one is for tests.

    Attributes:
        dummy: a record that no password has, for names that no user has: the time must not tell them apart.
    """

    def __init__(
        self,
        run: Callable[[Callable[[], bool]], Awaitable[bool]],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        max_waiting: int = MAX_WAITING,
        log2_n: int = _LOG2_N,
    ) -> None:
        self._run = run
        self._monotonic = monotonic
        self._max_waiting = max_waiting
        self.dummy = _dummy_record(log2_n)
        # The turns of each network, and since when they wait.
        self._waiting: OrderedDict[str, deque[_Turn]] = OrderedDict()
        self._known: set[str] = set()
        self._last_was_known = False
        self._count = 0
        self._is_busy = False

    async def check(self, password: str, record: str, network: str, *, is_known: bool = False) -> bool:
        """Return whether a record is that of a password.

        Args:
            is_known: whether users have signed in from the network before.

        Raises:
            Refusal: ``try_later`` if too many wait, or it takes longer than ``MAX_WAIT_SECONDS``.
        """
        if self._is_busy:
            await self._turn(network, is_known)
        self._is_busy = True
        try:
            return await self._run(lambda: _in_thread(password, record))
        finally:
            self._next()

    def _turn(self, network: str, is_known: bool) -> Deferred[None]:
        if self._count >= self._max_waiting:
            other = self._most_waiting(network, is_known)
            if other is None:
                raise self._try_later()
            self._remove(other, last=True).errback(self._try_later())
        turn: Deferred[None] = Deferred()
        self._waiting.setdefault(network, deque()).append(_Turn(turn, self._monotonic()))
        if is_known:
            self._known.add(network)
        self._count += 1
        return turn

    def _try_later(self) -> Refusal:
        text = "many people are signing in at this moment; the page tries again"
        return Refusal(ErrorCode.TRY_LATER, text, retry_after=max(1.0, self._max_waiting / 4))

    def _most_waiting(self, network: str, is_known: bool) -> str | None:
        """Return the network that has the most waiting and gives way to one more of ``network``; None if none does."""
        unknown = {one: len(turns) for one, turns in self._waiting.items() if one not in self._known}
        if unknown and is_known:
            return max(unknown, key=lambda one: unknown[one])
        counts = {one: len(turns) for one, turns in self._waiting.items()} if is_known else unknown
        own = len(self._waiting.get(network, ()))
        most = max(counts, key=lambda one: counts[one], default=None)
        return most if most is not None and counts[most] > own + 1 else None

    def _remove(self, network: str, *, last: bool) -> Deferred[None]:
        """Remove one that waits, the first or the last of its network."""
        turns = self._waiting[network]
        turn = turns.pop() if last else turns.popleft()
        if not turns:
            del self._waiting[network]
            self._known.discard(network)
        self._count -= 1
        return turn.begin

    def _refuse_late(self) -> None:
        """Refuse what has waited too long, before a proxy gives up: the page tries again."""
        oldest = self._monotonic() - MAX_WAIT_SECONDS
        for network in list(self._waiting):
            while network in self._waiting and self._waiting[network][0].since < oldest:
                self._remove(network, last=False).errback(self._try_later())

    def _next(self) -> None:
        """Let the next one begin: the first of the network whose last turn is longest ago."""
        self._refuse_late()
        if not self._waiting:
            self._is_busy = False
            return
        unknown = (one for one in self._waiting if one not in self._known)
        known = (one for one in self._waiting if one in self._known)
        first, second = (unknown, known) if self._last_was_known else (known, unknown)
        network = next(first, None) or next(second)
        self._last_was_known = network in self._known
        turn = self._remove(network, last=False)
        if network in self._waiting:
            self._waiting.move_to_end(network)
        turn.callback(None)


def _in_thread(password: str, record: str) -> bool:
    # Of the thread alone, on Linux: the events of the call center come first.
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
    return matches(password, record)


def _dummy_record(log2_n: int) -> str:
    salt, digest = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_HASH_BYTES)
    return f"scrypt${log2_n}${_R}${_P}${_base64(salt)}${_base64(digest)}"


def _scrypt(password: str, parts: _Parts) -> bytes:
    return hashlib.scrypt(
        _bytes(_normal(password)),
        salt=parts.salt,
        n=1 << parts.log2_n,
        r=parts.r,
        p=parts.p,
        maxmem=_MEMORY,
        dklen=_HASH_BYTES,
    )


def _normal(text: str) -> str:
    """Return a text in one spelling: keyboards send the same letter as one character, or as two."""
    return unicodedata.normalize("NFC", text)


def _is_too_long(password: str) -> bool:
    # By its characters first: to normalize takes the square of the length, and no other thread runs meanwhile.
    return len(password) > MAX_PASSWORD_BYTES or len(_bytes(_normal(password))) > MAX_PASSWORD_BYTES


def _bytes(text: str) -> bytes:
    # Half of a surrogate pair, which JSON can spell, has no UTF-8.
    return text.encode("utf-8", "surrogatepass")


def _parse(record: str) -> _Parts | None:
    fields = record.split("$")
    if (
        len(fields) != 6
        or fields[0] != "scrypt"
        or not all(field.isdecimal() and len(field) < 3 for field in fields[1:4])
    ):
        return None
    log2_n, r, p = (int(field) for field in fields[1:4])
    if not (1 <= log2_n <= _MAX_LOG2_N and 1 <= r <= _MAX_R and 1 <= p <= _MAX_P):
        return None
    try:
        salt, digest = (base64.urlsafe_b64decode(field + "=" * (-len(field) % 4)) for field in fields[4:])
    except ValueError:
        return None
    return _Parts(log2_n, r, p, salt, digest) if len(salt) == _SALT_BYTES and len(digest) == _HASH_BYTES else None


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
