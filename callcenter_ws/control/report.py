"""The outcome of a reload as text: for the log, and for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from twisted.logger import Logger

from callcenter_ws.config.changes import EFFECTS, Effect, ReloadReport
from callcenter_ws.control.messages import Outcome, Refused

_log = Logger()


def report_lines(report: ReloadReport) -> Iterator[str]:
    """Yield what a reload has changed, what waits, and the warnings, a line each."""
    at_once = [key for key in report.applied if EFFECTS.get(key) is not Effect.CONNECTIONS]
    later = [key for key in report.applied if EFFECTS.get(key) is Effect.CONNECTIONS]
    if at_once:
        yield f"in use now: {', '.join(at_once)}"
    if later:
        yield f"in use {Effect.CONNECTIONS.value}: {', '.join(later)}"
    if report.files:
        yield f"files with new contents: {', '.join(report.files)}"
    for key, effect in report.waiting:
        yield f"not in use yet: {key}: {effect}"
    if not (report.applied or report.files or report.waiting):
        yield "no setting has changed"


def log_outcome(outcome: Outcome) -> str:
    """Log the outcome of a reload, and return it as a line."""
    if isinstance(outcome, Refused):
        _log.error("the new settings are refused, and the old ones stay in use:")
        return log_problems(outcome.problems)
    text = "; ".join(report_lines(outcome.report))
    _log.info("the settings were loaded again: {text}", text=text)
    for warning in outcome.report.warnings:
        _log.warn("settings: {warning}", warning=warning)
    return f"loaded: {text}"


def log_problems(problems: Sequence[str]) -> str:
    """Log why new settings cannot be used, and return how many reasons there are, as a line."""
    for problem in problems:
        _log.error("the settings have a problem: {problem}", problem=problem)
    return f"refused: {len(problems)} problem{'s' if len(problems) != 1 else ''}"
