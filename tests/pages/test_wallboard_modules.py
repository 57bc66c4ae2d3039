"""The parts of the wallboard that need no page, run by node."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_the_modules_of_the_wallboard() -> None:
    tests = sorted(map(str, (Path(__file__).parent / "wallboard").glob("*.test.mjs")))
    assert len(tests) >= 4
    command = [str(NODE), "--test", "--test-reporter=tap", *tests]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert int(re.findall(r"^# pass (\d+)$", outcome.stdout, re.MULTILINE)[0]) >= 30
