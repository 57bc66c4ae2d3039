"""``Any`` switches the type checker off. Where it must stay, a comment on its line says why."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "callcenter_ws").rglob("*.py"))

_CODES_ALONE = re.compile(r"#\s*(noqa(:[A-Z0-9, ]+)?|type: ignore(\[[a-z, -]+\])?)\s*")
"""A comment for a tool, which gives no reason."""


def _unexplained(source: str) -> Iterator[int]:
    """Yield the lines that use ``Any`` without a comment. A use that needs the same reason again takes an alias."""
    comments = {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and not _CODES_ALONE.fullmatch(token.string)
    }
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and node.id == "Any" and node.lineno not in comments:
            yield node.lineno


def test_each_any_has_a_reason() -> None:
    assert [f"{path.relative_to(ROOT)}:{line}" for path in MODULES for line in _unexplained(path.read_text())] == []


@pytest.mark.parametrize(
    ("source", "unexplained"),
    [
        ("Reply = Any  # its type depends on the command", []),
        ("Reply = Any", [1]),
        ("def run(self) -> Any:  # noqa: N802", [1]),
        ("def run(self) -> Any:  # noqa: N802 - Twisted's name, which has no annotation", []),
        ("value: dict[str, Any] = {}  # type: ignore[assignment]", [1]),
        ("# Replies have no type.\nvalue: Any", [2]),
        ("value: object", []),
    ],
)
def test_the_rule_sees_an_any_without_a_reason(source: str, unexplained: list[int]) -> None:
    if source.startswith("def"):
        source += "\n    pass"
    assert list(_unexplained(source)) == unexplained
