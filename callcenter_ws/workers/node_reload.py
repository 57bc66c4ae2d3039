"""A reload of all workers of a node: they prepare the new settings, and use them only if all of them can."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from callcenter_ws.config.changes import EFFECTS, Effect, ReloadReport, changed_keys
from callcenter_ws.control.messages import Outcome, Refused, Reloaded, bounded
from callcenter_ws.runtime.setting_problems import ConfigError
from callcenter_ws.workers.channel import Act, WorkerAnswer
from callcenter_ws.workers.node_settings import NodeSettings, NodeVersion
from callcenter_ws.workers.process import Missing, WorkerProcess

_log = Logger()

PREPARE_TIMEOUT_SECONDS = 30.0
"""Seconds within which a worker must have read the new settings; otherwise all keep the old ones."""

COMMIT_TIMEOUT_SECONDS = 30.0
"""Seconds for which the confirmations of the workers are waited for. One that gives none hangs (``heartbeat.py``)."""

T = TypeVar("T")

_NO_WORKER = "no worker runs that could check the settings: those that are started use them"


class NodeReload:
    """Brings the workers to new settings, all or none.

    The caller sees to it that no other reload runs, and that no worker is replaced meanwhile. Workers may end and be
    restarted at any time: they are started with ``NodeSettings.current``, and ``catch_up`` brings one that was started
    with an older version to that.

    Args:
        processes: returns all processes that run.
        restart: ends a process gently, so that its slot starts another.
    """

    def __init__(
        self,
        settings: NodeSettings,
        processes: Callable[[], Iterable[WorkerProcess]],
        restart: Callable[[WorkerProcess], None],
    ) -> None:
        self._settings = settings
        self._processes = processes
        self._restart = restart

    async def run(self) -> Outcome:
        """Have all workers load the settings again."""
        try:
            new = self._settings.read_again(replaces_workers=False)
            self._settings.write(new)
        except ConfigError as error:
            return await self.refuse(error.problems)
        except OSError as error:
            return await self.refuse([f"cannot write the workers' copy of the settings: {error}"])
        asked = self._answering()
        answers = dict(zip(asked, await self._ask(asked, Act.PREPARE, self._settings.path(new)), strict=True))
        problems = _problems(answers)
        if problems:
            return await self.refuse(problems)
        old = self._settings.current
        self._settings.use(new)
        await self._commit([process for process in asked if isinstance(answers[process], WorkerAnswer)], new)
        await self.catch_up()
        reports = [answer.report for answer in answers.values() if isinstance(answer, WorkerAnswer) and answer.report]
        return Reloaded(_merged(reports) if reports else _report(old, new))

    async def refuse(self, problems: Sequence[object]) -> Refused:
        """Have the workers discard what they have prepared, and record the refusal."""
        await self._ask(self._answering(), Act.ABORT)
        self._forget_unused()
        return Refused(bounded(problems))

    async def catch_up(self) -> None:
        """Bring the workers that use another version of the settings to the current one."""
        for process in self._answering():
            current = self._settings.current
            if process.settings_version == current.number:
                continue
            (answer,) = await self._ask([process], Act.PREPARE, self._settings.path(current))
            problems = _problems({process: answer})
            if not problems and isinstance(answer, WorkerAnswer):
                await self._commit([process], current)
                _log.info("{process} has taken over the settings of the other workers", process=str(process))
            elif process.is_connected:
                _log.error("{process} cannot use the settings in use, and is restarted:", process=str(process))
                for problem in bounded(problems):
                    _log.error("the settings have a problem: {problem}", problem=problem)
                self._restart(process)
        self._forget_unused()

    async def _commit(self, processes: Sequence[WorkerProcess], version: NodeVersion) -> None:
        for process in processes:
            process.settings_version = version.number
        answers = await self._ask(processes, Act.COMMIT)
        for process, answer in zip(processes, answers, strict=True):
            if isinstance(answer, Missing):
                _log.warn(
                    "{process} {what}: it has not confirmed the new settings", process=str(process), what=answer.value
                )

    async def _ask(
        self, processes: Sequence[WorkerProcess], act: Act, settings: str = ""
    ) -> list[WorkerAnswer | Missing]:
        timeout = PREPARE_TIMEOUT_SECONDS if act is Act.PREPARE else COMMIT_TIMEOUT_SECONDS
        return await gatherResults(
            [Deferred.fromCoroutine(process.ask(act, timeout, settings)) for process in processes]
        )

    def _answering(self) -> list[WorkerProcess]:
        return [process for process in self._processes() if process.is_connected and not process.is_stopping]

    def _forget_unused(self) -> None:
        """Remove the copies that no process reads any more; one that starts may not have read its copy yet."""
        self._settings.remove_except(process.settings_version for process in self._processes())


def _problems(answers: dict[WorkerProcess, WorkerAnswer | Missing]) -> list[str]:
    """Return why the settings cannot be used. A worker that has ended is no reason: its siblings have checked them."""
    found: list[str] = []
    for process, answer in answers.items():
        if isinstance(answer, WorkerAnswer):
            found += answer.problems
        elif answer is Missing.LATE:
            found.append(f"{process} has not read the settings within {PREPARE_TIMEOUT_SECONDS:g} s")
    if not found and answers and all(answer is Missing.ENDED for answer in answers.values()):
        found.append("every worker has ended before it had read the settings; see the log, and try again")
    return found


def _merged(reports: Sequence[ReloadReport]) -> ReloadReport:
    """Return what any of the workers reports, each once."""
    return ReloadReport(
        applied=_once(report.applied for report in reports),
        files=_once(report.files for report in reports),
        waiting=_once(report.waiting for report in reports),
        warnings=_once(report.warnings for report in reports),
    )


def _once(parts: Iterable[Sequence[T]]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(item for part in parts for item in part))


def _report(old: NodeVersion, new: NodeVersion) -> ReloadReport:
    """Return the report when no worker could make one."""
    changed = changed_keys(old.settings, new.settings)
    waiting = [key for key in changed if EFFECTS[key] in (Effect.PROCESS, Effect.RESTART)]
    return ReloadReport(
        applied=tuple(key for key in changed if key not in waiting),
        waiting=tuple((key, EFFECTS[key].value) for key in waiting),
        warnings=(_NO_WORKER, *new.settings.warnings),
    )
