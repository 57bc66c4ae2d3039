"""Paths of secrets that systemd hands to the gateway: LoadCredential= of systemd.exec(5)."""

from __future__ import annotations

VARIABLE = "CREDENTIALS_DIRECTORY"
"""The variable in which systemd names the folder of a unit's credentials."""

PREFIX = f"${VARIABLE}/"
"""What a path begins with to start in that folder; also within an endpoint."""


def path_of_credential(text: str, folder: str | None) -> str:
    """Return a path with ``PREFIX`` replaced by the folder of the credentials, and any other path unchanged.

    Raises:
        ValueError: the path has the prefix, and there is no folder.
    """
    if not text.startswith(PREFIX):
        return text
    return f"{_required(folder)}/{text.removeprefix(PREFIX)}"


def endpoint_of_credentials(text: str, folder: str | None) -> str:
    """Return an endpoint with ``PREFIX`` replaced where an option begins with it; raises as ``path_of_credential``."""
    if f"={PREFIX}" not in text:
        return text
    escaped = _required(folder).replace("\\", r"\\").replace(":", r"\:")
    return text.replace(f"={PREFIX}", f"={escaped}/")


def _required(folder: str | None) -> str:
    if not folder:
        raise ValueError(
            f"${VARIABLE} is not set, because systemd has not started this process. To run a command as root, set it: "
            f"{VARIABLE}=/run/credentials/callcenter-ws.service while the unit runs, else {VARIABLE}=/etc/credstore"
        )
    return folder
