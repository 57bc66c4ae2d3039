"""Fixtures of the tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_secret import SECRET


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the demo and the token of the user who runs the tests."""
    monkeypatch.setenv("CALLCENTER_WS_DEMO_DIR", str(tmp_path / "demo"))
    monkeypatch.delenv("CALLCENTER_WS_TOKEN", raising=False)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """The secret of a gateway."""
    file = tmp_path / "jwt.secret"
    file.write_text(SECRET)
    file.chmod(0o600)
    return file
