"""PeerBudget: what peers that have not authenticated may use, counted per network and in all."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from callcenter_ws.runtime.clock import Clock

MAX_NETWORKS = 10_000
"""Networks that are remembered. Beyond, the least recently used one without an open socket is forgotten."""

BYTES_BURST_SECONDS = 8.0
"""A network may send the bytes of so many seconds at once."""

MINUTE_SECONDS = 60.0


class Credential(StrEnum):
    """What a peer authenticates with."""

    TOKEN = "token"  # noqa: S105 - no secret: the name of a kind
    """A signed token, which cannot be guessed."""

    SECRET = "secret"  # noqa: S105 - no secret: the name of a kind
    """The argument of AMP's ``Authenticate``, unless it is a signed token."""

    PASSWORD = "password"  # noqa: S105 - no secret: the name of a kind
    """The password of a person, or a request for a pairing code."""


class Overdrawn(StrEnum):
    """Why something was refused to a peer; a label of the metrics."""

    SOCKETS = "sockets"
    SOCKETS_OF_NETWORK = "sockets_of_network"
    REQUESTS = "requests"
    BYTES = "bytes"
    CREDENTIALS = "credentials"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLimits:
    """The size of the budget; ``docs/limits.rst`` describes each.

    Attributes:
        sockets: open sockets in all.
        sockets_per_network: open sockets of one network.
        requests: requests of one network per second.
        request_burst: requests of one network at once.
        bytes_per_second: bytes received from one network per second.
        failed: refused credentials of one network per minute, by kind.
    """

    sockets: int = 2_000
    sockets_per_network: int = 400
    requests: float = 100
    request_burst: int = 1_000
    bytes_per_second: int = 1_048_576
    failed: dict[Credential, int] = field(
        default_factory=lambda: {Credential.TOKEN: 300, Credential.SECRET: 10, Credential.PASSWORD: 10}
    )


class Evictable(Protocol):
    """A connection that has not authenticated."""

    def evict(self) -> None:
        """Abort the connection, and close its socket at once: a newer one needs its place."""


@dataclass(slots=True)
class _Size:
    """The size of an allowance: per second, and at once. All allowances of a kind refer to the same object."""

    rate: float = 0.0
    burst: float = 0.0

    def change(self, rate: float, burst: float) -> None:
        self.rate, self.burst = rate, burst


class _Allowance:
    """A token bucket that may be exceeded: what is above it is waited for."""

    __slots__ = ("_last", "_left", "_size")

    def __init__(self, size: _Size, now: float) -> None:
        self._size = size
        self._left = size.burst
        self._last = now

    def spend(self, amount: float, now: float) -> None:
        """Take an amount; a negative one gives it back."""
        self._left = min(self._size.burst, self._refilled(now) - amount)
        self._last = now

    def wait_for(self, amount: float, now: float) -> float:
        """Return the seconds until an amount is left; 0 if it is."""
        return max(0.0, (amount - self._refilled(now)) / self._size.rate)

    def _refilled(self, now: float) -> float:
        size = self._size
        return min(size.burst, self._left + (now - self._last) * size.rate)


class _Sizes:
    """The sizes of the allowances of every network."""

    def __init__(self, limits: BudgetLimits) -> None:
        self.requests = _Size()
        self.received = _Size()
        self.failed = {kind: _Size() for kind in Credential}
        self.change(limits)

    def change(self, limits: BudgetLimits) -> None:
        """Use other sizes from now on, in all allowances."""
        self.requests.change(limits.requests, limits.request_burst)
        self.received.change(limits.bytes_per_second, limits.bytes_per_second * BYTES_BURST_SECONDS)
        for kind, most in limits.failed.items():
            self.failed[kind].change(most / MINUTE_SECONDS, most)


class _Network:
    """What the unauthenticated peers of one network use."""

    __slots__ = ("failed", "received", "requests", "sockets")

    def __init__(self, sizes: _Sizes, now: float) -> None:
        # In the order in which they were opened.
        self.sockets: dict[Evictable, None] = {}
        self.requests = _Allowance(sizes.requests, now)
        self.received = _Allowance(sizes.received, now)
        self.failed = {kind: _Allowance(size, now) for kind, size in sizes.failed.items()}


