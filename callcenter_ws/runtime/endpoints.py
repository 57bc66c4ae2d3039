"""Endpoint strings, parsed once."""

from __future__ import annotations

import re


def endpoint_arguments(description: str) -> tuple[list[str], dict[str, str]]:
    """The arguments of an endpoint description, unescaped: those without a name, and those with one."""
    parts = re.split(r"(?<!\\):", description)[1:]
    named = [part.partition("=") for part in parts if "=" in part]
    return [_unescaped(part) for part in parts if "=" not in part], {name: _unescaped(text) for name, _, text in named}


def endpoint_options(description: str) -> dict[str, str]:
    """The named arguments of an endpoint description."""
    return endpoint_arguments(description)[1]


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
