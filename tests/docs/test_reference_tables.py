"""The generated tables of the manual match the code."""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from callcenter_ws.delivery.limits import Limits, limits_by_name

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "docs" / "reference_tables.py"


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    """The module ``docs/reference_tables.py``, which is in no package."""
    spec = importlib.util.spec_from_file_location("reference_tables", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_table_matches_the_code(tables: ModuleType) -> None:
    outdated = [f'docs/{page}: "{name}"' for name, page in tables.outdated().items()]
    assert not outdated, f"tables differ from the code: {', '.join(outdated)}; run: {tables.COMMAND}"


def test_every_table_is_in_a_page(tables: ModuleType) -> None:
    text = "".join(page.read_text() for page in tables.pages())
    for name in tables.TABLES:
        assert text.count(f".. generated table: {name}\n") == 1


def test_every_limit_says_what_it_protects_and_what_a_peer_sees() -> None:
    described = limits_by_name()
    assert set(described) == {field.name for field in dataclasses.fields(Limits)}
    assert all(limit.protects and limit.exceeded for limit in described.values())


def test_every_limit_is_in_the_table(tables: ModuleType) -> None:
    lines = list(tables.limits())
    for name in limits_by_name():
        assert lines.count(f"   * - ``limits.{name}``") == 1


def test_an_outdated_table_is_reported_and_updated(
    tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = (ROOT / "docs" / "protocol.rst").read_text()
    page = tmp_path / "protocol.rst"
    page.write_text(original.replace("``slow_consumer``  ", "``slow_reader``    "))
    monkeypatch.setattr(tables, "DOCS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["reference_tables.py"])
    assert tables.main() == 1
    assert 'docs/protocol.rst: the table "close-codes" differs from the code' in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["reference_tables.py", "--write"])
    assert tables.main() == 0
    assert page.read_text() == original


def test_the_command_runs_in_the_folder_of_the_project() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
