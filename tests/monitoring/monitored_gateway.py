"""Real gateways whose metrics are scraped."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processes import DEADLINE, TWISTD, Process, free_port, wait_until
from redis_server import RedisServer


class Gateway(Process):
    """``twistd callcenter-ws`` with a port for metrics."""

    def __init__(self, folder: Path, settings: str, *arguments: str, listen: str = "tcp:0:interface=127.0.0.1") -> None:
        self.metrics_port = free_port()
        (folder / "secret").write_text("x" * 64)
        (folder / "secret").chmod(0o600)
        self.config = folder / "callcenter-ws.toml"
        self.config.write_text(
            f"[web]\nlisten = [{json.dumps(listen)}]\n"
            f'metrics_listen = "tcp:{self.metrics_port}:interface=127.0.0.1"\n'
            f'[amp]\nlisten = ["unix:{folder}/amp.sock:mode=600"]\n[jwt]\nsecret_file = "secret"\n{settings}'
        )
        config = ["--config", str(self.config)]
        super().__init__([str(TWISTD), "-n", "--pidfile=", "callcenter-ws", *config, *arguments])

    def exposition(self, pattern: str) -> str:
        """Return the exposition once it contains ``pattern``."""
        return str(wait_until(lambda: self._matching(pattern), f"{pattern} in the metrics"))

    def _matching(self, pattern: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=DEADLINE) as answer:
                text: str = answer.read().decode()
        except OSError:
            assert self.process.poll() is None, self.output
            return ""
        return text if re.search(pattern, text, re.MULTILINE) else ""


@contextmanager
def gateway_on_redis(folder: Path) -> Iterator[Gateway]:
    """Run a node with two workers on a Redis, and wait until both are ready."""
    redis = RedisServer()
    redis.start()
    node = None
    try:
        node = Gateway(folder, f'[store]\nurl = "{redis.url}"\n', "--workers", "2")
        for number in (1, 2):
            node.exposition(rf'^callcenter_ws_ready\{{worker="{number}"\}} 1\.0$')
        yield node
    finally:
        if node is not None:
            node.stop()
        redis.stop()
