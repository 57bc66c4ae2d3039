"""References between the code and the manual: cited sections exist, and so do the files that the manual names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "callcenter_ws"
PAGES = [ROOT / "README.rst", ROOT / "CONTRIBUTING.rst", *sorted((ROOT / "docs").glob("*.rst"))]
CITING = ("callcenter_ws", "bench", "tests", "examples", "etc")
SUFFIXES = {".c", ".cfg", ".conf", ".h", ".js", ".lua", ".py", ".service", ".toml"}

_CITATION = re.compile(r'docs/(?P<page>\w+)\.rst(?:``)?(?:, "(?P<section>[^"]+)")?')
_LINE_START = re.compile(r"\n[ \t]*(?:#|--|//|\*)?[ \t]*")
_FILE = re.compile(r"``(?P<name>[\w./-]+/|[\w./-]+\.(?:c|cfg|conf|go|h|js|lua|py|rst|service|svg|toml))``")


def citing_files() -> Iterator[Path]:
    for folder in CITING:
        yield from (file for file in sorted((ROOT / folder).rglob("*")) if file.suffix in SUFFIXES)
    yield from PAGES


def sections_of(page: Path) -> set[str]:
    """The titles of a page, in lower case."""
    lines = page.read_text().splitlines()
    return {title.lower() for title, rule in pairwise(lines) if re.fullmatch(r"([=~-])\1{2,}", rule)}


def test_cited_sections_exist() -> None:
    missing = []
    for file in citing_files():
        # A citation may continue on the next line of a comment.
        for found in _CITATION.finditer(_LINE_START.sub(" ", file.read_text())):
            page = ROOT / "docs" / f"{found['page']}.rst"
            if not page.is_file() or (found["section"] and found["section"].lower() not in sections_of(page)):
                missing.append(f"{file.relative_to(ROOT)} cites {found[0]}")
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page: Path) -> None:
    # In a section about one folder, files are named without it.
    bases = [ROOT, PACKAGE, PACKAGE / "broker" / "sqlite", PACKAGE / "broker" / "redis", PACKAGE / "redis" / "lua"]
    names = {found["name"] for found in _FILE.finditer(page.read_text())} - GENERATED - SERVED - OF_ASTERISK
    names = {name for name in names if not name.startswith("/etc/asterisk/")}
    missing = [name for name in sorted(names) if not any((base / name).exists() for base in bases)]
    assert missing == []


GENERATED = {"daemon.py", "monday.toml"}
"""Files that the reader creates."""

SERVED = {
    *(
        "/client/",
        "/client/callcenter-ws-client.js",
        "/client/callcenter-ws-embed.js",
        "/client/callcenter-ws-commands.js",
        "/widget.js",
    ),
    *("/pages/", "/schemas/", "/session/"),
}
"""Paths of URLs."""

OF_ASTERISK = {
    *("manager.conf", "manager_custom.conf", "queues.conf", "extensions.conf", "pjsip.conf"),
    *("asterisk.conf", "features.conf"),
}
"""Files of the exchange."""
