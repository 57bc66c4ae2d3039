"""Runs a bridge, ``twistd -n callcenter-bridge``, in its own process and folder, with default settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.bridge_parsers import AGENT_PATTERN, TENANT
from bench.process_stop import stop_process

_TWISTD = Path(sys.executable).with_name("twistd")
_SETTINGS = """\
[gateway]
endpoint = "unix:path={amp}"
spool = "spool"

[[sources]]
name = "bench"
kind = "asterisk"
endpoint = "tcp:127.0.0.1:{port}"
username = "bench"
secret_file = "ami.secret"
tenant = "{tenant}"
agent_pattern = '{pattern}'
directions = {{ inbound = ["from-trunk"], internal = ["internal"] }}
"""


class BridgeProcess:
    """A bridge that runs until it is stopped.

    Args:
        folder: a new folder for its settings, secret, log and spool.
        port: the manager interface of the exchange, on this machine.
        amp_path: the AMP socket of the gateway.
    """

    def __init__(self, folder: Path, port: int, amp_path: Path) -> None:
        folder.mkdir()
        secret = folder / "ami.secret"
        secret.touch(0o600)
        secret.write_text("secret")
        config = folder / "bridge.toml"
        config.write_text(_SETTINGS.format(amp=amp_path, port=port, tenant=TENANT, pattern=AGENT_PATTERN))
        self._log = folder / "log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(  # noqa: S603 - twistd of this environment
                [str(_TWISTD), "-n", "--pidfile=", "callcenter-bridge", "--config", str(config)],
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.pid = self._process.pid

    def stop(self) -> None:
        """End the process with SIGTERM.

        Raises:
            InvalidRun: if it had ended before, or has logged a traceback.
        """
        stop_process(self._process, self._log, "bridge")
