"""The sender of the demo: a separate process that publishes the events of the model to a gateway over AMP.

It works with any gateway: ``python -m callcenter_ws.demo.simulator ENDPOINT --tenant demo``. It ends on SIGTERM and
when its standard input is closed, so it does not outlive the process that started it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from random import Random, SystemRandom

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater, react
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws import __version__
from callcenter_ws.demo.callcenter import CallCenter
from callcenter_ws.demo.child import call_at_end_of_input, log_to_stderr
from callcenter_ws.demo.consultations import LaterOutcome
from callcenter_ws.demo.sample_data import DEMO_AGENT
from callcenter_ws.demo.scheduler import ModelEvent
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.remote import ClientMessage, Command, CommandFailed, EventBroadcaster
from callcenter_ws.runtime.json import JsonObject
from callcenter_ws.runtime.reactor import Reactor

_log = Logger()

_DEFAULT_RETRY_SECONDS = 2.0
_MAX_LATENESS_SECONDS = 1.0
_STOP_TIMEOUT_SECONDS = 1.0
_PRESENCE_SECONDS = 15.0
"""So often the gateway is asked who is at a desk: changes are not told while the connection is lost."""

_SCOPES = ("agents", "calls", "members", "chats")
_RETRYABLE = (ErrorCode.OVERLOADED, ErrorCode.UNAVAILABLE, ErrorCode.DRAINING, ErrorCode.RATE_LIMITED)
_SEED_COUNT = 2**32

Publish = Callable[[ModelEvent], Awaitable[object]]


class Simulation:
    """Publishes the events of a model in real time.

    An event is published after the previous one was acknowledged. While the gateway cannot be reached, model time
    stands still and continues from there, so that no burst of events follows.

    Args:
        publish: publishes one event; raises Refusal.
        speed: model seconds per second.
    """

    def __init__(self, reactor: IReactorTime, callcenter: CallCenter, publish: Publish, speed: float = 1.0) -> None:
        self._reactor = reactor
        self._callcenter = callcenter
        self._publish = publish
        self._speed = speed
        self._began = reactor.seconds()
        # Held from a change of the model until its events are published: they must not change places with others.
        self._publishing = DeferredLock()
        self._waiting: Deferred[bool] | None = None
        self._unfinished: list[tuple[LaterOutcome, Deferred[None]]] = []

    async def run(self) -> None:
        """Publish events until cancelled."""
        self._began = self._reactor.seconds()
        while True:
            due = self._began + self._callcenter.next_at / self._speed
            late = self._reactor.seconds() - due
            if late < 0:
                if await self._wait(-late):
                    continue
            elif late > _MAX_LATENESS_SECONDS:
                self._began += late
            async with self._publishing:
                await self._publish_all(self._callcenter.step())
            self._finish()

    async def _wait(self, seconds: float) -> bool:
        """Wait for the next step of the model; return whether a command came, after which it may be another one."""
        waiting = self._waiting = Deferred()
        timer = self._reactor.callLater(seconds, waiting.callback, False)
        try:
            return await waiting
        finally:
            self._waiting = None
            if timer.active():
                timer.cancel()

    async def carry_out(self, command: Command) -> JsonObject | None:
        """Carry out a command in the model, publish what it causes, and return what the asker is told.

        Raises:
            CommandFailed: it was not carried out.
        """
        async with self._publishing:
            if command.seconds_left <= 0:
                raise CommandFailed("timeout", "its time had passed before it was begun")
            events, result = self._callcenter.carry_out(
                self._model_time(), command.name, command.payload, command.user_id
            )
            self._wake()
            await self._publish_all(events)
        self._finish()
        if not isinstance(result, LaterOutcome):
            return result
        if not result.is_known:
            known: Deferred[None] = Deferred()
            self._unfinished.append((result, known))
            await known
        if result.failure is not None:
            raise result.failure
        return result.data

    async def chat_changed(self, message: ClientMessage) -> None:
        """Tell the model of an event of a chat that others have sent, and publish what it causes."""
        async with self._publishing:
            events = self._callcenter.chat_changed(self._model_time(), message.type, message.payload)
            self._wake()
            await self._publish_all(events)

    async def set_present(self, user_id: str, *, is_present: bool) -> None:
        """Tell the model whether a person is at the desk of an agent, and publish what it causes."""
        async with self._publishing:
            events = self._callcenter.set_present(self._model_time(), user_id, is_present=is_present)
            self._wake()
            await self._publish_all(events)
        self._finish()

    def _model_time(self) -> float:
        return (self._reactor.seconds() - self._began) * self._speed

    def _wake(self) -> None:
        """Look again at what comes next: it may have changed."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(True)

    def _finish(self) -> None:
        """Go on with the commands whose outcome is known, now that its events are published."""
        known = [one for one in self._unfinished if one[0].is_known]
        self._unfinished = [one for one in self._unfinished if not one[0].is_known]
        for _, finished in known:
            finished.callback(None)

    async def _publish_all(self, events: Iterable[ModelEvent]) -> None:
        for event in events:
            await self._publish_event(event)

    async def _publish_event(self, event: ModelEvent) -> None:
        """Publish one event; repeat it while the gateway cannot accept it, so that no event is missing."""
        while True:
            try:
                await self._publish(event)
                return
            except Refusal as refusal:
                if refusal.code not in _RETRYABLE:
                    _log.error("{type} was refused: {refusal}", type=event.type, refusal=str(refusal))
                    return
                _log.warn("{type} is sent again: {refusal}", type=event.type, refusal=str(refusal))
                delay = refusal.retry_after or _DEFAULT_RETRY_SECONDS
            await deferLater(self._reactor, delay)


