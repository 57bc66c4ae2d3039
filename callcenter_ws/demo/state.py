"""The files of the demo: its secret, and the record by which the commands find a running demo.

``callcenter-ws token``, ``emit`` and ``tail`` read them. They are in the state folder of the user who runs the demo,
never in the working tree.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from twisted.internet.endpoints import quoteStringArgument

FOLDER_VARIABLE = "CALLCENTER_WS_DEMO_DIR"
TENANT = "demo"
SIMULATOR = "simulator"
EXCHANGE = "exchange"

_SECRET_BYTES = 48
_RECORD_FILE = "demo.json"
_SOCKET_FILE = "amp.sock"
# sun_path holds 108 bytes on Linux, the terminating zero included (unix(7)).
_SOCKET_PATH_LIMIT = 107


class DemoUnavailable(Exception):
    """The demo's folder cannot be used, or no demo has run yet; the text gives the reason."""


@dataclass(frozen=True, slots=True)
class DemoState:
    """The folder and the addresses of this user's demo.

    Attributes:
        directory: the demo's folder, mode 700.
        amp_socket: the unix socket of the AMP listener.
        url: the URL of the page, such as ``http://127.0.0.1:8080/``.
        tenant: the tenant of all its events.
        sender: what publishes them: ``simulator``, or ``exchange``.
        amp_token_file: None: the mode of the unix socket's folder decides which processes may send.
    """

    directory: Path
    amp_socket: Path
    url: str
    tenant: str = TENANT
    amp_token_file: Path | None = None
    sender: str = SIMULATOR

    @property
    def secret_file(self) -> Path:
        """The development secret: text without a newline, mode 600."""
        return self.directory / "secret"

    @property
    def visitors_secret_file(self) -> Path:
        """The key of the tokens of visitors, whose chats go on when the demo is started again: like ``secret_file``."""
        return self.directory / "visitors.secret"

    @property
    def store_file(self) -> Path:
        """The store of its events. The next start keeps it, unless another sender publishes then."""
        return self.directory / "events.sqlite"

    @property
    def exchange_folder(self) -> Path:
        """The settings and the spool of the bridge of ``--exchange``. Removed at the next start, too."""
        return self.directory / "exchange"

    @property
    def control_socket(self) -> Path:
        """The socket of operators' commands."""
        return self.directory / "control.sock"

    @property
    def amp_endpoint(self) -> str:
        """The Twisted client endpoint description of the AMP listener."""
        return f"unix:path={quoteStringArgument(str(self.amp_socket))}"

    @property
    def amp_listen(self) -> str:
        """The Twisted server endpoint description of the AMP listener."""
        return f"unix:address={quoteStringArgument(str(self.amp_socket))}:mode=660"

    @classmethod
    def prepare(cls, url: str, environ: Mapping[str, str] = os.environ, *, sender: str = SIMULATOR) -> DemoState:
        """Make the folder and the secrets if they are missing.

        The store is kept from one simulator to the next, which says that the former calls have ended: users stay
        signed in, and the calls of today are still found. A bridge to a new exchange could not say that.

        The record is not written yet: a demo that cannot start must not replace the record of a running one.

        Raises:
            DemoUnavailable: the folder cannot be made or written, or belongs to another user; or a demo runs in it.
        """
        directory = _folder(environ)
        try:
            _make_private(directory)
            _check_not_running(directory)
            state = cls(directory, _socket_path(directory), url, sender=sender)
            _create_secret(state.secret_file)
            _create_secret(state.visitors_secret_file)
            if sender != SIMULATOR or _recorded_sender(directory) != SIMULATOR:
                for suffix in ("", "-wal", "-shm"):
                    state.store_file.with_name(state.store_file.name + suffix).unlink(missing_ok=True)
            if state.exchange_folder.exists():
                shutil.rmtree(state.exchange_folder)
        except OSError as error:
            raise DemoUnavailable(_cannot_use(directory, error)) from error
        return state

    def record(self) -> None:
        """Write the record for ``find``. To be called by the process that serves the demo, once it serves.

        Raises:
            DemoUnavailable: the folder cannot be written.
        """
        record = {
            "url": self.url,
            "tenant": self.tenant,
            "amp_socket": str(self.amp_socket),
            "sender": self.sender,
            "pid": os.getpid(),
        }
        try:
            _write_atomically(self.directory / _RECORD_FILE, json.dumps(record, indent=2) + "\n")
        except OSError as error:
            raise DemoUnavailable(_cannot_use(self.directory, error)) from error

    @classmethod
    def find(cls, environ: Mapping[str, str] = os.environ) -> DemoState:
        """Return what the last demo recorded.

        Raises:
            DemoUnavailable: no demo has run yet, or its record cannot be read.
        """
        directory = _folder(environ)
        try:
            record = json.loads((directory / _RECORD_FILE).read_text(encoding="utf-8"))
            amp_socket, url, tenant = Path(record["amp_socket"]), str(record["url"]), str(record["tenant"])
            return cls(directory, amp_socket, url, tenant, sender=str(record.get("sender", SIMULATOR)))
        except FileNotFoundError:
            raise DemoUnavailable(
                f"no demo has run yet: nothing in {directory}. Start one with: twistd -n callcenter-ws --demo\n"
                "For another gateway name its configuration: --config FILE"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise DemoUnavailable(
                f"{directory / _RECORD_FILE} is damaged: remove it and start the demo again"
            ) from error
        except OSError as error:
            raise DemoUnavailable(_cannot_use(directory, error)) from error

    def read_secret(self) -> bytes:
        """Return the development secret.

        Raises:
            DemoUnavailable: the file is missing or cannot be read.
        """
        try:
            return self.secret_file.read_bytes().strip()
        except OSError as error:
            raise DemoUnavailable(f"cannot read the demo's secret {self.secret_file}: start the demo again") from error


def _cannot_use(directory: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"cannot use the demo's folder {directory}: {reason}. Set {FOLDER_VARIABLE} to a folder that can be written"


def _folder(environ: Mapping[str, str]) -> Path:
    chosen = environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).absolute()
    home = environ.get("XDG_STATE_HOME", "")
    # The XDG base directory specification says that a relative path is invalid and must be ignored.
    state_home = Path(home) if home.startswith("/") else Path(environ.get("HOME") or Path.home()) / ".local" / "state"
    return state_home / "callcenter-ws" / "demo"


def _make_private(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)


def _check_not_running(directory: Path) -> None:
    """Raise ``DemoUnavailable`` if the recorded demo still runs; the record of one that has ended is ignored."""
    try:
        record = json.loads((directory / _RECORD_FILE).read_text(encoding="utf-8"))
        url, pid, amp_socket = record["url"], int(record["pid"]), str(record["amp_socket"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    # Another process may have the pid by now; only a demo accepts connections on the socket.
    if _process_exists(pid) and _accepts_connections(amp_socket):
        raise DemoUnavailable(
            f"a demo of yours is already running at {url} (pid {pid}): stop it, or set {FOLDER_VARIABLE} to another "
            "folder and web.listen to another port"
        )


def _recorded_sender(directory: Path) -> str | None:
    """Return what published the events of the last demo; None if that is not known."""
    try:
        return str(json.loads((directory / _RECORD_FILE).read_text(encoding="utf-8"))["sender"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _accepts_connections(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.setblocking(False)
        try:
            peer.connect(path)
        except BlockingIOError:
            return True  # its backlog is full
        except (OSError, ValueError):
            return False
    return True


def _create_secret(path: Path) -> None:
    """Create the secret atomically, so that no process reads a part of it; keep an existing one."""
    if path.exists():
        path.chmod(0o600)
        return
    temporary = _temporary_file(path, secrets.token_urlsafe(_SECRET_BYTES))
    try:
        with suppress(FileExistsError):  # another demo of this user created it meanwhile
            os.link(temporary, path)
    finally:
        temporary.unlink()


def _write_atomically(path: Path, text: str) -> None:
    _temporary_file(path, text).replace(path)


def _temporary_file(path: Path, text: str) -> Path:
    # mkstemp makes the file with mode 600.
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return Path(name)


def _socket_path(directory: Path) -> Path:
    path = directory / _SOCKET_FILE
    if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT:
        return path
    return _recorded_fallback(directory) or Path(tempfile.mkdtemp(prefix="callcenter-ws-")) / _SOCKET_FILE


def _recorded_fallback(directory: Path) -> Path | None:
    """Return the short path that an earlier demo chose, if its folder still exists and only this user can use it."""
    try:
        path = Path(json.loads((directory / _RECORD_FILE).read_text(encoding="utf-8"))["amp_socket"])
        folder = path.parent.lstat()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    private = stat.S_ISDIR(folder.st_mode) and folder.st_uid == os.getuid() and not folder.st_mode & 0o077
    return path if private and len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT else None
