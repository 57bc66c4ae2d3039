"""Runs the scripts of commands: sends their actions, and gives them responses and events until they have ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from callcenter_ws.bridge.asterisk.actions import InvalidValueError
from callcenter_ws.bridge.asterisk.commands.capabilities import AVAILABLE, LIST_COMMANDS, commands_of
from callcenter_ws.bridge.asterisk.commands.catalogue import SCRIPTS
from callcenter_ws.bridge.asterisk.commands.checked_command import CheckedCommand, Data, exchange_text
from callcenter_ws.bridge.asterisk.commands.exchange_state import ExchangeState
from callcenter_ws.bridge.asterisk.commands.lanes import Lane, excludes, lane_of
from callcenter_ws.bridge.asterisk.commands.steps import Script, Step
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.events.commands import OutcomeCode
from callcenter_ws.remote import CommandFailed

MAX_RUNNING = 256
"""Commands that are carried out at one time; the gateway sends 64 at most."""

Send = Callable[..., str]
"""Sends an action, given its name and its headers as pairs; returns its ActionID."""

Finish = Callable[[Data | CommandFailed | None], None]
"""Called once with how a command has ended: its data, or why it failed."""


class _Run:
    """One command that is being carried out."""

    def __init__(self, command: CheckedCommand, lane: Lane | None, finish: Finish) -> None:
        self.command = command
        self.lane = lane
        self.finish = finish
        self.script: Script | None = None
        self.step: Step | None = None
        self.responses: dict[str, AmiMessage] = {}
        self.is_proven = False
        # Whether something was sent that changes the exchange.
        self.has_acted = False


class Runner:
    """Carries commands out at one exchange. Knows neither sockets nor time.

    Args:
        now: returns seconds of a monotonic clock.
        changed: called when ``capabilities`` have changed.
        report_bug: called within the handler of an exception that no script should raise.

    Attributes:
        capabilities: the names of the commands that this exchange can carry out, with its user's rights and these
            settings; None: not known yet.
    """

    def __init__(
        self,
        exchange: ExchangeState,
        now: Callable[[], float],
        changed: Callable[[], None],
        report_bug: Callable[[], None],
    ) -> None:
        self.capabilities: frozenset[str] | None = None
        self._exchange = exchange
        self._now = now
        self._changed = changed
        self._report_bug = report_bug
        self._send: Send | None = None
        self._question = ""
        self._version = ""
        self._runs: list[_Run] = []
        self._waking: set[Lane] = set()

    # The session

    def connected(self, send: Send, version: str) -> None:
        """Use a session, whose exchange is known; ask it which actions its user may use."""
        self._send = send
        self._version = version
        self._exchange.begin()
        self._question = send(LIST_COMMANDS)

    def disconnected(self) -> None:
        """Note that there is no session. What was begun may have happened or not."""
        self._send = None
        for run in list(self._runs):
            if run.has_acted:
                text = "the connection to the exchange was lost; it is not known whether this was done"
                self._fail(run, OutcomeCode.OUTCOME_UNKNOWN, text)
            else:
                self._fail(run, OutcomeCode.SOURCE_DOWN, "the connection to the exchange was lost; nothing was done")

    def respond(self, message: AmiMessage) -> None:
        """Take a response that the session itself does not wait for."""
        action_id = message.get("ActionID")
        if action_id and action_id == self._question:
            self._question = ""
            self._exchange.actions = frozenset(message.headers) & AVAILABLE
            self.settings_changed()
            return
        for run in list(self._runs):
            if run.step is not None and action_id in run.step.ids:
                run.responses[action_id] = message
                self._check_responses(run)

    def observe(self, message: AmiMessage) -> None:
        """Take an event that the state machine has handled."""
        self._exchange.observe(message)
        for run in list(self._runs):
            self._check_proof(run, message)

    def settings_changed(self) -> None:
        """Compute the capabilities again."""
        if self._exchange.actions is not None:
            found = commands_of(self._exchange.actions, self._exchange.settings, self._version)
            if found != self.capabilities:
                self.capabilities = found
                self._changed()

    # Commands

    @property
    def running(self) -> int:
        """The number of commands that have not ended."""
        return len(self._runs)

    def start(self, command: CheckedCommand, finish: Finish) -> None:
        """Begin a command; ``finish`` may be called at once."""
        refusal = self._refusal_of(command)
        if refusal is not None:
            finish(refusal)
            return
        run = _Run(command, lane_of(command), finish)
        self._runs.append(run)
        if run.lane is None:
            self._start(run)
        else:
            self._wake(run.lane)

    def _wake(self, lane: Lane) -> None:
        """Begin the next command of a lane, unless one is being carried out."""
        if lane in self._waking:
            return
        self._waking.add(lane)
        try:
            while (run := self._first(lane)) is not None and run.script is None:
                self._start(run)
        finally:
            self._waking.discard(lane)

    def _first(self, lane: Lane) -> _Run | None:
        return next((run for run in self._runs if run.lane == lane), None)

    def _start(self, run: _Run) -> None:
        run.script = SCRIPTS[run.command.name](self._exchange, run.command)
        if self._send is None:
            self._fail(run, OutcomeCode.SOURCE_DOWN, "the exchange is not connected")
        elif run.command.deadline <= self._now():
            self._expire(run)
        else:
            self._go_on(run, run.script, None)

    def expire(self, command: CheckedCommand) -> None:
        """End a command, if it has not ended: its deadline has passed."""
        for run in list(self._runs):
            if run.command is command:
                self._expire(run)

    def _refusal_of(self, command: CheckedCommand) -> CommandFailed | None:
        if self._send is None or self._exchange.actions is None:
            return CommandFailed(OutcomeCode.SOURCE_DOWN, "the exchange is not connected")
        if command.name not in (self.capabilities or ()):
            return CommandFailed(
                OutcomeCode.UNSUPPORTED, "this exchange cannot do that, or its settings do not allow it"
            )
        if len(self._runs) >= MAX_RUNNING:
            return CommandFailed(OutcomeCode.BUSY, "too many commands are being carried out; try again")
        if command.deadline <= self._now():
            return CommandFailed(OutcomeCode.TIMEOUT, "it came too late, and nothing was done")
        if any(excludes(run.command, command) for run in self._runs):
            return CommandFailed(OutcomeCode.BUSY, "another command for this call is being carried out")
        return None

    def _expire(self, run: _Run) -> None:
        if run.has_acted:
            text = "the exchange has not shown in time that this was done; look at the call or the agent"
            self._fail(run, OutcomeCode.OUTCOME_UNKNOWN, text)
        else:
            self._fail(run, OutcomeCode.TIMEOUT, "the exchange did not answer in time; nothing was done")

    # Scripts

    def _go_on(self, run: _Run, script: Script, responses: list[AmiMessage] | None) -> None:
        """Let a script go on until it waits, or has ended."""
        answers = responses
        while run in self._runs:
            run.step, run.responses, run.is_proven = None, {}, False
            try:
                step = next(script) if answers is None else script.send(answers)
                is_proven = step.proof is not None and step.proof(None)
            except StopIteration as end:
                self._end(run, end.value)
                return
            except (CommandFailed, InvalidValueError) as failure:
                self._end(run, _failure_of(failure))
                return
            except Exception:
                self._fail_internally(run)
                return
            if is_proven:
                answers = []
                continue
            if self._now() >= run.command.deadline:
                self._expire(run)
                return
            self._begin(run, step)
            return

    def _begin(self, run: _Run, step: Step) -> None:
        if self._send is None:
            self._fail(run, OutcomeCode.SOURCE_DOWN, "the exchange is not connected")
            return
        try:
            for action in step.actions:
                step.ids.append(self._send(action.name, *action.headers))
                run.has_acted = run.has_acted or not step.is_question
        except InvalidValueError as error:
            self._end(run, _failure_of(error))
            return
        run.step = step

    def _check_proof(self, run: _Run, message: AmiMessage) -> None:
        step, script = run.step, run.script
        if step is None or step.proof is None or script is None:
            return
        try:
            is_proven = step.proof(message)
        except CommandFailed as failure:
            self._end(run, failure)
            return
        except Exception:
            self._fail_internally(run)
            return
        run.is_proven = run.is_proven or is_proven
        if run.is_proven and (not step.needs_responses or len(run.responses) == len(step.ids)):
            self._go_on(run, script, [run.responses[action_id] for action_id in step.ids if action_id in run.responses])

    def _check_responses(self, run: _Run) -> None:
        """Decide by the responses, once all are there: an error ends the command, unless it is an answer, too."""
        step, script = run.step, run.script
        if step is None or script is None or len(run.responses) < len(step.ids):
            return
        responses = [run.responses[action_id] for action_id in step.ids]
        errors = [response for response in responses if response.response == "Error"]
        if step.is_question or (not errors and (step.proof is None or run.is_proven)):
            self._go_on(run, script, responses)
        elif errors:
            self._end(run, _refused_by_exchange(errors[0], len(errors), len(responses)))

    def _fail(self, run: _Run, code: OutcomeCode, text: str) -> None:
        self._end(run, CommandFailed(code, text))

    def _fail_internally(self, run: _Run) -> None:
        self._report_bug()
        self._fail(run, OutcomeCode.FAILED, "an internal error of the bridge; look at the call or the agent")

    def _end(self, run: _Run, outcome: Data | CommandFailed | None) -> None:
        if run in self._runs:
            self._runs.remove(run)
            if run.script is not None:
                run.script.close()
            run.finish(outcome)
            if run.lane is not None:
                self._wake(run.lane)


_CODES: Mapping[str, OutcomeCode] = {
    "Permission denied": OutcomeCode.UNSUPPORTED,
    "No such channel": OutcomeCode.NOT_FOUND,
    "Channel specified does not exist": OutcomeCode.NOT_FOUND,
    "Channel does not exist": OutcomeCode.NOT_FOUND,
    "Interface not found": OutcomeCode.NOT_FOUND,
    "Unable to add interface to queue: No such queue": OutcomeCode.NOT_FOUND,
    "Unable to remove interface from queue: No such queue": OutcomeCode.NOT_FOUND,
}
"""What texts of Asterisk mean; any other is a rejection."""


def _refused_by_exchange(error: AmiMessage, count: int, all_: int) -> CommandFailed:
    text = error.get("Message")
    code = _CODES.get(text, OutcomeCode.REJECTED)
    if count < all_:
        # A part of it was done.
        return CommandFailed(OutcomeCode.FAILED, f"{count} of {all_} parts were refused: {exchange_text(text)}")
    return CommandFailed(code, f"the exchange refuses it: {exchange_text(text)}")


def _failure_of(error: CommandFailed | InvalidValueError) -> CommandFailed:
    if isinstance(error, CommandFailed):
        return error
    return CommandFailed(OutcomeCode.REJECTED, "a value cannot be sent to the exchange")
