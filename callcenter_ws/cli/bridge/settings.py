"""The settings that the actions of ``callcenter-ws bridge`` are about: those of one source of a bridge."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from callcenter_ws.bridge.load import load
from callcenter_ws.bridge.settings import SourceSettings
from callcenter_ws.cli.target import CommandFailed
from callcenter_ws.runtime.setting_problems import ConfigError
from callcenter_ws.runtime.suggestions import did_you_mean


def add_source(command: argparse.ArgumentParser) -> None:
    """Add the options that name a source."""
    command.add_argument("--config", metavar="FILE", type=Path, required=True, help="the bridge's TOML file")
    text = "override one setting, such as sources.pbx1.tenant=acme"
    command.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help=text)
    text = "the exchange, by its name in that file (default: the only one)"
    command.add_argument("--source", metavar="NAME", help=text)


def source_of(arguments: argparse.Namespace, *, offline: bool = False) -> SourceSettings:
    """Return the settings of the source that was named.

    Args:
        offline: it is not connected to: its address and its secret may be missing.

    Raises:
        CommandFailed: the settings cannot be used, or have no such source.
    """
    try:
        sources = load(arguments.config, overrides=arguments.set, environ=os.environ, offline=offline).sources
    except ConfigError as error:
        raise CommandFailed(str(error)) from None
    names = [source.name for source in sources]
    if arguments.source is None:
        if len(sources) != 1:
            raise CommandFailed(f"{arguments.config} has several sources: use --source NAME ({', '.join(names)})")
        return sources[0]
    for source in sources:
        if source.name == arguments.source:
            return source
    hint = did_you_mean(arguments.source, names) or f"; it has {', '.join(names)}"
    raise CommandFailed(f"{arguments.config} has no source {arguments.source!r}{hint}")
