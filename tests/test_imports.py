"""Imports point one way (``docs/architecture.rst``), those for the type checker included, and form no cycle."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "callcenter_ws"

LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("runtime",),
    ("redis", "events"),
    ("interfaces",),
    ("statistics",),
    ("auth", "broker"),
    ("sources",),
    ("delivery",),
    ("commands", "call_log"),
    ("requests", "cluster", "config"),
    ("figures", "webhooks", "ops"),
    ("amp", "http", "ws"),
    ("pages",),
    ("gateway",),
    ("tap",),
)
"""The folders of the gateway. Each may import those of earlier layers, and nothing of its own layer but itself."""

BESIDE: dict[str, set[str]] = {
    # Several processes of one node: processes, sockets and metrics as text, and nothing of what a gateway does.
    "workers": {"errors", "runtime", "config", "control"},
    # The socket for operators' commands: how a gateway is asked, and nothing of what it does.
    "control": {"errors", "runtime", "config"},
    # A daemon shares with the server the definitions of the wire, and no more.
    "remote": {"errors", "runtime", "events", "interfaces", "amp.commands"},
    # A bridge sends through the client library; its state machines know events, and nothing of Twisted.
    "bridge": {"errors", "runtime", "events", "remote"},
    "testing": {"errors", "runtime"},
    # The simulator is a sender like any other; its page is an HTTP resource.
    "demo": {"errors", "runtime", "auth", "config", "http", "remote", "bridge", "statistics.rules"},
    "cli": {
        "errors",
        "runtime",
        "events",
        "interfaces",
        "auth",
        "broker",
        "statistics",
        "config",
        # The files of an archive: where they are, and what is in them.
        "figures.archive_files",
        "redis.address",
        "control",
        "amp.commands",
        "remote",
        "bridge",
        "demo",
    },
}
"""What the parts outside the layers may import."""

ADDITIONALLY: dict[str, set[str]] = {
    # A worker's gateway; the supervisor is not part of it.
    "gateway": {"workers.handoff", "workers.metrics", "workers.worker"},
    "tap": {"workers", "control", "demo"},
}
"""What parts of the layers import of those outside."""


def _may_import() -> dict[str, set[str]]:
    allowed: dict[str, set[str]] = {"": set(), **BESIDE}
    earlier: set[str] = set()
    for layer in LAYERS:
        for part in layer:
            allowed[part] = earlier | ADDITIONALLY.get(part, set())
        earlier = earlier | set(layer)
    return allowed


MAY_IMPORT = _may_import()
"""What each part may import besides itself. A new part must be added to ``LAYERS`` or ``BESIDE``."""

PURE = ("errors", "interfaces", "events", "statistics", "delivery", "requests")
"""Parts that do no I/O: they are passed their clock, their transports and their store."""

PURE_MAY_IMPORT = {
    "__future__", "abc", "array", "bisect", "collections", "dataclasses", "datetime", "enum", "functools", "hashlib",
    "heapq", "itertools", "json", "math", "msgspec", "operator", "re", "struct", "types", "typing", "weakref", "zlib",
}  # fmt: skip
"""What the pure parts may import of others: nothing that reads a clock, a file or a socket."""

PURE_MAY_USE = {
    "runtime.background",
    "runtime.clock",
    "runtime.few_at_a_time",
    "runtime.json",
    "runtime.json_names",
    "runtime.log_fields",
    "runtime.one_at_a_time",
    "runtime.single_flight",
    "runtime.slicer",
    "runtime.suggestions",
}
"""What they may import of ``runtime``, whose clock and background tasks are passed to them."""

EXCEPTIONS = {
    ("callcenter_ws.events.ulid", "os"),  # the default source of random bytes
    ("callcenter_ws.statistics.zones", "zoneinfo"),  # the database of time zones is read once for each zone
}

USE_THE_REACTOR = {"callcenter_ws.tap", "callcenter_ws.bridge.tap", "callcenter_ws.cli.in_reactor"}

AT_THE_ROOT = {"", "errors", "interfaces", "testing", "tap"}
"""The modules that belong to no folder."""


class Import(NamedTuple):
    """``importer`` imports ``imported``; both are dotted names."""

    importer: str
    imported: str
    line: int

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


def _imports(node: ast.AST, importer: str) -> Iterator[Import]:
    """Yield every import below ``node``: within functions and ``if TYPE_CHECKING`` too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            for imported in _targets(child, importer):
                yield Import(importer, imported, child.lineno)
        else:
            yield from _imports(child, importer)


def _imports_of(module: str) -> list[Import]:
    return list(_imports(ast.parse(MODULES[module].read_text()), module))


IMPORTS = [found for module in MODULES for found in _imports_of(module)]
OURS = [found for found in IMPORTS if found.imported.split(".")[0] == "callcenter_ws"]


def _inside(module: str) -> str:
    """``callcenter_ws.amp.server`` as ``amp.server``; the package itself as the empty name."""
    return module.partition(".")[2]


