"""The sender of the demo: a process of its own that tells the model's story to the gateway over AMP.

Run it beside any gateway: ``python -m callcenter_ws.demo.simulator ENDPOINT --tenant demo``. It ends on SIGTERM
and when its standard input closes, so it never outlives the process that started it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Awaitable, Callable
from random import Random, SystemRandom
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO
from twisted.internet.task import deferLater, react
from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    globalLogBeginner,
)
from twisted.python.failure import Failure

from callcenter_ws.demo.callcenter import CallCenter
from callcenter_ws.demo.scheduler import Happening
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.remote import EventBroadcaster

_log = Logger()

_RETRY_SECONDS = 2.0
_LATE_SECONDS = 1.0
_STOP_SECONDS = 1.0
_TRY_AGAIN = (ErrorCode.OVERLOADED, ErrorCode.UNAVAILABLE, ErrorCode.DRAINING, ErrorCode.RATE_LIMITED)
_SEEDS = 2**32

Publish = Callable[[Happening], Awaitable[object]]


class Simulation:
    """Tells a model's story in real time.

    An event is told after the one before it was acknowledged. While the gateway is away the story stands
    still and goes on from there, so that nothing is told in a rush afterwards.

    Args:
        publish: tells the gateway one event; raises Refusal.
        speed: model seconds per second.
    """

    def __init__(self, reactor: Any, callcenter: CallCenter, publish: Publish, speed: float = 1.0) -> None:
        self._reactor = reactor
        self._callcenter = callcenter
        self._publish = publish
        self._speed = speed

    async def run(self) -> None:
        """Tell the story until cancelled."""
        began = self._reactor.seconds()
        while True:
            due = began + self._callcenter.next_at / self._speed
            late = self._reactor.seconds() - due
            if late < 0:
                await deferLater(self._reactor, -late)
            elif late > _LATE_SECONDS:
                began += late
            for happening in self._callcenter.step():
                await self._tell(happening)

    async def _tell(self, happening: Happening) -> None:
        """Tell one event, again and again while the gateway cannot take it, or the story would have a hole."""
        while True:
            try:
                await self._publish(happening)
                return
            except Refusal as refusal:
                if refusal.code not in _TRY_AGAIN:
                    _log.error("{type} was refused: {refusal}", type=happening.type, refusal=str(refusal))
                    return
                _log.warn("{type} is sent again: {refusal}", type=happening.type, refusal=str(refusal))
                delay = refusal.retry_after or _RETRY_SECONDS
            await deferLater(self._reactor, delay)


class _UntilClosed(Protocol):
    """Reads the standard input for nothing but its end."""

    def __init__(self, closed: Callable[[], object]) -> None:
        self._closed = closed

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._closed()


async def simulate(reactor: Any, arguments: argparse.Namespace) -> None:
    """Tell the story to the gateway until the standard input closes."""
    broadcaster = EventBroadcaster(arguments.endpoint, reactor, stop_timeout=_STOP_SECONDS)
    started = time.time()
    speed: float = arguments.speed
    random = Random(arguments.seed)  # noqa: S311 - the story shall be repeatable; nothing depends on its secrecy
    callcenter = CallCenter(random, lambda at: started + at / speed, prefix=f"{started:.0f}")

    def publish(happening: Happening) -> Awaitable[object]:
        return broadcaster.publish(arguments.tenant, happening.type, happening.payload, user_id=happening.user_id)

    _log.info("simulating a call center, seed {seed}, for {endpoint}", seed=arguments.seed, endpoint=arguments.endpoint)
    broadcaster.startService()
    telling: Deferred[None] = Deferred.fromCoroutine(Simulation(reactor, callcenter, publish, speed).run())
    StandardIO(_UntilClosed(telling.cancel), reactor=reactor)
    try:
        await telling
    except CancelledError:
        _log.info("the standard input is closed: the simulation ends")
    finally:
        await broadcaster.stopService()


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Return the arguments of the command line; exits with an explanation when they make no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m callcenter_ws.demo.simulator",
        description="Simulate a small call center and send its events to a gateway over AMP.",
    )
    parser.add_argument("endpoint", metavar="ENDPOINT", help="AMP listener, as unix:path=/run/amp.sock")
    parser.add_argument("--tenant", default="demo", help="whose events they are (default: %(default)s)")
    parser.add_argument("--speed", type=_positive, default=1.0, metavar="X", help="simulated seconds per second")
    parser.add_argument("--seed", type=int, metavar="N", help="tell the same story again (default: a new one)")
    arguments = parser.parse_args(argv)
    if arguments.seed is None:
        arguments.seed = SystemRandom().randrange(_SEEDS)
    return arguments


def _log_to_stderr() -> None:
    """Write what happens as plain lines; whoever reads them adds the time."""
    # Any: mypy cannot see what implements the interfaces of the log.
    lines: Any = FileLogObserver(
        sys.stderr, lambda event: f"{eventAsText(event, includeTimestamp=False, includeSystem=False)}\n"
    )
    levels: Any = LogLevelFilterPredicate(LogLevel.info)
    levels.setLogLevelForNamespace("twisted", LogLevel.warn)
    filtered: Any = FilteringLogObserver(lines, [levels])
    globalLogBeginner.beginLoggingTo([filtered], redirectStandardIO=False)


def main(argv: list[str]) -> None:
    """Run the simulator; does not return."""
    arguments = parse_arguments(argv)
    _log_to_stderr()
    react(lambda reactor: Deferred.fromCoroutine(simulate(reactor, arguments)))


if __name__ == "__main__":
    main(sys.argv[1:])
