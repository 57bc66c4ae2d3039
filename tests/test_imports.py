"""Imports point one way (docs/architecture.rst): who may know whom, and no circles."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "callcenter_ws"

FOUNDATION = {"errors", "interfaces", "core"}
EDGES = {"amp", "auth", "broker", "http", "ops", "ws"}

MAY_IMPORT: dict[str, set[str]] = {
    "": set(),
    "errors": set(),
    "interfaces": {"errors"},
    "core": {"errors", "interfaces"},
    "coarse": set(),
    "clock": {"coarse", "errors", "interfaces"},
    "backlog": set(),
    "handover": set(),
    "head": set(),
    "own_threads": set(),
    "sqlite_file": set(),
    **dict.fromkeys(EDGES, FOUNDATION | {"backlog", "coarse", "handover", "head"}),
    "broker": FOUNDATION | {"clock", "own_threads", "sqlite_file"},
    # The remote side shares the definitions of the wire with the server, and nothing else.
    "remote": FOUNDATION | {"amp.commands", "own_threads", "sqlite_file"},
    "testing": FOUNDATION | {"clock", "broker"},
    # What makes a key good is known to auth alone.
    "config": FOUNDATION | {"auth", "broker.redis.address"},
    # The simulator is a sender like any other, its page a resource, its tokens are signed like anybody's.
    "demo": FOUNDATION | {"auth", "clock", "http", "remote", "config"},
    "journal": FOUNDATION,
    "certificates": {"config"},
    "adoption": set(),
    "listening": FOUNDATION | {"adoption", "certificates", "config"},
    # It knows processes, sockets and metrics as text; what a gateway is, it does not know.
    "workers": {"adoption", "certificates", "config", "listening"},
    "stores": FOUNDATION | {"broker", "clock", "config", "journal"},
    "service": FOUNDATION | EDGES | {"clock", "config", "demo", "journal", "listening", "stores", "workers"},
    "tap": FOUNDATION | {"clock", "config", "service", "demo", "workers"},
    "cli": FOUNDATION | {"amp.commands", "auth", "broker", "config", "demo", "remote"},
}
"""What each part may import besides itself. A new part has to be given its place here."""

MAY_NAME_IN_TYPES = {"interfaces": {"core"}}
"""What a part may import for the type checker alone."""

OUTSIDE_WORLD = {
    "asyncio", "autobahn", "http", "logging", "multiprocessing", "prometheus_client", "requests", "select",
    "selectors", "signal", "socket", "ssl", "subprocess", "threading", "time", "twisted", "txaio", "urllib",
}  # fmt: skip
"""What the core must not touch: it is given its clock, its transports and its store."""

KNOW_THE_REACTOR = {"callcenter_ws.tap", "callcenter_ws.cli.main"}


class Import(NamedTuple):
    """``importer`` needs ``imported``; both are dotted names."""

    importer: str
    imported: str
    line: int
    types_only: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def _name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def _targets(node: ast.stmt, importer: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{importer}:{node.lineno} imports relatively"
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            yield full if full in MODULES or full == "twisted.internet.reactor" else str(node.module)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _imports(node: ast.AST, importer: str, types_only: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            for imported in _targets(child, importer):
                yield Import(importer, imported, child.lineno, types_only)
        else:
            yield from _imports(child, importer, types_only or _is_for_types(child))


def _imports_of(module: str) -> list[Import]:
    return list(_imports(ast.parse(MODULES[module].read_text()), module))


IMPORTS = [found for module in MODULES for found in _imports_of(module)]
OURS = [found for found in IMPORTS if found.imported.split(".")[0] == "callcenter_ws"]


def _inside(module: str) -> str:
    """``callcenter_ws.amp.server`` as ``amp.server``; the package itself as the empty name."""
    return module.partition(".")[2]


def _is_allowed(found: Import) -> bool:
    part, wanted = _inside(found.importer).split(".")[0], _inside(found.imported)
    allowed = {part} | MAY_IMPORT.get(part, set()) | (MAY_NAME_IN_TYPES.get(part, set()) if found.types_only else set())
    return wanted == "" or wanted in allowed or wanted.split(".")[0] in allowed


def test_every_part_has_its_place() -> None:
    parts = {_inside(module).split(".")[0] for module in MODULES}
    assert parts <= MAY_IMPORT.keys()


def test_imports_point_one_way() -> None:
    assert [str(found) for found in OURS if not _is_allowed(found)] == []


def test_the_core_touches_nothing_outside() -> None:
    pure = ("callcenter_ws.core", "callcenter_ws.errors", "callcenter_ws.interfaces")
    touching = [
        str(found)
        for found in IMPORTS
        if found.importer.startswith(pure) and found.imported.split(".")[0] in OUTSIDE_WORLD
    ]
    assert touching == []


def test_the_global_reactor_is_known_to_the_entry_points_alone() -> None:
    knowing = {found.importer for found in IMPORTS if found.imported == "twisted.internet.reactor"}
    assert knowing <= KNOW_THE_REACTOR


def test_there_is_no_circle() -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for found in OURS:
        if not found.types_only:
            graph[found.importer].add(found.imported)
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError with the circle in it


@pytest.mark.parametrize(
    ("importer", "statement"),
    [
        ("errors", "from callcenter_ws.events.catalogue import CATALOGUE"),
        ("core.hub", "import callcenter_ws.ws.writer"),
        ("ws.factory", "from callcenter_ws.config import settings"),
        ("http.stats", "def late():\n    from callcenter_ws.amp.commands import Ping"),
        ("remote.sender", "from callcenter_ws.amp.server import Server"),
        ("core.hub", "if TYPE_CHECKING:\n    from callcenter_ws.ws.writer import Writer"),
    ],
)
def test_the_rules_see_a_wrong_import(importer: str, statement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ws.writer", "amp.commands", "amp.server"):
        monkeypatch.setitem(MODULES, f"callcenter_ws.{module}", Path())
    found = list(_imports(ast.parse(statement), f"callcenter_ws.{importer}"))
    assert found
    assert not any(_is_allowed(one) for one in found)
