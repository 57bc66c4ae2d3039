"""The generated files of the browser client are those that its generator makes from the code."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

import callcenter_ws

CLIENT = Path(__file__).parent.parent.parent / "clients/js"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("client_generator", CLIENT / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_files_are_those_of_the_generator(generator: ModuleType) -> None:
    differing = [path.name for path, text in generator.generated().items() if path.read_text() != text]
    assert differing == [], "run: python clients/js/generate.py --write"


def test_the_package_has_the_version_of_the_gateway_and_depends_on_nothing() -> None:
    package = json.loads((CLIENT / "package.json").read_text())
    assert package["version"] == callcenter_ws.__version__
    assert not package.keys() & {"dependencies", "peerDependencies", "optionalDependencies"}
    assert json.loads((CLIENT / "package-lock.json").read_text())["version"] == package["version"]
