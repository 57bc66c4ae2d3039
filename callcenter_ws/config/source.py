"""Where the settings of a process come from: what its start was given, read again at each reload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from callcenter_ws.config.load import load
from callcenter_ws.config.settings import Settings


class SettingsSource:
    """The TOML file, the overrides and the environment of a process, as they were at its start.

    Args:
        path: the TOML file; None for no file.
        overrides, environ, demo: as for ``config.load``.
        folder: the current folder at the start, in which relative paths start.

    Attributes:
        copy: the copy of the TOML file that is read in its place; None: the file itself is read.
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
        self._overrides = overrides
        self._environ = environ
        self._demo = demo
        self._folder = folder

    @property
    def file(self) -> Path | None:
        """The TOML file, with its folder; None for no file."""
        return None if self.path is None else self._folder / self.path

    def load(self) -> Settings:
        """Return the settings, complete and checked.

        Raises:
            ConfigError: with all problems.
        """
        return load(
            self.path,
            overrides=self._overrides,
            environ=self._environ,
            demo=self._demo,
            folder=self._folder,
            copy=self.copy,
        )
