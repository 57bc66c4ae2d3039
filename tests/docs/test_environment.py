"""docs/environment.rst has every environment variable that the code or a script reads, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from callcenter_ws.config.load import ENVIRONMENT_PREFIX, OTHER_VARIABLES

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "environment.rst"
FOLDERS = ("callcenter_ws", "bench", "examples", "tests", "docs", "twisted")

SCRIPTS = [ROOT / "demo", ROOT / "tests" / "run", *sorted((ROOT / "tests").rglob("*.sh"))]

OF_SETTINGS = "CALLCENTER_WS_SECTION__KEY"
"""Stands for the variables of all keys."""

OF_BRIDGE = "CALLCENTER_BRIDGE_SECTION__KEY"
"""The same for the keys of a bridge."""

READ_BY_OTHERS = {
    OF_SETTINGS,
    OF_BRIDGE,
    # Twisted
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    # OpenSSL
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    # Python
    "PYTHONFAULTHANDLER",
    "COLUMNS",
}
"""Variables that are read for us; those of the settings are read by a name that is made of the key."""

_ENTRY = re.compile(r"^(``[A-Z0-9_]+``(?:, ``[A-Z0-9_]+``)*)$", re.MULTILINE)
_METHODS = {"get", "pop", "setdefault"}


def documented() -> set[str]:
    return {name for entry in _ENTRY.findall(PAGE.read_text()) for name in re.findall(r"[A-Z0-9_]+", entry)}


def python_files() -> list[Path]:
    return [ROOT / "setup.py", *(file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py")))]


def constants(trees: list[ast.Module]) -> dict[str, set[str]]:
    """The texts of the constants of all modules, by their names."""
    found: dict[str, set[str]] = {}
    for tree in trees:
        for node in tree.body:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            value = getattr(node, "value", None)
            if isinstance(target, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                found.setdefault(target.id, set()).add(value.value)
    return found


def is_environment(node: ast.expr) -> bool:
    """Whether an expression is the environment, or a copy of it by the names that the project uses."""
    return ast.unparse(node).rpartition(".")[2].strip("_") in ("environ", "environb", "environment")


def read_names(tree: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions that name a variable that is read."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr=attribute), args=[name, *_]):
                if (attribute in _METHODS and is_environment(value)) or attribute == "getenv":
                    yield name
            case ast.Call(func=ast.Name(id="getenv"), args=[name, *_]):
                yield name
            case ast.Subscript(value=value, slice=name, ctx=ast.Load()) if is_environment(value):
                yield name
            case ast.Compare(left=name, ops=[ast.In() | ast.NotIn()], comparators=[value]) if is_environment(value):
                yield name


def values(node: ast.expr, known: dict[str, set[str]]) -> set[str]:
    if isinstance(node, ast.Constant):
        return {node.value.decode() if isinstance(node.value, bytes) else str(node.value)}
    return known.get(ast.unparse(node).rpartition(".")[2], {f"<{ast.unparse(node)}>"})


@cache
def read_by_code() -> set[str]:
    texts = [file.read_text() for file in python_files()]
    trees = [ast.parse(text) for text in texts]
    known = constants(trees)
    # The others are left out to save time.
    reading = [tree for tree, text in zip(trees, texts, strict=True) if "environ" in text or "getenv" in text]
    return {name for tree in reading for node in read_names(tree) for name in values(node, known)}


def read_by_scripts() -> set[str]:
    return {name for script in SCRIPTS for name in re.findall(r"\$\{?([A-Z][A-Z0-9_]+)", script.read_text())}


OF_KEYS = "<variable>"
"""How ``config/load.py`` and ``bridge/load.py`` name the variables of the settings."""


def test_every_variable_is_documented_and_read() -> None:
    read = (read_by_code() | read_by_scripts()) - {OF_KEYS}
    assert read | READ_BY_OTHERS == documented()


def test_the_settings_loader_does_not_warn_of_them() -> None:
    ours = {name for name in documented() if name.startswith(ENVIRONMENT_PREFIX)}
    assert ours - {OF_SETTINGS} == OTHER_VARIABLES


def test_the_settings_are_read_by_the_names_of_their_keys() -> None:
    assert OF_KEYS in read_by_code()


@pytest.mark.parametrize(
    "statement",
    [
        "os.environ.get('NEW')",
        "environ['NEW']",
        "self._environ.pop('NEW', None)",
        "os.getenv('NEW')",
        "getenv('NEW')",
        "'NEW' in os.environ",
        "os.environb[b'NEW']",
        "environ.get(NAME)",
        "environ.get(module.NAME)",
    ],
)
def test_a_variable_that_is_read_is_found(statement: str) -> None:
    assert [values(node, {"NAME": {"NEW"}}) for node in read_names(ast.parse(statement))] == [{"NEW"}]


def test_a_variable_that_is_set_is_not_read() -> None:
    assert list(read_names(ast.parse("os.environ['NEW'] = '1'"))) == []


def test_there_are_scripts() -> None:
    assert {"demo", "run", "environment.sh"} <= {script.name for script in SCRIPTS}
