"""The secrets of a bridge, read from their files: at the start, and again at each reload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from callcenter_ws.bridge.settings import BridgeSettings
from callcenter_ws.runtime.secret_files import read_secret
from callcenter_ws.runtime.setting_problems import ConfigError, Problem


@dataclass(frozen=True, slots=True, repr=False)
class BridgeSecrets:
    """The secrets.

    Attributes:
        token: for the gateway; None: none is needed.
        of_sources: those of the exchanges, by the name of the source.
    """

    token: str | None
    of_sources: Mapping[str, str]

    @classmethod
    def read(cls, settings: BridgeSettings) -> BridgeSecrets:
        """Read the files.

        Raises:
            ConfigError: with all problems.
        """
        problems: list[Problem] = []
        found: dict[str, str] = {}
        files = [(f"sources.{source.name}.secret_file", source.secret_file) for source in settings.sources]
        if settings.gateway.token_file is not None:
            files.append(("gateway.token_file", settings.gateway.token_file))
        for key, path in files:
            try:
                found[key] = read_secret(path).decode()
            except ValueError as error:
                # The settings were checked a moment ago: the file has changed since.
                reason = f"{path} is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
                problems.append(Problem("", key, reason))
        if problems:
            raise ConfigError(problems)
        return cls(
            token=found.pop("gateway.token_file", None),
            of_sources={source.name: found[f"sources.{source.name}.secret_file"] for source in settings.sources},
        )
