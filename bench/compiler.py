"""Compiles the loader with the system's C compiler and the libraries that are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from bench.failure import Unavailable

_HERE = Path(__file__).parent


class Library(NamedTuple):
    """An optional library of the loader.

    Attributes:
        package: the Debian package of its headers.
    """

    header: str
    macro: str
    links: tuple[str, ...]
    package: str


TLS = Library("openssl/ssl.h", "WITH_TLS", ("-lssl", "-lcrypto"), "libssl-dev")
ZLIB = Library("zlib.h", "WITH_ZLIB", ("-lz",), "zlib1g-dev")


class Compiler:
    """The compiler ``cc``.

    Raises:
        Unavailable: if it is not installed.
    """

    def __init__(self) -> None:
        found = shutil.which("cc")
        if found is None:
            raise Unavailable("cc is not installed, which compiles the WebSocket clients; bench/setup installs it")
        self._command = found

    def has(self, library: Library) -> bool:
        """Return whether the library's headers are installed."""
        source = f"#include <{library.header}>\n".encode()
        check = [self._command, "-fsyntax-only", "-x", "c", "-"]
        return not subprocess.run(check, input=source, stderr=subprocess.DEVNULL, check=False).returncode  # noqa: S603 - the system's compiler

    def build_loader(self, program: Path, libraries: tuple[Library, ...]) -> None:
        """Compile the loader with these libraries into ``program``."""
        sources = sorted(str(file) for file in _HERE.glob("loader*.c"))
        macros = [f"-D{library.macro}" for library in libraries]
        links = [link for library in libraries for link in library.links]
        build = [self._command, "-O2", "-Wall", "-Wextra", *macros, "-o", str(program), *sources, *links]
        subprocess.run(build, check=True)  # noqa: S603 - the system's compiler, files of this package
