"""A source of the fault tests of commands as a process that is killed and started again."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from command_evidence import Execution, Key, Request
from processes import Process
from switched_link import SwitchedLink

DAEMON = Path(__file__).with_name("command_source.py")


class SourceProcess:
    """A source that is killed and started again with its spool."""

    def __init__(self, name: str, link: SwitchedLink, folder: Path, tenants: Sequence[str], seed: int) -> None:
        self.name = name
        self.link = link
        self.agents = [f"{name}-a", f"{name}-b"]
        self.starts = 0
        self.errors: list[str] = []
        self._spool = folder / f"{name}.spool"
        self._executions = folder / f"{name}.executions"
        self._seed = seed
        self._tenants = tenants
        self._process: Process | None = None

    def start(self, *options: str) -> None:
        command = [sys.executable, str(DAEMON), f"unix:{self.link.path}", "--spool", str(self._spool)]
        command += ["--executions", str(self._executions), "--name", self.name, "--tenants", ",".join(self._tenants)]
        command += ["--agents", ",".join(self.agents), "--process", str(self.starts), "--seed", str(self._seed)]
        self._process = Process([*command, *options])
        self.starts += 1

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End the process with a signal if it runs."""
        if self._process is None:
            return
        self._process.process.send_signal(signal.SIGCONT)
        self._process.stop(number)
        self.errors += [line for line in self._process.lines if not line.startswith('{"state"')]
        self._process = None

    def send_rest(self) -> None:
        """Run a process that sends what is in the spool, and nothing else."""
        self.start("--drain")
        assert self._process is not None
        status = self._process.wait()
        assert status == 0, self._process.output[-2_000:]
        self.kill()
        with contextlib.closing(sqlite3.connect(self._spool, timeout=30)) as db:
            assert db.execute("SELECT count(*) FROM event").fetchone() == (0,)

    def send_signal(self, number: int) -> None:
        assert self._process is not None
        self._process.process.send_signal(number)

    def executions(self) -> list[Execution]:
        """Return what its processes have carried out."""
        lines = self._executions.read_text().splitlines() if self._executions.exists() else []
        return [
            Execution(
                Key(line["tenant"], line["command_id"]),
                Request(line["name"], line["fields"]),
                line["source"],
                line["at"],
                line["deadline"],
            )
            for line in map(json.loads, lines)
        ]
