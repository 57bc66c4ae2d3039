"""DemoState: what the gateway's ``--demo`` leaves behind for the commands that talk to it.

The demo needs a secret that signs its tokens and a place where ``callcenter-ws token``, ``emit`` and ``tail``
find it. Both live in the state folder of the user who runs it, never in the working tree.
"""

from __future__ import annotations

import json
import os
import secrets
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

_SECRET_BYTES = 48
_RECORD = "demo.json"
_SOCKET = "amp.sock"
# sun_path holds 108 bytes on Linux, the terminating zero included (unix(7)).
_SOCKET_PATH_LIMIT = 107


class DemoUnavailable(Exception):
    """The demo's folder cannot be used, or no demo has run yet. The text is for the person at the terminal."""


@dataclass(frozen=True, slots=True)
class DemoState:
    """Where the demo of this user is, and how to reach it.

    Attributes:
        directory: the demo's folder, mode 700.
        amp_socket: the unix socket of its AMP listener; short enough for one.
        url: where the page is, as ``http://127.0.0.1:8080/``.
        tenant: the tenant that everything happens in.
        amp_token_file: None, because the mode of the unix socket's folder decides who may send.
    """

    directory: Path
    amp_socket: Path
    url: str
    tenant: str = TENANT
    amp_token_file: Path | None = None

    @property
    def secret_file(self) -> Path:
        """The development secret: text without a newline, mode 600."""
        return self.directory / "secret"

    @property
    def store_file(self) -> Path:
        """Where its events are kept, as long as it runs: the next demo simulates other calls."""
        return self.directory / "events.sqlite"

    @property
    def amp_endpoint(self) -> str:
        """The Twisted client endpoint string of the AMP listener."""
        return f"unix:path={quoteStringArgument(str(self.amp_socket))}"

    @property
    def amp_listen(self) -> str:
        """The Twisted server endpoint string of the AMP listener."""
        return f"unix:address={quoteStringArgument(str(self.amp_socket))}:mode=660"

    @classmethod
    def prepare(cls, url: str, environ: Mapping[str, str] = os.environ) -> DemoState:
        """Make the folder and the secret where they are missing.

        Nothing is recorded yet, so that a demo that cannot start does not hide one that runs.

        Raises:
            DemoUnavailable: the folder cannot be made or written, or belongs to somebody else; or a demo runs in it.
        """
        directory = _folder(environ)
        try:
            _make_private(directory)
            _refuse_second(directory)
            state = cls(directory, _socket_path(directory), url)
            _create_secret(state.secret_file)
            for suffix in ("", "-wal", "-shm"):
                state.store_file.with_name(state.store_file.name + suffix).unlink(missing_ok=True)
        except OSError as error:
            raise DemoUnavailable(_cannot_use(directory, error)) from error
        return state

    def record(self) -> None:
        """Leave behind where the demo is, for ``find``. To be called by the process that serves it, once it does.

        Raises:
            DemoUnavailable: the folder cannot be written any more.
        """
        record = {"url": self.url, "tenant": self.tenant, "amp_socket": str(self.amp_socket), "pid": os.getpid()}
        try:
            _write_whole(self.directory / _RECORD, json.dumps(record, indent=2) + "\n")
        except OSError as error:
            raise DemoUnavailable(_cannot_use(self.directory, error)) from error

    @classmethod
    def find(cls, environ: Mapping[str, str] = os.environ) -> DemoState:
        """Return what the last demo recorded.

        Raises:
            DemoUnavailable: no demo ran yet, or what it recorded cannot be read.
        """
        directory = _folder(environ)
        try:
            record = json.loads((directory / _RECORD).read_text(encoding="utf-8"))
            return cls(directory, Path(record["amp_socket"]), str(record["url"]), str(record["tenant"]))
        except FileNotFoundError:
            raise DemoUnavailable(
                f"no demo has run yet: nothing in {directory}. Start one with: twistd -n callcenter-ws --demo"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise DemoUnavailable(f"{directory / _RECORD} is damaged: remove it and start the demo again") from error
        except OSError as error:
            raise DemoUnavailable(_cannot_use(directory, error)) from error

    def read_secret(self) -> bytes:
        """Return the development secret.

        Raises:
            DemoUnavailable: it is gone or cannot be read.
        """
        try:
            return self.secret_file.read_bytes().strip()
        except OSError as error:
            raise DemoUnavailable(f"cannot read the demo's secret {self.secret_file}: start the demo again") from error


def _cannot_use(directory: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"cannot use the demo's folder {directory}: {reason}. Set {FOLDER_VARIABLE} to one that can be written"


def _folder(environ: Mapping[str, str]) -> Path:
    chosen = environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).absolute()
    home = environ.get("XDG_STATE_HOME", "")
    # The XDG base directory specification: a relative path is invalid and has to be ignored.
    state_home = Path(home) if home.startswith("/") else Path(environ.get("HOME") or Path.home()) / ".local" / "state"
    return state_home / "callcenter-ws" / "demo"


def _make_private(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)


def _refuse_second(directory: Path) -> None:
    """Raise ``DemoUnavailable`` if the demo that was recorded last runs. What a dead one left behind is no obstacle."""
    try:
        record = json.loads((directory / _RECORD).read_text(encoding="utf-8"))
        url, pid, amp_socket = record["url"], int(record["pid"]), str(record["amp_socket"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    # The number of a process that is gone may be another's by now; a socket that takes connections is a demo's.
    if _lives(pid) and _takes_connections(amp_socket):
        raise DemoUnavailable(
            f"a demo of yours is already running at {url} (pid {pid}): stop it, or set {FOLDER_VARIABLE} to another "
            "folder and web.listen to another port"
        )


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _takes_connections(path: str) -> bool:
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
    """Create the secret in one step, so that nobody ever reads half of one; keep the one that is there."""
    if path.exists():
        path.chmod(0o600)
        return
    draft = _draft(path, secrets.token_urlsafe(_SECRET_BYTES))
    try:
        with suppress(FileExistsError):  # another demo of this user was faster: its secret stands
            os.link(draft, path)
    finally:
        draft.unlink()


def _write_whole(path: Path, text: str) -> None:
    _draft(path, text).replace(path)


def _draft(path: Path, text: str) -> Path:
    # mkstemp makes the file with mode 600.
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as draft:
        draft.write(text)
    return Path(name)


def _socket_path(directory: Path) -> Path:
    path = directory / _SOCKET
    if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT:
        return path
    return _recorded_fallback(directory) or Path(tempfile.mkdtemp(prefix="callcenter-ws-")) / _SOCKET


def _recorded_fallback(directory: Path) -> Path | None:
    """The short path that an earlier demo chose, if its folder is still there and still ours alone."""
    try:
        path = Path(json.loads((directory / _RECORD).read_text(encoding="utf-8"))["amp_socket"])
        folder = path.parent.lstat()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    private = stat.S_ISDIR(folder.st_mode) and folder.st_uid == os.getuid() and not folder.st_mode & 0o077
    return path if private and len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT else None
