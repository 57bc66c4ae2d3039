"""How often a password of a name may be tried, and how many screens may wait to be paired.

A network is known if a person or a screen has signed in from it, or a page there has had a token of a session. What is
tried from other networks does not count for the known ones: an attacker elsewhere cannot lock a user out of the office.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

from callcenter_ws.errors import ErrorCode, Refusal

_Key = tuple[str, str]

MAX_NAMES = 10_000
"""Names that are remembered. Beyond, the one that was tried least recently is forgotten."""

NAME_SECONDS = 900.0
"""The time in which ``limits.failed_sign_ins_per_name`` passwords may be refused."""

MAX_OPEN_CODES = 20
"""Screens of one network that may wait at the same time."""

MAX_UNKNOWN_CODES = 500
"""Screens that may wait at the same time in networks that are not known: half of what a store holds."""


class KnownNetworks:
    """The networks from which users or screens have signed in, as this process knows: at most ``MAX_NAMES``."""

    def __init__(self) -> None:
        self._networks: OrderedDict[str, None] = OrderedDict()

    def add(self, network: str) -> None:
        """Note that a page of a network has signed in, or is signed in."""
        self._networks[network] = None
        self._networks.move_to_end(network)
        if len(self._networks) > MAX_NAMES:
            self._networks.popitem(last=False)

    def __contains__(self, network: str) -> bool:
        return network in self._networks


class SignInTries:
    """Counts refused passwords by name, whether or not there is such a user: by known network, and of all others.

    A try counts from its beginning, so that many at the same time are not more; one that succeeds is given back.

    Args:
        monotonic: returns seconds.
        most: returns how many of a name may be refused in ``NAME_SECONDS``.
        known: the networks that are counted by themselves.
    """

    def __init__(self, monotonic: Callable[[], float], most: Callable[[], int], known: KnownNetworks) -> None:
        self._monotonic = monotonic
        self._most = most
        self._known = known
        # How many tries count, and when that was so; they become fewer steadily. Of all networks that are not known
        # together, whose name is empty here: an attacker may have any number of them.
        self._used: OrderedDict[_Key, tuple[float, float]] = OrderedDict()

    def take(self, name: str, network: str) -> Callable[[], None]:
        """Count a try; return what is called if it has succeeded, or was not carried out: then it does not count.

        Raises:
            Refusal: ``rate_limited``.
        """
        key = (name, network if network in self._known else "")
        used, most = self._used_now(key), self._most()
        if used > most - 1:
            seconds = (used - most + 1) * NAME_SECONDS / most
            text = "too many wrong passwords for this name; wait, or ask an administrator"
            raise Refusal(ErrorCode.RATE_LIMITED, text, retry_after=seconds)
        self._set(key, used + 1)
        return lambda: self._set(key, max(0.0, self._used_now(key) - 1))

    def _used_now(self, key: _Key) -> float:
        used, at = self._used.get(key, (0.0, 0.0))
        return max(0.0, used - (self._monotonic() - at) * self._most() / NAME_SECONDS) if used else 0.0

    def _set(self, key: _Key, used: float) -> None:
        self._used.pop(key, None)
        if used:
            self._used[key] = used, self._monotonic()
        if len(self._used) > MAX_NAMES:
            self._used.popitem(last=False)


class OpenCodes:
    """Counts the pairing codes that have not expired: of each network, and of all that are not known.

    Args:
        monotonic: returns seconds.
        lifetime: seconds for which a code can be used.
        known: the networks that do not share in ``MAX_UNKNOWN_CODES``.
    """

    def __init__(self, monotonic: Callable[[], float], lifetime: float, known: KnownNetworks) -> None:
        self._monotonic = monotonic
        self._lifetime = lifetime
        self._known = known
        self._ends: OrderedDict[str, list[float]] = OrderedDict()
        self._unknown_ends: deque[float] = deque()

    def add(self, network: str) -> None:
        """Count a code.

        Raises:
            Refusal: ``rate_limited``.
        """
        now = self._monotonic()
        ends = [end for end in self._ends.get(network, ()) if end > now]
        if len(ends) >= MAX_OPEN_CODES:
            text = f"{MAX_OPEN_CODES} screens of this network wait to be paired"
            raise Refusal(ErrorCode.RATE_LIMITED, text, retry_after=ends[0] - now)
        if network not in self._known:
            self._add_of_unknown(now)
        self._ends[network] = [*ends, now + self._lifetime]
        self._ends.move_to_end(network)
        if len(self._ends) > MAX_NAMES:
            self._ends.popitem(last=False)

    def _add_of_unknown(self, now: float) -> None:
        ends = self._unknown_ends
        while ends and ends[0] <= now:
            ends.popleft()
        if len(ends) >= MAX_UNKNOWN_CODES:
            text = "many screens wait to be paired; sign in with a name at a page of this network, and try again"
            raise Refusal(ErrorCode.RATE_LIMITED, text, retry_after=ends[0] - now)
        ends.append(now + self._lifetime)
