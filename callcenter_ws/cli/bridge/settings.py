"""The settings that the actions of ``callcenter-ws bridge`` are about: those of one source of a bridge."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from callcenter_ws.bridge.load import load
from callcenter_ws.bridge.settings import SourceSettings
from callcenter_ws.cli.target import CommandFailed
from callcenter_ws.runtime.setting_problems import ConfigError
from callcenter_ws.runtime.suggestions import did_you_mean


def add_source(command: argparse.ArgumentParser, default: str = "the only one") -> None:
    """Add the options that name a source.

    Args:
        default: which source is meant without its name, for the help text.
    """
    command.add_argument("--config", metavar="FILE", type=Path, required=True, help="the bridge's TOML file")
    text = "override one setting, such as sources.pbx1.tenant=acme"
    command.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help=text)
    text = f"the exchange, by its name in that file (default: {default})"
    command.add_argument("--source", metavar="NAME", help=text)


def source_of(arguments: argparse.Namespace, *, offline: bool = False) -> SourceSettings:
    """Return the settings of the source that was named.

    Args:
        offline: it is not connected to: its address and its secret may be missing.

    Raises:
        CommandFailed: the settings cannot be used, or have no such source.
    """
    sources = _load(arguments, offline=offline)
    if arguments.source is not None:
        return _named(arguments, sources)
    if len(sources) != 1:
        names = ", ".join(source.name for source in sources)
        raise CommandFailed(f"{arguments.config} has several sources: use --source NAME ({names})")
    return sources[0]


def sources_of(arguments: argparse.Namespace) -> Sequence[SourceSettings]:
    """Return the settings of the source that was named, or of all.

    Raises:
        CommandFailed: the settings cannot be used, or have no such source.
    """
    sources = _load(arguments, offline=False)
    return sources if arguments.source is None else (_named(arguments, sources),)


def _load(arguments: argparse.Namespace, *, offline: bool) -> Sequence[SourceSettings]:
    try:
        return load(arguments.config, overrides=arguments.set, environ=os.environ, offline=offline).sources
    except ConfigError as error:
        raise CommandFailed(str(error)) from None


def _named(arguments: argparse.Namespace, sources: Sequence[SourceSettings]) -> SourceSettings:
    for source in sources:
        if source.name == arguments.source:
            return source
    names = [source.name for source in sources]
    hint = did_you_mean(arguments.source, names) or f"; it has {', '.join(names)}"
    raise CommandFailed(f"{arguments.config} has no source {arguments.source!r}{hint}")
