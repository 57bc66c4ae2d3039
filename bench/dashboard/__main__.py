"""``python -m bench.dashboard [FILE]``: runs nodes with load and faults, and draws the dashboard; about three minutes.

Three nodes share a Redis, one of them with workers; a fourth has its store in a file. A real Prometheus scrapes them,
and answers each query of each panel. A panel without data fails the run.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.certificate import make_certificate
from bench.dashboard.clients import SLOW_CLIENTS, SLOW_SECONDS
from bench.dashboard.daemon import USERS
from bench.dashboard.drawing import Results, draw
from bench.dashboard.node import Node, free_port
from bench.dashboard.panels import Panel, read_panels
from bench.dashboard.prometheus import Prometheus
from bench.failure import InvalidRun
from bench.gateway import DEADLINE, TENANT
from bench.redis import Redis
from callcenter_ws.auth.signing import sign_token

_FILE = Path(__file__).parents[2] / "docs" / "dashboard.png"
_INTERVAL = "10s"
"""``$__rate_interval`` at a scrape every other second."""

_SLOW_TENANT = "large"
"""The tenant of the clients that stop reading; its events are large, so that buffers are full soon."""

_QUIET_SECONDS = 15.0


class Run:
    """The processes of the run, and what is done to them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        secret = folder / "jwt.secret"
        secret.touch(0o600)
        self._secret = secrets.token_hex(32)
        secret.write_text(self._secret)
        self._certificate = make_certificate(folder)
        self._redis = Redis(folder / "redis")
        stack.callback(self._redis.close)
        shared = "\n".join(
            f"{key.partition('.')[2]} = {json.dumps(value)}" for key, value in self._redis.settings("dashboard").items()
        )
        own = f'url = "sqlite:{folder}/node-4.db"'
        self.nodes = [
            Node(folder / f"node-{number}", f"node-{number}", secret, self._certificate, store, workers)
            for number, store, workers in ((1, shared, 2), (2, shared, 0), (3, shared, 0), (4, own, 0))
        ]
        for node in self.nodes:
            stack.callback(node.stop)
            node.start()
        targets = {node.name: node.metrics_address for node in self.nodes}
        self.prometheus = Prometheus(folder / "prometheus", free_port(), targets)
        stack.callback(self.prometheus.close)
        self.clients = self._start_clients()
        self.marks: dict[str, float] = {}

    def _start_clients(self) -> subprocess.Popen[str]:
        now = int(time.time())
        claims = {"role": "agent", "iat": now, "exp": now + 3_600}
        tenants = [_SLOW_TENANT] * SLOW_CLIENTS + [TENANT] * USERS
        tokens = [
            sign_token(self._secret.encode(), {**claims, "tenant_id": tenant, "sub": f"agent-{number}"})
            for number, tenant in enumerate(tenants, -SLOW_CLIENTS)
        ]
        course = {
            "urls": [f"wss://localhost:{node.port}/ws" for node in self.nodes[:3]],
            "certificate": str(self._certificate.chain),
            "tokens": tokens,
        }
        file = self._folder / "clients.json"
        file.write_text(json.dumps(course))
        command = [sys.executable, "-m", "bench.dashboard.clients", str(file)]
        clients = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)  # noqa: S603 - our own module
        self._stack.callback(_end, clients)
        return clients

    def start_daemon(
        self, source: str, node: Node, rate: int, size: int = 100, tenant: str = TENANT
    ) -> subprocess.Popen[bytes]:
        """Start a daemon that is a source; started again, it sends what is in its spool."""
        spool = self._folder / f"{source}.spool"
        arguments = [node.amp, tenant, source, str(spool), str(rate), str(size)]
        command = [sys.executable, "-m", "bench.dashboard.daemon", *arguments]
        daemon = subprocess.Popen(command)  # noqa: S603 - our own module
        self._stack.callback(_end, daemon)
        return daemon

    def order(self, text: str) -> None:
        """Have the clients do something."""
        assert self.clients.stdin is not None  # noqa: S101 - narrows the type: it is a pipe
        self.clients.stdin.write(f"{text}\n")
        self.clients.stdin.flush()

    def mark(self, name: str) -> None:
        """Note that something is done now."""
        self.marks[name] = time.time()
        _say(f"{len(self.marks)} {name}")

    @contextmanager
    def redis_stopped(self) -> Iterator[None]:
        """Have Redis answer nothing for a while."""
        self._redis_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._redis_signal(signal.SIGCONT)

    def _redis_signal(self, number: signal.Signals) -> None:
        os.kill(self._redis.pid, number)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(DEADLINE)


def play(run: Run) -> None:
    """Do one thing after the other to the nodes."""
    daemons = [run.start_daemon("pbx-1", run.nodes[0], 30), run.start_daemon("pbx-2", run.nodes[1], 20)]
    run.start_daemon("pbx-4", run.nodes[3], 20)
    time.sleep(2 * _QUIET_SECONDS)
    run.mark("a network guesses tokens")
    run.order("attack")
    time.sleep(_QUIET_SECONDS + 5)
    run.mark("clients stop reading")
    run.order("slow")
    bulk = run.start_daemon("pbx-3", run.nodes[1], 50, 16_000, _SLOW_TENANT)
    time.sleep(SLOW_SECONDS)
    _end(bulk)
    time.sleep(10)
    run.mark("node-3 is restarted")
    run.nodes[2].stop()
    time.sleep(3)
    run.nodes[2].start()
    time.sleep(_QUIET_SECONDS)
    run.mark("source pbx-2 is killed")
    _end(daemons[1])
    time.sleep(_QUIET_SECONDS)
    run.mark("pbx-2 returns")
    run.start_daemon("pbx-2", run.nodes[1], 20)
    time.sleep(10)
    run.mark("Redis does not answer")
    with run.redis_stopped():
        time.sleep(8)
    run.mark("Redis answers")
    time.sleep(2 * _QUIET_SECONDS)


def results_of(panels: list[Panel], prometheus: Prometheus, start: float, end: float) -> Results:
    """Return the series of all panels."""
    results = {}
    for panel in panels:
        found = []
        for query in panel.queries:
            series = prometheus.range(query.filled_in("callcenter-ws", ".*", _INTERVAL), start, end)
            if not series:
                _say(f"no data: {panel.title}: {query.legend}")
            found += [(one.name(query.legend), one) for one in series]
        results[panel.title] = found
    return results


def check_complete(panels: list[Panel], results: Results) -> None:
    """Check that each panel has data.

    Raises:
        InvalidRun: one has none.
    """
    empty = [panel.title for panel in panels if panel.queries and not results[panel.title]]
    if empty:
        raise InvalidRun(f"panels without data: {', '.join(empty)}")


def main(file: Path) -> None:
    """Run, and write the picture."""
    panels = read_panels()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        run = Run(folder, stack)
        start = time.time() + 8
        play(run)
        span = (start, time.time())
        results = results_of(panels, run.prometheus, *span)
        _say(f"alerts at the end: {', '.join(run.prometheus.alerts()) or 'none'}")
        draw(panels, results, span, run.marks, file)
    check_complete(panels, results)
    _say(f"{file}: {file.stat().st_size / 1_024:.0f} KiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else _FILE)
