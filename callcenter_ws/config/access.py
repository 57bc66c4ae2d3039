"""Whether the user of this process may write where the gateway has to: for ``callcenter-ws check-config``."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from callcenter_ws.config.rules import Finding
from callcenter_ws.config.settings import Settings


def check_access(settings: Settings) -> Iterator[Finding]:
    """Yield the files and folders that this user cannot write to.

    Not a rule of ``config.load``: users who may not run the gateway may read its settings.
    """
    file = settings.store_file
    if file is not None:
        yield from _findings("store.url", file, "SQLite keeps two more files beside the store")
    for key, endpoints in (("web.listen", settings.web.listen), ("amp.listen", settings.amp.listen)):
        for endpoint in endpoints:
            if endpoint.kind == "unix":
                yield from _findings(key, endpoint.socket_path, "the socket is made there", is_socket=True)


def _findings(key: str, path: Path, why: str, *, is_socket: bool = False) -> Iterator[Finding]:
    folder = path.absolute().parent
    if not folder.is_dir():
        yield Finding(key, f"the folder {folder} does not exist")
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield Finding(key, f"the user {_user()} cannot write to the folder {folder}, and {why}")
    elif not is_socket and path.exists() and not os.access(path, os.R_OK | os.W_OK):
        yield Finding(key, f"the user {_user()} cannot read and write {path}")


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
