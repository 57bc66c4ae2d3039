"""Has the commands of the gateway carried out by the exchange: between ``callcenter_ws.remote`` and the runner."""

from __future__ import annotations

from collections.abc import Callable, Collection

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from callcenter_ws.bridge.asterisk.commands.checked_command import Data, check_command
from callcenter_ws.bridge.asterisk.commands.exchange_state import ExchangeState
from callcenter_ws.bridge.asterisk.commands.runner import Runner
from callcenter_ws.bridge.asterisk.machine import AsteriskMachine
from callcenter_ws.bridge.settings import SourceSettings
from callcenter_ws.remote import Command, CommandFailed
from callcenter_ws.runtime.clock import Clock

_log = Logger()


class CommandExecutor:
    """Carries out commands at one exchange.

    Args:
        can_do: called with the names of the commands that can be carried out, when they become known and change.
        pass_on: passes on the events that the state machine has made; the outcome of a command comes after those that
            prove it.
        flush: sends the actions that wait in the session.

    Attributes:
        runner: must be passed sessions, responses and events.
    """

    def __init__(
        self,
        machine: AsteriskMachine,
        settings: SourceSettings,
        clock: Clock,
        can_do: Callable[[Collection[str]], None],
        pass_on: Callable[[], None],
        flush: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._can_do = can_do
        self._pass_on = pass_on
        self._flush = flush
        self._exchange = ExchangeState(machine, settings.commands, settings.name, clock.monotonic)
        self.runner = Runner(self._exchange, clock.monotonic, self._changed, _report_bug)
        machine.observe = self.runner.observe

    def use(self, settings: SourceSettings) -> None:
        """Use other settings from now on."""
        self._exchange.use(settings.commands)
        self.runner.settings_changed()

    async def carry_out(self, command: Command) -> Data | None:
        """Carry out a command, and return its data.

        Raises:
            CommandFailed: it was not carried out, or that is not known.
        """
        seconds = command.seconds_left
        checked = check_command(
            command.name,
            command.tenant_id,
            command.user_id,
            command.role,
            command.payload,
            self._clock.monotonic() + seconds,
            command.extension,
        )
        finished: Deferred[Data | None] = Deferred()

        def finish(outcome: Data | CommandFailed | None) -> None:
            self._pass_on()
            if isinstance(outcome, CommandFailed):
                finished.errback(outcome)
            else:
                finished.callback(outcome)

        timer = self._clock.call_later(max(0.0, seconds), self.runner.expire, checked)
        try:
            self.runner.start(checked, finish)
            self._flush()
            return await finished
        finally:
            timer.cancel()

    def _changed(self) -> None:
        self._can_do(self.runner.capabilities or ())


def _report_bug() -> None:
    _log.failure("unhandled error while a command is carried out")