def _is_allowed(found: Import) -> bool:
    part, wanted = _inside(found.importer).split(".")[0], _inside(found.imported)
    allowed = {part} | MAY_IMPORT.get(part, set())
    return wanted == "" or wanted in allowed or wanted.split(".")[0] in allowed


def test_every_part_has_its_place() -> None:
    parts = {_inside(module).split(".")[0] for module in MODULES}
    assert parts <= MAY_IMPORT.keys()


def test_no_other_modules_are_at_the_root() -> None:
    assert {_inside(module) for module in MODULES if module.count(".") <= 1} - _folders() == AT_THE_ROOT


def _folders() -> set[str]:
    return {path.name for path in PACKAGE.iterdir() if path.is_dir()}


def test_imports_point_one_way() -> None:
    assert [str(found) for found in OURS if not _is_allowed(found)] == []


def _is_pure(found: Import) -> bool:
    wanted = _inside(found.imported)
    if found.imported.startswith("callcenter_ws"):
        return not wanted.startswith("runtime") or wanted in PURE_MAY_USE
    return found.imported.split(".")[0] in PURE_MAY_IMPORT or (found.importer, found.imported) in EXCEPTIONS


def test_the_pure_parts_do_no_io() -> None:
    pure = tuple(f"callcenter_ws.{part}" for part in PURE)
    assert [str(found) for found in IMPORTS if found.importer.startswith(pure) and not _is_pure(found)] == []


@pytest.mark.parametrize(
    "wanted", ["sqlite3", "os", "random", "twisted.internet.defer", "callcenter_ws.runtime.sqlite"]
)
def test_the_rule_for_pure_parts_sees_a_wrong_import(wanted: str) -> None:
    assert not _is_pure(Import("callcenter_ws.delivery.hub", wanted, 1))


def test_what_all_kinds_of_exchanges_share_knows_none_of_them() -> None:
    kinds = ("callcenter_ws.bridge.asterisk",)
    found = [one for one in OURS if one.imported.startswith(kinds) and not one.importer.startswith(kinds)]
    in_bridge = {one.importer for one in found if one.importer.startswith("callcenter_ws.bridge.")}
    assert in_bridge == {"callcenter_ws.bridge.kinds"}


def _reachable(module: str) -> set[str]:
    """Return a module and all of its folder that it imports, itself or by others."""
    found, waiting = {module}, [module]
    while waiting:
        importer = waiting.pop()
        new = {one.imported for one in OURS if one.importer == importer and _inside(one.imported).startswith("bridge")}
        waiting += new - found
        found |= new
    return found


@pytest.mark.parametrize("module", ["bridge.asterisk.machine", "bridge.asterisk.session", "bridge.laws"])
def test_state_machines_and_sessions_of_exchanges_do_no_io(module: str) -> None:
    pure = _reachable(f"callcenter_ws.{module}")
    wrong = ("twisted", "time", "os", "socket", "sqlite3", "callcenter_ws.remote")
    # The limits of records are constants.
    found = [one for one in IMPORTS if one.importer in pure and one.imported != "callcenter_ws.remote.records"]
    assert [str(one) for one in found if f"{one.imported}.".startswith(tuple(f"{name}." for name in wrong))] == []


def test_only_the_entry_points_import_the_global_reactor() -> None:
    # ``from twisted import internet`` would give access to it too.
    reactor = ("twisted.internet.reactor", "twisted")
    importing = {found.importer for found in IMPORTS if found.imported in reactor}
    assert importing <= USE_THE_REACTOR


def test_there_is_no_cycle() -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for found in OURS:
        # A package's __init__ holds nothing but its docstring, or what it exports.
        if found.imported != found.importer:
            graph[found.importer].add(found.imported)
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which holds the cycle


@pytest.mark.parametrize(
    ("importer", "statement"),
    [
        ("errors", "from callcenter_ws.events.catalogue import CATALOGUE"),
        ("delivery.hub", "import callcenter_ws.ws.writer"),
        ("delivery.client", "from callcenter_ws.requests.dispatcher import Dispatcher"),
        ("gateway.service", "from callcenter_ws.demo.tokens import DemoTokens"),
        ("http.stats", "def late():\n    from callcenter_ws.amp.commands import Ping"),
        ("remote.sender", "from callcenter_ws.amp.responders import CommandResponders"),
        ("delivery.hub", "if TYPE_CHECKING:\n    from callcenter_ws.ws.writer import Writer"),
    ],
)
def test_the_rules_see_a_wrong_import(importer: str, statement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ws.writer", "amp.commands", "amp.responders"):
        monkeypatch.setitem(MODULES, f"callcenter_ws.{module}", Path())
    found = list(_imports(ast.parse(statement), f"callcenter_ws.{importer}"))
    assert found
    assert not any(_is_allowed(one) for one in found)