class PeerBudget:
    """Counts what unauthenticated peers use, and says when a network has used its share.

    A peer that has authenticated is not counted any more, and its requests are given back, so that no number of
    authenticated peers behind one address is limited here.

    Attributes:
        overdrawn: how often something was refused, by reason.
    """

    def __init__(self, limits: BudgetLimits, clock: Clock) -> None:
        self._limits = limits
        self._sizes = _Sizes(limits)
        self._clock = clock
        # The least recently used network is first.
        self._networks: OrderedDict[str, _Network] = OrderedDict()
        self._network_of: dict[Evictable, str] = {}
        # Networks by their number of sockets, to find the one with most without a search.
        self._by_sockets: dict[int, dict[str, None]] = {}
        self._most_sockets = 0
        self.overdrawn: dict[Overdrawn, int] = {}

    def change(self, limits: BudgetLimits) -> None:
        """Use another size from now on, for all networks. Of open sockets none is evicted before the next is opened."""
        self._limits = limits
        self._sizes.change(limits)

    @property
    def sockets(self) -> int:
        """The number of open sockets of unauthenticated peers."""
        return len(self._network_of)

    # Sockets

    def open(self, peer: Evictable, network: str, *, is_proxy: bool = False) -> None:
        """Count a new socket. At a limit the oldest socket of that network, or of the one with most, is evicted.

        Args:
            is_proxy: whether the peer is a trusted proxy, whose sockets are those of many networks.
        """
        limits = self._limits
        if not is_proxy and len(self._network(network).sockets) >= limits.sockets_per_network:
            self._evict_oldest(network, Overdrawn.SOCKETS_OF_NETWORK)
        elif len(self._network_of) >= limits.sockets:
            self._evict_oldest(next(iter(self._by_sockets[self._most_sockets])), Overdrawn.SOCKETS)
        self._add(peer, network)

    def close(self, peer: Evictable) -> None:
        """Do not count a socket any more: its peer has authenticated, or it was closed."""
        network = self._network_of.pop(peer, None)
        if network is None:
            return
        sockets = self._networks[network].sockets
        self._move(network, len(sockets), len(sockets) - 1)
        del sockets[peer]

    def _add(self, peer: Evictable, network: str) -> None:
        self._network_of[peer] = network
        sockets = self._network(network).sockets
        self._move(network, len(sockets), len(sockets) + 1)
        sockets[peer] = None

    def _evict_oldest(self, network: str, reason: Overdrawn) -> None:
        peer = next(iter(self._networks[network].sockets))
        self.close(peer)
        self.count(reason)
        peer.evict()

    def _move(self, network: str, before: int, after: int) -> None:
        """File a network under its new number of sockets."""
        by_sockets = self._by_sockets
        if before:
            del by_sockets[before][network]
            if not by_sockets[before]:
                del by_sockets[before]
        if after:
            by_sockets.setdefault(after, {})[network] = None
        # The number changes by one: if the network was the only one with most, it still is, or shares its place.
        if after > self._most_sockets or self._most_sockets not in by_sockets:
            self._most_sockets = after

    # Requests and bytes

    def request(self, network: str) -> float:
        """Count a request; return 0, or the seconds after which the network may make another, if it may not now."""
        requests, now = self._network(network).requests, self._clock.monotonic()
        seconds = requests.wait_for(1, now)
        if seconds:
            self.count(Overdrawn.REQUESTS)
        else:
            requests.spend(1, now)
        return seconds

    def give_back_request(self, network: str) -> None:
        """Do not count a request after all: its peer has authenticated."""
        self._network(network).requests.spend(-1, self._clock.monotonic())

    def received(self, network: str, count: int) -> float:
        """Count received bytes; return the seconds for which nothing more should be read from that peer."""
        received, now = self._network(network).received, self._clock.monotonic()
        received.spend(count, now)
        seconds = received.wait_for(0, now)
        if seconds:
            self.count(Overdrawn.BYTES)
        return seconds

    # Credentials

    def seconds_until_try(self, network: str, kind: Credential) -> float:
        """Return 0 if a credential of the network may be checked; otherwise the seconds until one may be."""
        return self._network(network).failed[kind].wait_for(1, self._clock.monotonic())

    def count_refused_try(self) -> None:
        """Count a credential that was not checked."""
        self.count(Overdrawn.CREDENTIALS)

    def credential_refused(self, network: str, kind: Credential) -> None:
        """Count a credential that was checked and refused."""
        self._network(network).failed[kind].spend(1, self._clock.monotonic())

    def count(self, reason: Overdrawn) -> None:
        """Count a refusal."""
        self.overdrawn[reason] = self.overdrawn.get(reason, 0) + 1

    # Networks

    def _network(self, name: str) -> _Network:
        network = self._networks.get(name)
        if network is not None:
            self._networks.move_to_end(name)
            return network
        if len(self._networks) >= MAX_NETWORKS:
            self._forget_one()
        network = self._networks[name] = _Network(self._sizes, self._clock.monotonic())
        return network

    def _forget_one(self) -> None:
        """Forget the least recently used network without sockets. There is one: sockets have a smaller limit."""
        for _ in range(len(self._networks)):
            name, network = next(iter(self._networks.items()))
            if not network.sockets:
                del self._networks[name]
                return
            self._networks.move_to_end(name)
