"""How often the garbage collector scans the objects of a long-lived process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_SCRIPT = """
import gc
import sys
from callcenter_ws.bridge.tap import Options, makeService

options = Options()
options.parseOptions(["--config", sys.argv[1]])
makeService(options)
assert gc.get_freeze_count() > 10_000, gc.get_freeze_count()
assert gc.get_threshold() == (10_000, 5, 2)
"""


def test_a_bridge_does_not_scan_its_modules(tmp_path: Path) -> None:
    secret = tmp_path / "ami.secret"
    secret.touch(0o600)
    secret.write_text("secret\n")
    config = tmp_path / "bridge.toml"
    config.write_text(
        f"""
        [gateway]
        endpoint = "unix:path={tmp_path}/amp.sock"
        spool = "spool"
        [[sources]]
        name = "pbx1"
        kind = "asterisk"
        endpoint = "tcp:127.0.0.1:5038"
        username = "callcenter"
        secret_file = "{secret}"
        tenant = "acme"
        """
    )
    command = [sys.executable, "-c", _SCRIPT, str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
