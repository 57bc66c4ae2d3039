"""The libraries of others are those that ``vendor.toml`` lists, each with its licence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from callcenter_ws.pages.vendor import FOLDER, VendorProblem, check_integrity, packages, problems


def test_the_files_are_those_that_were_fetched() -> None:
    assert list(problems(packages(), FOLDER)) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda folder: (folder / "uplot/uPlot.esm.js").write_text("x"), "uplot/uPlot.esm.js: is not the file that"),
        (lambda folder: (folder / "uplot/LICENSE").unlink(), "uplot/LICENSE: is missing"),
        (lambda folder: (folder / "more.js").write_text("x"), "more.js: is not in vendor.toml"),
        (lambda folder: (folder / "SHA256SUMS").write_text(""), "font/LICENSE: is not in SHA256SUMS"),
    ],
)
def test_another_file_is_found(change: Callable[[Path], object], problem: str, tmp_path: Path) -> None:
    folder = tmp_path / "vendor"
    shutil.copytree(FOLDER, folder)
    change(folder)
    assert next(problems(packages(), folder)).startswith(problem)


def test_a_library_without_its_licence_is_found() -> None:
    listed = [one._replace(files={"a/b.js": "b.js"}) for one in packages()[:1]]
    assert "lit-html: has no LICENSE" in list(problems(listed, FOLDER))


def test_another_archive_is_refused() -> None:
    package = packages()[0]._replace(integrity="sha512-eA==")
    with pytest.raises(VendorProblem, match="lit-html 3"):
        check_integrity(package, b"x")
