"""Whether the user of this process can open what the gateway has to: for ``callcenter-ws check-config``."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from callcenter_ws.config.findings import Finding
from callcenter_ws.config.rules import listeners
from callcenter_ws.config.settings import Settings

SOCKET_PATH_BYTES = 107
"""The longest path of a unix socket (``sun_path`` of Linux, without its last zero byte)."""

VIRTUAL_FOLDERS = ("/proc", "/sys")
"""File systems that look writable to an administrator and keep no files."""

PORTS_SETTING = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
"""The file with the lowest port that every user may open."""

PROCESS_STATUS = Path("/proc/self/status")
"""The file with the capabilities of this process."""

_NET_BIND_SERVICE = 1 << 10


def check_access(settings: Settings) -> Iterator[Finding]:
    """Yield the files, folders and sockets that this user cannot use.

    Not a rule of ``config.load``: users who may not run the gateway may read its settings.
    """
    file = settings.store_file
    if file is not None:
        yield from _store_findings(file)
    if (audit := settings.audit.file) is not None:
        yield from _audit_findings(audit)
    for key, endpoint in listeners(settings):
        if endpoint.kind == "unix":
            yield from _socket_findings(key, endpoint.socket_path)


def check_ports(settings: Settings) -> Iterator[Finding]:
    """Yield the ports that only a process with ``CAP_NET_BIND_SERVICE`` can open, if this one has not got it.

    These are warnings: the unit of the gateway may grant what the shell of its user has not got.
    """
    lowest = _lowest_open_port()
    if _may_open_any_port():
        return
    for key, endpoint in listeners(settings):
        if endpoint.kind in ("tcp", "ssl") and 0 < int(endpoint.port) < lowest:
            reason = f"the user {_user()} needs CAP_NET_BIND_SERVICE to open port {endpoint.port}, and lacks it here"
            yield Finding(key, reason)


def check_control_socket(settings: Settings) -> Iterator[Finding]:
    """Yield why this user cannot make the control socket, without which the gateway serves all the same."""
    path = settings.control_socket
    if path is not None:
        # Its path may be longer than the address of a socket: it is reached through its folder.
        yield from _socket_file_findings("control.socket", path)


def _store_findings(file: Path) -> Iterator[Finding]:
    folder = file.absolute().parent
    if any(folder.resolve().is_relative_to(virtual) for virtual in VIRTUAL_FOLDERS):
        yield Finding("store.url", f"the folder {folder} keeps no files")
        return
    yield from _folder_findings("store.url", folder, "SQLite keeps two more files beside the store")
    if os.access(folder, os.X_OK) and file.exists() and not os.access(file, os.R_OK | os.W_OK):
        yield Finding("store.url", f"the user {_user()} cannot read and write {file}")


def _audit_findings(file: Path) -> Iterator[Finding]:
    if not file.exists():
        yield from _folder_findings("audit.file", file.absolute().parent, "the audit log is made there")
    elif not os.access(file, os.R_OK | os.W_OK):
        yield Finding("audit.file", f"the user {_user()} cannot read and write {file}")


def _socket_findings(key: str, path: Path) -> Iterator[Finding]:
    length = len(os.fsencode(path))
    if length > SOCKET_PATH_BYTES:
        yield Finding(key, f"the path {path} has {length} bytes; that of a socket has at most {SOCKET_PATH_BYTES}")
        return
    yield from _socket_file_findings(key, path)


def _socket_file_findings(key: str, path: Path) -> Iterator[Finding]:
    folder = path.absolute().parent
    yield from _folder_findings(key, folder, "the socket is made there")
    if os.access(folder, os.X_OK) and os.path.lexists(path) and not stat.S_ISSOCK(path.lstat().st_mode):
        yield Finding(key, f"{path} exists and is not a socket")


def _folder_findings(key: str, folder: Path, why: str) -> Iterator[Finding]:
    if not folder.is_dir():
        yield Finding(key, f"the folder {folder} does not exist")
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield Finding(key, f"the user {_user()} cannot write to the folder {folder}, and {why}")


def _lowest_open_port() -> int:
    try:
        return int(PORTS_SETTING.read_text())
    except (OSError, ValueError):
        return 1024


def _may_open_any_port() -> bool:
    try:
        lines = PROCESS_STATUS.read_text().splitlines()
    except OSError:
        return os.geteuid() == 0
    effective = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) & _NET_BIND_SERVICE)


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
