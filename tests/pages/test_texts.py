"""The table of the pages' texts holds what the pages say, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

STATIC = Path(__file__).parent.parent.parent / "callcenter_ws/pages/static"

# Families of texts whose ids are put together of a prefix and a name.
COMPOSED = (
    "figure.",
    "word.",
    "metric.",
    "severity.",
    "role.",
    "page.",
    "login.error.",
    "demo.",
    "live.family.",
    "live.status.",
    "live.announced.",
    "live.rebuilt.",
    "event.",
    "state.",
    "window.",
    "link.",
    "action.",
    "button.",
    "outcome.",
    "staff.theme.",
    "chats.state.",
    "chats.failed.",
    "chats.departed.",
    "chats.ended_by.",
    "notices.severity.",
    "day.",
    "ownqueues.",
    "supervisor.agent.",
    "supervisor.badge.",
    "supervisor.call_state.",
    "supervisor.chats.",
    "supervisor.day.",
    "supervisor.direction.",
    "supervisor.figure.",
    "supervisor.outcome.",
    "supervisor.search.",
    "supervisor.section.",
    "supervisor.step.",
    "supervisor.tile.",
    "supervisor.today.",
    "desk.state.",
    "desk.reason.",
    "desk.set.",
    "desk.keys.",
    "desk.call.",
    "desk.outcome.",
)
ID = re.compile(r"""["'`]((?:[a-z_]+\.)+[a-z0-9_]+)["'`]""")
CALL = re.compile(r"""\btext\(\s*["']([^"']+)["']""")
MARKUP = re.compile(r"html`(.*?)`", re.DOTALL)


def sources() -> Iterator[Path]:
    """Return the scripts that are not built or of others."""
    for path in sorted(STATIC.rglob("*.js")):
        if "vendor" not in path.parts and path.name not in ("client.js", "embed.js", "commands.js"):
            yield path


def texts() -> set[str]:
    tables = [path.read_text() for path in sorted(STATIC.rglob("texts.js"))]
    found = [one for table in tables for one in re.findall(r'^  "([a-z0-9_.]+)":', table, re.MULTILINE)]
    assert len(found) == len(set(found)), sorted(one for one in found if found.count(one) > 1)
    return set(found)


def test_each_text_that_is_used_is_in_the_table() -> None:
    known = texts()
    used = {found: path.name for path in sources() for found in CALL.findall(path.read_text())}
    assert len(used) > 10
    assert {found: name for found, name in used.items() if found not in known} == {}


def test_each_text_of_the_table_is_used() -> None:
    named = {found for path in sources() if path.name != "texts.js" for found in ID.findall(path.read_text())}
    assert [found for found in sorted(texts() - named) if not found.startswith(COMPOSED)] == []


def test_templates_hold_no_text_of_their_own() -> None:
    for path in sources():
        for template in MARKUP.findall(path.read_text()):
            without_values = re.sub(r"\$\{[^`]*?\}", "", template)
            assert re.findall(r">[^<>]*[A-Za-z]{2,}[^<>]*<", without_values) == [], path
