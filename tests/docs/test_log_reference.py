"""``docs/log.rst`` has every log line of level warning and above that the code can write, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from callcenter_ws.runtime.log_text import RESERVED

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "callcenter_ws"
PAGE = ROOT / "docs" / "log.rst"

LEVELS = ("info", "warn", "error", "critical")

OF_LOGGER = {level: level for level in LEVELS} | {"failure": "critical"}
"""Levels of the methods whose first argument is the text."""

OF_PEERS = {"log_refusal": None, "log_unhandled": "critical"}
"""The same for methods of objects that are no logs; None: the argument ``is_warning`` decides."""

LOGS = {"log", "logger", "networks", "closes"}
"""How logs are named."""

WRAPPERS = {
    "amp/protocol.py",
    "http/request_peer.py",
    "remote/retry_log.py",
    "runtime/refusal_log.py",
    "workers/log.py",
    "ws/connection_context.py",
}
"""Modules that pass on the text of a caller. A text of theirs that is no constant is one of a caller."""


class Line(NamedTuple):
    level: str
    text: str


def text_of(node: ast.expr) -> str | None:
    """The text of a format string, with the bare names of its placeholders; None if it is no constant."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"(?<!\{)\{(\w+)[^}]*\}", r"{\1}", node.value)
    if isinstance(node, ast.JoinedStr):
        parts = []
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                parts.append("{" + ast.unparse(part.value).rpartition(".")[2].lstrip("_") + "}")
            else:
                parts.append(str(part.value))  # type: ignore[attr-defined]  # a constant
        return "".join(parts)
    return None


class Lines(ast.NodeVisitor):
    """Collects the lines of a module."""

    def __init__(self, module: str, tree: ast.Module) -> None:
        self.module = module
        self.found: list[Line] = []
        self.fields: set[str] = set()
        self.constants: dict[str, list[ast.expr]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self.constants.setdefault(ast.unparse(target), []).append(node.value)
        self.visit(tree)

    def visit_Call(self, call: ast.Call) -> None:
        self.generic_visit(call)
        if isinstance(call.func, ast.Attribute):
            owner = ast.unparse(call.func.value)
            for level, node in self.lines_of(call, call.func.attr, owner):
                self.add(level, node)
                self.fields |= {keyword.arg for keyword in call.keywords if keyword.arg}

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        # What RetryLog logs at each attempt.
        if ast.unparse(node.targets[0]) == "self._retry_text" and text_of(node.value):
            self.found.append(Line("warn", f"{text_of(node.value)}{{times}}{{then}}"))

    def lines_of(self, call: ast.Call, method: str, owner: str) -> Iterator[tuple[str, ast.expr]]:
        if method in OF_PEERS:
            yield OF_PEERS[method] or self.level_of_write(call), call.args[0]
        elif owner.rpartition(".")[2].strip("_") not in LOGS:
            return
        elif method in OF_LOGGER:
            yield OF_LOGGER[method], call.args[0]
        elif method == "write":
            yield self.level_of_write(call), call.args[1]
            if any(keyword.arg == "is_warning" and not is_true(keyword.value) for keyword in call.keywords):
                yield "info", call.args[1]
        elif method == "emit":
            for level in LEVELS:
                if re.search(rf"LogLevel\.{level}\b", ast.unparse(call.args[0])):
                    yield level, call.args[1]
        elif method == "failed" and isinstance(call.args[0], ast.JoinedStr) and len(call.args[0].values) > 2:
            self.found.append(Line("warn", f"{text_of(call.args[0])}{{times}}"))

    def level_of_write(self, call: ast.Call) -> str:
        given = [keyword.value for keyword in call.keywords if keyword.arg == "is_warning"]
        return "warn" if given and ast.unparse(given[0]) != "False" else "info"

    def add(self, level: str, node: ast.expr) -> None:
        nodes = self.constants.get(ast.unparse(node), []) if isinstance(node, ast.Name) else [node]
        texts = [text for text in map(text_of, nodes) if text is not None]
        self.found += [Line(level, text) for text in texts]
        if not texts and self.module not in WRAPPERS:
            raise AssertionError(f"{self.module}:{node.lineno}: the text of a log line must be a constant")


def is_true(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def modules() -> Iterator[Lines]:
    for file in sorted(PACKAGE.rglob("*.py")):
        yield Lines(str(file.relative_to(PACKAGE)), ast.parse(file.read_text()))


@pytest.fixture(scope="module")
def found() -> list[Lines]:
    return list(modules())


def lines_of_page() -> list[Line]:
    """The lines that the page describes: a literal, and below it the level."""
    entries = re.findall(r"^``(?P<text>.+)``\n   \*(?P<level>\w+)\*", PAGE.read_text(), re.MULTILINE)
    return [Line(level, text) for text, level in entries]


def test_every_line_of_the_code_is_on_the_page(found: list[Lines]) -> None:
    page = set(lines_of_page())
    code = {(lines.module, line) for lines in found for line in lines.found if line.level != "info"}
    assert sorted(f"{module}: *{line.level}* ``{line.text}``" for module, line in code if line not in page) == []


def test_every_line_of_the_page_is_in_the_code(found: list[Lines]) -> None:
    code = {line for lines in found for line in lines.found}
    page = lines_of_page()
    assert len(page) > 50
    assert [line for line in page if line not in code] == []
    assert len(set(page)) == len(page), "a line is described twice"


def test_a_line_has_a_text_that_can_be_searched(found: list[Lines]) -> None:
    texts = {line.text for lines in found for line in lines.found if line.level != "info"}
    assert [text for text in texts if len(re.sub(r"\{\w+\}|\W", "", text)) < 5] == []


def test_no_field_has_a_name_that_a_json_line_uses(found: list[Lines]) -> None:
    assert {name for lines in found for name in lines.fields} & RESERVED == set()


def test_the_fields_of_lines_about_connections_are_described(found: list[Lines]) -> None:
    described = set(re.findall(r"``(\w+)``", PAGE.read_text().partition("Connections\n---")[0]))
    used = {
        name
        for lines in found
        if lines.module in ("gateway/log.py", "amp/connection_log.py")
        for line in lines.found
        for name in re.findall(r"\{(\w+)\}", line.text)
    }
    assert {"tenant", "close_code", "received"} <= used
    assert used - described - {"where"} == set()


def test_the_extraction_sees_each_way_of_logging() -> None:
    source = """
TEXT = "a {x!r} text"
_log.warn("warned of {count:g}", count=1)
self._log.emit(LogLevel.warn if ready else LogLevel.error, "emitted")
_log.failure(TEXT)
self._logs.closes.write(share, "about {user}", is_warning=True)
log.write(share, "either", is_warning=is_warning)
self._retry_text = f"lost {self._endpoint}"
"""
    assert Lines("x.py", ast.parse(source)).found == [
        Line("warn", "warned of {count}"),
        Line("warn", "emitted"),
        Line("error", "emitted"),
        Line("critical", "a {x} text"),
        Line("warn", "about {user}"),
        Line("warn", "either"),
        Line("info", "either"),
        Line("warn", "lost {endpoint}{times}{then}"),
    ]
    with pytest.raises(AssertionError, match="must be a constant"):
        Lines("x.py", ast.parse("_log.warn(text)"))
