"""The wallboard's page and the settings of the gateway have the same figures, ranges and defaults."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from callcenter_ws.config import wallboards
from callcenter_ws.config.wallboards import Figure, WallboardSettings
from callcenter_ws.runtime.setting_values import range_of

NODE = shutil.which("node")
FOLDER = Path(__file__).parent.parent.parent / "callcenter_ws/pages/static/wallboard"
PRINT = """
const {{ FIGURES }} = await import("{folder}/figures.js");
const {{ complete, DEFAULTS, MAX_FIGURES, MAX_ROWS }} = await import("{folder}/settings.js");
const [least, most] = [-1, 1e9].map((value) => complete({{rows: value, page_seconds: value}}, () => true));
const ranges = {{rows: [least.rows, most.rows], page_seconds: [least.page_seconds, most.page_seconds]}};
const figures = Object.keys(FIGURES);
console.log(JSON.stringify({{figures, defaults: DEFAULTS, ranges, limits: [MAX_FIGURES, MAX_ROWS]}}));
"""


@pytest.fixture(scope="module")
def page() -> Any:
    if NODE is None:
        pytest.skip("node is not installed")
    command = [NODE, "--input-type=module", "-e", PRINT.format(folder=FOLDER.as_uri())]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert printed.returncode == 0, printed.stderr
    return json.loads(printed.stdout)


def test_the_figures_are_the_same(page: Any) -> None:
    assert set(get_args(Figure)) == set(page["figures"])


def test_the_defaults_are_the_same(page: Any) -> None:
    # What the page says in place of a wallboard is not a setting.
    assert page["defaults"].pop("note") is None
    assert json.loads(msgspec.json.encode(WallboardSettings(name=""))) == page["defaults"]


def test_the_ranges_are_the_same(page: Any) -> None:
    for name in ("rows", "page_seconds"):
        hint = next(field.type for field in msgspec.structs.fields(WallboardSettings) if field.name == name)
        found = range_of(hint)
        assert found is not None
        assert [found.smallest, found.largest] == page["ranges"][name]
    assert page["limits"] == [wallboards.MAX_FIGURES, 6]
