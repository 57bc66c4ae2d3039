"""Runs a gateway, ``twistd -n callcenter-ws``, in its own process and folder, with default settings."""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.failure import InvalidRun, Unavailable
from bench.process_stop import stop_process
from callcenter_ws.auth.signing import sign_token

TENANT = "acme"
DEADLINE = 120.0
"""Seconds that any single step of a benchmark may take."""

_PAUSE_SECONDS = 0.01
_TWISTD = Path(sys.executable).with_name("twistd")
_SITE = re.compile(r"GatewaySite (?:\(TLS\) )?starting on (\d+)")
_AMP = re.compile(r"AmpServerFactory starting on (\d+)")
_SHARED = re.compile(r"the workers will listen on tcp:0:\S+, \(.*, (\d+)\)$", re.MULTILINE)
_GATEWAY_SERVES = re.compile(r"callcenter-ws serves$", re.MULTILINE)
_WORKER_SERVES = re.compile(r"worker \d+ \(pid \d+\) serves$", re.MULTILINE)


class Gateway:
    """A gateway that runs until it is stopped.

    Args:
        folder: a new folder for its settings, secret, log and store.
        settings: the settings that differ from the defaults, by ``section.key``.
        workers: the value of ``--workers``; 0 for a single process without a supervisor.
        launcher: the command that runs twistd with the arguments that follow.

    Raises:
        Unavailable: if the gateway refuses the settings.
        InvalidRun: if it does not start for another reason.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        workers: int = 0,
        launcher: Sequence[str] = (str(_TWISTD),),
    ) -> None:
        folder.mkdir()
        self._secret = secrets.token_hex(32).encode()
        self._log = folder / "log"
        self.amp_path = folder / "amp.sock"
        config = folder / "callcenter-ws.toml"
        config.write_text(_toml({**self._settings(folder), **settings}))
        command = [*launcher, "-n", "--pidfile=", "callcenter-ws", "--config", str(config)]
        command += ["--workers", str(workers)] if workers else []
        with self._log.open("w") as log:
            self._process = subprocess.Popen(  # noqa: S603 - twistd of this environment
                command, cwd=folder, stdout=log, stderr=subprocess.STDOUT
            )
        self.pid = self._process.pid
        self._workers = workers
        try:
            self.port = self._await_port()
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def _settings(self, folder: Path) -> dict[str, Any]:
        secret = folder / "jwt.secret"
        secret.touch(0o600)
        secret.write_bytes(self._secret)
        return {
            "web.listen": ["tcp:0:interface=127.0.0.1"],
            "amp.listen": [f"unix:{self.amp_path}:mode=600"],
            "jwt.secret_file": str(secret),
        }

    def _await_port(self) -> int:
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            ended = self._process.poll() is not None
            log = self._log.read_text()
            found = _SHARED.search(log) if self._workers else _SITE.search(log)
            if found and self.amp_path.exists() and self._serves(log):
                return int(found[1])
            if ended and "Traceback" not in log:
                raise Unavailable(_reason(log))
            if ended:
                raise InvalidRun(f"the gateway does not start:\n{log}")
            time.sleep(_PAUSE_SECONDS)
        raise InvalidRun(f"the gateway did not start within {DEADLINE:g} s:\n{self._log.read_text()}")

    def _serves(self, log: str) -> bool:
        if self._workers:
            return len(_WORKER_SERVES.findall(log)) >= self._workers
        return _GATEWAY_SERVES.search(log) is not None

    def amp_port(self) -> int:
        """Return the port of the AMP listener over TCP, one of ``amp.listen``."""
        found = _AMP.search(self._log.read_text())
        if found is None:
            raise InvalidRun("no AMP listener over TCP in the log")
        return int(found[1])

    @property
    def pids(self) -> list[int]:
        """The process ids of the gateway, workers included."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text() if self._workers else ""
        return [self.pid, *map(int, children.split())]

    def token(self, user_id: str, role: str = "agent", tenant: str = TENANT, **claims: Any) -> str:
        """Return a token that is valid for an hour; ``claims`` are added to the required ones."""
        now = int(time.time())
        required = {"sub": user_id, "tenant_id": tenant, "role": role, "iat": now, "exp": now + 3_600}
        return sign_token(self._secret, {**required, **claims})

    def await_connections(self, count: int) -> None:
        """Wait until the gateway counts ``count`` connections, so that closing the others does not cost CPU later.

        Raises:
            InvalidRun: if this takes longer than ``DEADLINE``.
        """
        end = time.monotonic() + DEADLINE
        while self._connections() != count:
            if time.monotonic() > end:
                raise InvalidRun(f"the gateway counts {self._connections()} connections, {count} are open")
            time.sleep(_PAUSE_SECONDS)

    def _connections(self) -> int:
        site = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            token = self.token("bench", "supervisor")
            site.request("GET", "/ws/stats", headers={"Authorization": f"Bearer {token}"})
            total: int = json.load(site.getresponse())["connections"]["total"]
            return total
        finally:
            site.close()

    def stop(self) -> None:
        """End the process with SIGTERM.

        Raises:
            InvalidRun: if it had ended before, or has logged a traceback.
        """
        stop_process(self._process, self._log, "gateway")


def _toml(settings: Mapping[str, Any]) -> str:
    # TOML has dotted keys, and for these types the same literals as JSON.
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())


def _reason(log: str) -> str:
    """Return the reason of a failed start: the last log line that does not begin with a path, as Twisted's own do."""
    lines = [line.strip() for line in log.splitlines() if line.strip() and not line.startswith(os.sep)]
    return lines[-1].rpartition(".toml: ")[2] if lines else "the log is empty"
