"""Reads TOML files, and single TOML values of the command line and the environment."""

from __future__ import annotations

import tomllib
from pathlib import Path


def read_file(path: Path) -> bytes:
    """Return the content of a TOML file; raises ``ValueError`` with the reason if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read the file: {error.strerror}") from None


def parse_toml(content: bytes) -> dict[str, object]:
    """Return the tables of a TOML file.

    Raises:
        ValueError: with the reason; it is not TOML.
    """
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start})") from None
    except RecursionError:
        raise ValueError("is not TOML: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"is not TOML: {error}") from None


NOT_TOML = object()
"""Returned by ``toml_value`` for a text that is no TOML value."""


def toml_value(text: str) -> object:
    """Return a text as one TOML value; ``NOT_TOML`` if it is none, as a word without quotes."""
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return NOT_TOML
    return table["value"] if len(table) == 1 else NOT_TOML