async def simulate(reactor: Reactor, arguments: argparse.Namespace) -> None:
    """Publish the events of a model to the gateway until the standard input is closed."""
    # The same instance at each start: the gateway then needs not wait for the end of the former one's lease.
    broadcaster = EventBroadcaster(
        arguments.endpoint,
        reactor,
        stop_timeout=_STOP_TIMEOUT_SECONDS,
        source=arguments.source,
        kind="simulator",
        instance=arguments.source,
        tenants=[arguments.tenant],
        version=__version__,
    )
    started = time.time()
    speed: float = arguments.speed
    random = Random(arguments.seed)  # noqa: S311 - a seed must give the same events; nothing depends on secrecy
    callcenter = CallCenter(random, lambda at: started + at / speed, prefix=f"{started:.0f}")

    def publish(event: ModelEvent) -> Awaitable[object]:
        return broadcaster.publish(arguments.tenant, event.type, event.payload, user_id=event.user_id)

    _log.info(
        "simulating a call center, pid {pid}, seed {seed}, for {endpoint}",
        pid=os.getpid(),
        seed=arguments.seed,
        endpoint=arguments.endpoint,
    )
    simulation = Simulation(reactor, callcenter, publish, speed)
    for name in callcenter.command_names:
        broadcaster.on_command(name, simulation.carry_out)

    _follow_clients(reactor, broadcaster, simulation, arguments.tenant)
    # Calls and chats of a former run, which was killed, have ended.
    for scope in _SCOPES:
        broadcaster.sync_state(arguments.tenant, scope, []).addErrback(_ignore_refusal)
    broadcaster.startService()
    running: Deferred[None] = Deferred.fromCoroutine(simulation.run())
    call_at_end_of_input(reactor, running.cancel)
    try:
        await running
    except CancelledError:
        _log.info("the standard input is closed: the simulation ends")
    finally:
        await broadcaster.stopService()


def _follow_clients(reactor: Reactor, broadcaster: EventBroadcaster, simulation: Simulation, tenant: str) -> None:
    """Tell the model what visitors and agents do: their chats, and who is at a desk."""

    async def follow(message: ClientMessage) -> None:
        if message.tenant_id != tenant:
            return
        if message.type == "presence.changed":
            await simulation.set_present(str(message.payload["user_id"]), is_present=bool(message.payload["online"]))
        else:
            await simulation.chat_changed(message)

    async def look() -> None:
        try:
            presence = await broadcaster.user_online(tenant, DEMO_AGENT.user_id)
        except Refusal:
            return
        await simulation.set_present(DEMO_AGENT.user_id, is_present=presence.online)

    # Refused only where the connection is, which is logged already.
    kinds = ["chat.message", "chat.session.ended", "chat.transferred", "presence.changed"]
    broadcaster.subscribe(kinds, follow).addErrback(_ignore_refusal)
    looking = LoopingCall(lambda: Deferred.fromCoroutine(look()))
    looking.clock = reactor
    looking.start(_PRESENCE_SECONDS)


def _ignore_refusal(failure: Failure) -> None:
    failure.trap(Refusal)


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Return the arguments of the command line; exit with an error message if they are invalid."""
    parser = argparse.ArgumentParser(
        prog="python -m callcenter_ws.demo.simulator",
        description="Simulate a small call center and send its events to a gateway over AMP.",
    )
    parser.add_argument("endpoint", metavar="ENDPOINT", help="AMP listener, such as unix:path=/run/amp.sock")
    parser.add_argument("--tenant", default="demo", help="the tenant of the events (default: %(default)s)")
    parser.add_argument("--source", default="simulator", help="its name as a source (default: %(default)s)")
    parser.add_argument("--speed", type=_positive, default=1.0, metavar="X", help="simulated seconds per second")
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="seed of the random numbers; the same seed gives the same events (default: random)",
    )
    arguments = parser.parse_args(argv)
    if arguments.seed is None:
        arguments.seed = SystemRandom().randrange(_SEED_COUNT)
    return arguments


def main(argv: list[str]) -> None:
    """Run the simulator; does not return."""
    arguments = parse_arguments(argv)
    log_to_stderr()
    react(lambda reactor: Deferred.fromCoroutine(simulate(reactor, arguments)))


if __name__ == "__main__":
    main(sys.argv[1:])
