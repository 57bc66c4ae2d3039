"""Where the settings of a process come from: what its start was given, read again at each reload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from callcenter_ws.config.load import load
from callcenter_ws.config.settings import Settings
from callcenter_ws.runtime.setting_problems import ConfigError, Problem
from callcenter_ws.runtime.toml import read_file


class SettingsSource:
    """The TOML file, the overrides and the environment of a process, as they were at its start.

    Args:
        path: the TOML file; None for no file.
        overrides, environ, demo: as for ``config.load``.
        folder: the current folder at the start, in which relative paths start.

    Attributes:
        copy: the copy of the TOML file that is read in its place; None: the file itself is read.
        pinned: further overrides, of what must stay as it is in the other processes of a node.
    """

    def __init__(
        self,
        path: Path | None,
        overrides: Sequence[str],
        environ: Mapping[str, str],
        *,
        demo: bool,
        folder: Path,
    ) -> None:
        self.path = path
        self.copy: Path | None = None
        self.pinned: Sequence[str] = ()
        self._overrides = overrides
        self._environ = environ
        self._demo = demo
        self._folder = folder

    @property
    def folder(self) -> Path:
        """The folder of the TOML file; without one, the current folder at the start."""
        return self._folder if self.path is None else (self._folder / self.path).parent

    def read(self) -> bytes | None:
        """Return the content of the TOML file or of its copy; None without a file.

        Raises:
            ConfigError: it cannot be read.
        """
        if self.path is None:
            return None
        try:
            return read_file(self.copy or self._folder / self.path)
        except ValueError as error:
            raise ConfigError([Problem(str(self.path), "", str(error))]) from None

    def load(self, content: bytes | None = None) -> Settings:
        """Return the settings, complete and checked.

        Args:
            content: the content of the TOML file; None: it is read.

        Raises:
            ConfigError: with all problems.
        """
        if content is None and self.copy is not None:
            content = self.read()
        return load(
            self.path,
            overrides=[*self._overrides, *self.pinned],
            environ=self._environ,
            demo=self._demo,
            folder=self._folder,
            content=content,
        )
