"""The screenshots of the pages in README and manual exist, are shown, and are small."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MAX_BYTES = 60_000
OF_OTHERS = {"dashboard.png"}


def test_each_screenshot_is_shown_and_small() -> None:
    texts = [(path.parent, path.read_text()) for path in (ROOT / "README.rst", *DOCS.glob("*.rst"))]
    shown = {
        (folder / name).resolve()
        for folder, text in texts
        for name in re.findall(r"^ *\.\. (?:figure|image):: (\S+\.png)$", text, re.MULTILINE)
    }
    present = {path.resolve() for path in DOCS.glob("*.png")}
    assert shown == present
    large = {path.name: path.stat().st_size for path in present if path.stat().st_size > MAX_BYTES}
    assert set(large) <= OF_OTHERS, large
