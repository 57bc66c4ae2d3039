"""The nodes of the run: real gateways on fixed ports, which can be stopped and started again."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from bench.certificate import Certificate
from bench.failure import InvalidRun
from bench.gateway import DEADLINE

_TWISTD = Path(sys.executable).with_name("twistd")


class Node:
    """A gateway with TLS, AMP on a unix socket, and a port for metrics.

    Args:
        store: the lines of ``[store]``.
        workers: the number of worker processes; 0 for a single process.
    """

    def __init__(
        self, folder: Path, name: str, secret: Path, certificate: Certificate, store: str, workers: int
    ) -> None:
        folder.mkdir()
        self.name = name
        self._log = folder / "log"
        self._workers = workers
        self.port, self._metrics_port = free_port(), free_port()
        self.amp = f"unix:{folder}/amp.sock"
        self._config = folder / "callcenter-ws.toml"
        self._config.write_text(
            f'[web]\nlisten = ["ssl:{self.port}:interface=127.0.0.1:privateKey={certificate.key}'
            f':certKey={certificate.chain}"]\nmetrics_listen = "tcp:{self._metrics_port}:interface=127.0.0.1"\n'
            f'[amp]\nlisten = ["{self.amp}:mode=600"]\nsource_lease = 5\n'
            f"[jwt]\nsecret_file = {json.dumps(str(secret))}\n"
            f'[cluster]\nnode_id = "{name}"\nlease = 6\n[store]\n{store}\n'
            "[limits]\noutbox = 64\nslow_timeout = 6\ndrain_timeout = 5\nconnections_per_ip = 0\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def metrics_address(self) -> str:
        """The address that Prometheus scrapes."""
        return f"127.0.0.1:{self._metrics_port}"

    def start(self) -> None:
        """Start the gateway, and wait until it can be scraped."""
        command = [str(_TWISTD), "-n", "--pidfile=", "callcenter-ws", "--config", str(self._config)]
        command += ["--workers", str(self._workers)] if self._workers else []
        with self._log.open("a") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)  # noqa: S603 - our twistd
        end = time.monotonic() + DEADLINE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise InvalidRun(f"{self.name} does not start:\n{self._log.read_text()}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.metrics_address}/metrics", timeout=DEADLINE) as answer:
                return b"callcenter_ws_ready" in answer.read()
        except OSError:
            return False

    def stop(self) -> None:
        """Stop the gateway gracefully, and wait for its end."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(DEADLINE)


def free_port() -> int:
    """Return a port that no process listens on now."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
