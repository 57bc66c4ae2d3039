"""The scripts of the pages: their types are right, and the parts that need no page do what they should, run by node."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from callcenter_ws.pages.vendor import packages

NODE = shutil.which("node")
CLIENT = Path(__file__).parents[2] / "clients/js"
STATIC = Path(__file__).parents[2] / "callcenter_ws/pages/static"
BUILT = ("client.js", "embed.js", "commands.js", "widget.js")
TIMEOUT_SECONDS = 300

has_node = pytest.mark.skipif(NODE is None, reason="node is not installed")
has_tools = pytest.mark.skipif(
    NODE is None or not (CLIENT / "node_modules/lit-html").exists(),
    reason="node is not installed, or `npm ci` was not run in clients/js",
)


def node(*arguments: str) -> str:
    """Run node in the folder of the client and return its output."""
    outcome = subprocess.run(
        [str(NODE), *arguments], cwd=CLIENT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout


@has_node
@pytest.mark.parametrize(("folder", "least"), [("wallboard", 30), ("live", 8), ("supervisor", 20), ("desk", 20)])
def test_the_parts_that_need_no_page(folder: str, least: int) -> None:
    tests = sorted(map(str, (Path(__file__).parent / folder).glob("*.test.mjs")))
    output = node("--test", "--test-reporter=tap", *tests)
    assert int(re.findall(r"^# pass (\d+)$", output, re.MULTILINE)[0]) >= least


@has_tools
def test_the_types_are_right() -> None:
    """The compiler reads all scripts, with the types of the client, of the events and of the vendored libraries."""
    read = node("node_modules/typescript/bin/tsc", "-p", "tsconfig.pages.json", "--listFiles")
    scripts = {path for path in STATIC.rglob("*.js") if "vendor" not in path.parts and path.name not in BUILT}
    assert {str(path) for path in scripts} <= set(read.splitlines())
    # Without declarations for what these import, their types would be those of minified code.
    assert not [line for line in read.splitlines() if line.endswith(".js") and Path(line) not in scripts]


def test_the_types_are_those_of_the_vendored_versions() -> None:
    installed = json.loads((CLIENT / "package.json").read_text())["devDependencies"]
    vendored = {package.name: package.version for package in packages()}
    declared = [path.name for path in (CLIENT / "pages/vendor").iterdir()]
    assert declared
    assert {name: installed[name] for name in declared} == {name: vendored[name] for name in declared}
