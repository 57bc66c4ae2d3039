"""Fetches and checks the libraries of others that the pages load; ``vendor.toml`` lists them.

Run ``python -m callcenter_ws.pages.vendor --check`` without a network, or after a change of ``vendor.toml``
``--write``, which needs npm. Only ``--write`` writes; it refuses what has another digest than ``vendor.toml`` says.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_HERE = Path(__file__).parent
LIST = _HERE / "vendor.toml"
FOLDER = _HERE / "static" / "vendor"
SUMS = "SHA256SUMS"
"""The name of the file with the digests, in the format of sha256sum."""

_NPM_TIMEOUT_SECONDS = 300


class Package(NamedTuple):
    """One library.

    Attributes:
        integrity: ``sha512-`` and the base64 of the digest of its archive, as the registry states it.
        files: by the path in the folder, the path in the archive.
    """

    name: str
    version: str
    license: str
    integrity: str
    files: dict[str, str]


class VendorProblem(Exception):
    """A library cannot be fetched, or is not the listed one."""


def packages(path: Path = LIST) -> list[Package]:
    """Return the listed libraries."""
    return [Package(**table) for table in tomllib.loads(path.read_text(encoding="utf-8"))["package"]]


def problems(listed: list[Package], folder: Path) -> Iterator[str]:
    """Yield what differs between the list, the digests and the files of a folder."""
    wanted = {path for package in listed for path in package.files}
    sums = folder / SUMS
    digests = dict(_digests(sums.read_text(encoding="utf-8"))) if sums.exists() else {}
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {SUMS}
    for path in sorted(wanted | digests.keys() | found):
        if path not in wanted:
            yield f"{path}: is not in vendor.toml"
        elif path not in found:
            yield f"{path}: is missing"
        elif path not in digests:
            yield f"{path}: is not in {SUMS}"
        elif hashlib.sha256((folder / path).read_bytes()).hexdigest() != digests[path]:
            yield f"{path}: is not the file that was fetched"
    for package in listed:
        if not any(path.endswith("/LICENSE") for path in package.files):
            yield f"{package.name}: has no LICENSE"


def _digests(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        digest, _, path = line.partition("  ")
        yield path, digest


def write(listed: list[Package], folder: Path) -> None:
    """Replace the files of a folder by those of the archives.

    Raises:
        VendorProblem: an archive cannot be fetched, or is not the listed one. Nothing is changed.
    """
    with tempfile.TemporaryDirectory() as temporary:
        new = Path(temporary, "vendor")
        for package in listed:
            archive = _fetch(package, Path(temporary))
            check_integrity(package, archive.read_bytes())
            _extract(package, archive, new)
        paths = sorted(str(path.relative_to(new)) for path in new.rglob("*") if path.is_file())
        lines = [f"{hashlib.sha256((new / path).read_bytes()).hexdigest()}  {path}\n" for path in paths]
        (new / SUMS).write_text("".join(lines), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(new, folder)


def check_integrity(package: Package, archive: bytes) -> None:
    """Check the digest of an archive.

    Raises:
        VendorProblem: it is another one.
    """
    digest = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if digest != package.integrity:
        raise VendorProblem(f"{package.name} {package.version}: the archive has {digest}, not {package.integrity}")


def _fetch(package: Package, folder: Path) -> Path:
    target = folder / package.name.replace("/", "-")
    target.mkdir()
    command = ["npm", "pack", "--silent", f"{package.name}@{package.version}", "--pack-destination", str(target)]
    try:
        subprocess.run(command, check=True, timeout=_NPM_TIMEOUT_SECONDS, cwd=folder, stdout=subprocess.DEVNULL)  # noqa: S603 - a fixed program
    except (OSError, subprocess.SubprocessError) as error:
        raise VendorProblem(f"{package.name} {package.version}: npm pack failed: {error}") from error
    (archive,) = target.iterdir()
    return archive


def _extract(package: Package, archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as contents:
        for path, member in package.files.items():
            try:
                source = contents.extractfile(f"package/{member}")
            except KeyError:
                source = None
            if source is None:
                raise VendorProblem(f"{package.name} {package.version}: has no file {member}")
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read())


def main(arguments: list[str]) -> int:
    """Check or write the files; return the exit status."""
    if arguments not in (["--check"], ["--write"]):
        sys.stderr.write("usage: python -m callcenter_ws.pages.vendor --check | --write\n")
        return 2
    listed = packages()
    if arguments == ["--write"]:
        try:
            write(listed, FOLDER)
        except VendorProblem as error:
            sys.stderr.write(f"{error}\n")
            return 1
    found = list(problems(listed, FOLDER))
    sys.stdout.write("".join(f"{problem}\n" for problem in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
