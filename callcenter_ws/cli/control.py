"""``callcenter-ws reload`` and ``status``: what a running gateway is asked over its control socket."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from callcenter_ws.cli.arguments import Commands, add_command, add_settings, positive
from callcenter_ws.cli.target import CommandFailed
from callcenter_ws.config.load import ENVIRONMENT_PREFIX, load
from callcenter_ws.control.control_client import NoAnswer, NoGateway, ask
from callcenter_ws.control.messages import (
    Answer,
    Failed,
    NodeStatus,
    Refused,
    Reloaded,
    ReloadRequest,
    Request,
    StatusRequest,
    WorkerStatus,
)
from callcenter_ws.control.report import report_lines
from callcenter_ws.demo.state import DemoState
from callcenter_ws.runtime.setting_problems import ConfigError

KEY = "control.socket"


def add(commands: Commands) -> None:
    """Add the commands."""
    text = "make a running gateway load its settings and their files again, without closing a connection"
    example = "callcenter-ws reload --config /etc/callcenter-ws/callcenter-ws.toml"
    reloading = add_command(commands, "reload", reload, text, example)
    text = "print whether a gateway runs and serves, its workers, and its last reload"
    example = "callcenter-ws status --config /etc/callcenter-ws/callcenter-ws.toml"
    showing = add_command(commands, "status", print_status, text, example)
    for command, timeout in ((reloading, 60), (showing, 10)):
        add_settings(command)
        command.add_argument("--socket", metavar="PATH", type=Path, help="control socket (default: that of the file)")
        command.add_argument(
            "--timeout", metavar="SECONDS", type=positive, default=timeout, help=f"(default: {timeout})"
        )


def reload(arguments: argparse.Namespace) -> int:
    """Load the settings again, and print what has changed; fail with all problems if they cannot be used."""
    answer = _ask(arguments, ReloadRequest(), "; it may still load the settings: see its log, or callcenter-ws status")
    if isinstance(answer, Refused):
        number = f"{len(answer.problems)} problem{'s' if len(answer.problems) != 1 else ''}"
        lines = [f"refused, and the old settings stay in use; {number}:", *(f"  - {one}" for one in answer.problems)]
        raise CommandFailed("\n".join(lines))
    if not isinstance(answer, Reloaded):
        raise CommandFailed("the gateway gave the answer to another request")
    for line in report_lines(answer.report):
        print(line)
    for warning in answer.report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return 0


def print_status(arguments: argparse.Namespace) -> int:
    """Print the processes of a gateway; fail if none of them serves."""
    answer = _ask(arguments, StatusRequest(), "")
    if not isinstance(answer, NodeStatus):
        raise CommandFailed("the gateway gave the answer to another request")
    print("\n".join(_status_lines(answer)))
    return 0 if _serves(answer) else 1


def _serves(status: NodeStatus) -> bool:
    own = any(worker.serves for worker in status.workers) if status.workers else not status.reasons
    return own and not status.draining


def _status_lines(status: NodeStatus) -> Iterator[str]:
    state = "stops" if status.draining else "serves" if _serves(status) else "does not serve"
    reasons = f": {'; '.join(status.reasons)}" if status.reasons else ""
    yield f"callcenter-ws {status.version} (pid {status.pid}) {state}{reasons}"
    yield from map(_worker_line, status.workers)
    if status.last_reload is not None:
        at = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(status.last_reload.time))
        yield f"last reload: {at}: {status.last_reload.outcome}"


def _worker_line(worker: WorkerStatus) -> str:
    process = "no process" if worker.pid is None else f"pid {worker.pid}, for {worker.age:.0f} s"
    return f"  worker {worker.number} ({process}): {'serves' if worker.serves else worker.reason}"


def _ask(arguments: argparse.Namespace, request: Request, without_answer: str) -> Answer:
    path = _socket(arguments)
    try:
        answer = ask(path, request, arguments.timeout)
    except NoGateway as error:
        hint = "" if arguments.socket else f"\nIf {KEY} was changed since the gateway started, give --socket PATH."
        raise CommandFailed(f"{error}{hint}{_problems(arguments)}") from None
    except NoAnswer as error:
        raise CommandFailed(f"{error}{without_answer}") from None
    if isinstance(answer, Failed):
        raise CommandFailed(answer.reason)
    return answer


def _problems(arguments: argparse.Namespace) -> str:
    """Return the problems of the settings, which may be the reason that no gateway runs; empty without any."""
    if arguments.config is None and not arguments.set:
        return ""
    try:
        load(arguments.config, overrides=arguments.set, environ=os.environ)
    except ConfigError as error:
        return f"\nNor could a gateway start now: {error}"
    return ""


# Where the socket is


def _socket(arguments: argparse.Namespace) -> Path:
    """Return the path of the socket, even if other settings cannot be used: the gateway reports their problems."""
    if arguments.socket is not None:
        path: Path = arguments.socket
        return path.absolute()
    if arguments.config is None and not arguments.set:
        return DemoState.find().control_socket
    folder = Path.cwd() if arguments.config is None else arguments.config.absolute().parent
    try:
        # Of all settings only this one, from the last source that has it.
        settings = load(None, overrides=list(_assignments(arguments))[-1:])
    except ConfigError as error:
        raise CommandFailed(f"{error}\nGive the control socket of the gateway with --socket PATH") from None
    if not settings.control.socket:
        raise CommandFailed(f"{KEY} is empty, so that the gateway has no control socket")
    return folder / settings.control.socket


def _assignments(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield the assignments of the setting, the strongest last."""
    if arguments.config is not None:
        value = _value_in(arguments.config)
        if value is not None:
            yield f"{KEY}={json.dumps(value, ensure_ascii=False)}"
    variable = f"{ENVIRONMENT_PREFIX}{KEY.upper().replace('.', '__')}"
    if variable in os.environ:
        yield f"{KEY}={os.environ[variable]}"
    yield from (text for text in arguments.set if text.partition("=")[0].strip() == KEY)


def _value_in(file: Path) -> str | None:
    """Return the setting in a TOML file, which may have errors elsewhere; None if it is not found."""
    try:
        text = file.read_bytes().decode(errors="replace")
    except OSError as error:
        raise CommandFailed(
            f"{file}: cannot read the file: {error.strerror}\nGive the control socket of the gateway with --socket PATH"
        ) from None
    with suppress(ValueError, RecursionError):
        return _text_in(tomllib.loads(text))
    section = re.search(r"^[ \t]*\[control\][^\n]*\n(.*?)(?=^[ \t]*\[|\Z)", text, re.MULTILINE | re.DOTALL)
    line = section and re.search(r"^[ \t]*socket[ \t]*=.*$", section[1], re.MULTILINE)
    if line:
        with suppress(ValueError, RecursionError):
            return _text_in({"control": tomllib.loads(line[0])})
    return None


def _text_in(settings: dict[str, object]) -> str | None:
    section = settings.get("control")
    value = section.get("socket") if isinstance(section, dict) else None
    return value if isinstance(value, str) else None
