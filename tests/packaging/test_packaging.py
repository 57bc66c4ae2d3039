"""Installations contain the plugin, the pages and the types, and twistd finds the plugin from any folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from urllib.parse import urljoin

import pytest
from processes import Demo, free_port

import callcenter_ws

ROOT = Path(__file__).parent.parent.parent
PLUGINS = {"twisted/plugins/callcenter_ws_plugin.py", "twisted/plugins/callcenter_bridge_plugin.py"}
REQUIRED = {
    *PLUGINS,
    "callcenter_ws/py.typed",
    "callcenter_ws/demo/shift.txt.xz",
    "callcenter_ws/pages/vendor.toml",
}
IGNORED = (
    ".git",
    ".venv*",
    ".*_cache",
    ".hypothesis",
    "__pycache__",
    "*.egg-info",
    "_build",
    "dropin.cache",
    "node_modules",
)
IGNORED_IN_ROOT = ("build", "dist")
TIMEOUT_SECONDS = 600

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command without environment variables that refer to this checkout; return its output."""
    excluded = ("PYTHON", "COVERAGE", "PYTEST", "CALLCENTER_WS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(excluded)}
    outcome = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout
    return outcome.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, in a folder with a space in its name."""
    copy = tmp_path_factory.mktemp("a clone") / "callcenter ws"

    def ignored(folder: str, names: list[str]) -> set[str]:
        patterns = (*IGNORED, *IGNORED_IN_ROOT) if Path(folder) == ROOT else IGNORED
        return shutil.ignore_patterns(*patterns)(folder, names)

    shutil.copytree(ROOT, copy, ignore=ignored)
    return copy


@pytest.fixture(scope="module")
def distributions(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that was built from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, source, cwd=folder)
    (sdist,) = folder.glob("*.tar.gz")
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A new virtual environment."""
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=True)
    return folder


def files_below(source: Path, folder: str) -> set[str]:
    """Return the paths of the files in a folder of the project."""
    files = {str(path.relative_to(source)) for path in (source / folder).rglob("*") if path.is_file()}
    assert files
    return files


def test_the_sdist_contains_the_files_for_building_and_testing(distributions: tuple[Path, Path], source: Path) -> None:
    with tarfile.open(distributions[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    also = {
        "setup.py",
        "LICENSE",
        "README.rst",
        "etc/callcenter-ws.toml",
        "etc/bridge.toml",
        "tests/packaging/test_packaging.py",
    }
    assert names >= REQUIRED | also
    for folder in ("callcenter_ws/pages/static", "clients", "examples"):
        assert files_below(source, folder) - names == set()
    assert "twisted/__init__.py" not in names


def test_the_wheel_adds_only_the_plugins_to_twisted(distributions: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(distributions[1]) as archive:
        names = set(archive.namelist())
    assert names >= REQUIRED
    assert {name for name in names if name.startswith("twisted/")} == PLUGINS
    tops = {name.split("/")[0] for name in names}
    assert tops == {"callcenter_ws", "twisted", f"callcenter_ws-{callcenter_ws.__version__}.dist-info"}


def test_every_module_is_in_the_wheel(distributions: tuple[Path, Path], source: Path) -> None:
    with zipfile.ZipFile(distributions[1]) as archive:
        names = set(archive.namelist())
    modules = {str(path.relative_to(source)) for path in (source / "callcenter_ws").rglob("*.py")}
    assert modules - names == set()


def test_every_file_of_the_pages_is_in_the_wheel(distributions: tuple[Path, Path], source: Path) -> None:
    with zipfile.ZipFile(distributions[1]) as archive:
        names = set(archive.namelist())
    assert files_below(source, "callcenter_ws/pages/static") - names == set()


def assert_commands_work(environment: Path, elsewhere: Path) -> None:
    """Assert that both commands work in a folder outside the project."""
    elsewhere.mkdir()
    bin_ = environment / "bin"
    assert "callcenter-ws" in run(bin_ / "twistd", "--help", cwd=elsewhere)
    options = run(bin_ / "twistd", "callcenter-ws", "--help", cwd=elsewhere)
    assert "--config" in options
    assert "--demo" in options
    assert "--config" in run(bin_ / "twistd", "callcenter-bridge", "--help", cwd=elsewhere)
    assert callcenter_ws.__version__ in run(bin_ / "callcenter-ws", "version", cwd=elsewhere)
    twisted_file = run(bin_ / "python", "-c", "import twisted; print(twisted.__file__)", cwd=elsewhere)
    assert twisted_file.strip().startswith(str(environment)), "the project's twisted folder shadows Twisted"


def assert_pages_are_served(demo: Demo) -> None:
    """Assert that all that the pages load, directly or not, is served."""
    found = {"/", "/login", "/desk", "/wallboard", "/live", "/client/callcenter-ws-client.js"}
    unread = set(found)
    while unread:
        path = unread.pop()
        headers, body = demo.get(path)
        # The build is that of the page itself: browsers may keep the file.
        assert ("/pages/" in path) == ("immutable" in headers["Cache-Control"]), path
        if not headers["Content-Type"].startswith(("text/html", "text/css", "text/javascript")):
            continue
        named = re.findall(rb'(?:src|href)="([^"]+)"|url\("?([^")]+)|(?:from|import) ?\(?"(\.[^"]+)"', body)
        new = {urljoin(path, next(filter(None, names)).decode()) for names in named} - found
        unread |= new
        found |= new
    assert {path.rpartition("/")[2] for path in found} >= {"board.js", "lit-html.js", "client.js", "session.js"}
    assert sum(path.endswith(".woff2") for path in found) == 4


def test_the_installed_wheel_runs(
    distributions: tuple[Path, Path], source: Path, environment: Path, tmp_path: Path
) -> None:
    run(environment / "bin" / "python", "-m", "pip", "install", "--quiet", distributions[1], cwd=tmp_path)
    assert_commands_work(environment, tmp_path / "elsewhere")
    demo = Demo(tmp_path / "demo", free_port(), twistd=environment / "bin" / "twistd")
    try:
        assert_pages_are_served(demo)
        client = demo.get("/client/callcenter-ws-client.js")[1]
        assert client == (source / "clients/js/dist/callcenter-ws-client.js").read_bytes()
    finally:
        demo.stop()
    assert "Traceback" not in demo.output, demo.output


def test_an_editable_install_runs(source: Path, environment: Path, tmp_path: Path) -> None:
    run(environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--editable", source, cwd=tmp_path)
    assert_commands_work(environment, tmp_path / "elsewhere")
