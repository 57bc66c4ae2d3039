"""promtool of Debian's package prometheus, which tests/run unpacks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def promtool(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run promtool with a text on its standard input; return its status and output."""
    binary = shutil.which("promtool") or shutil.which("promtool", path=str(ROOT / ".prometheus"))
    assert binary, "promtool is missing; tests/run unpacks it"
    return subprocess.run(
        [binary, *arguments], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
