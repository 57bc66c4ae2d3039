"""The client of the control socket, for the command line."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from pathlib import Path

from callcenter_ws.control.messages import MAX_ANSWER_BYTES, Answer, Request, decode_answer, encode
from callcenter_ws.control.socket_file import Folder


class NoGateway(Exception):
    """No gateway listens at the socket; the text gives the reason."""


class NoAnswer(Exception):
    """The gateway cannot be asked, or does not answer; the text gives the reason."""


def ask(path: Path, request: Request, timeout: float) -> Answer:
    """Send a request to a gateway and return its answer.

    Raises:
        NoGateway: no gateway listens there.
        NoAnswer: this user may not ask it, or no answer has come in time.
    """
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(timeout)
        try:
            with Folder(path.parent) as folder:
                peer.connect(folder.address(path.name))
        except FileNotFoundError:
            raise NoGateway(f"no gateway runs there: there is no socket {path}") from None
        except ConnectionRefusedError:
            raise NoGateway(f"no gateway runs there: the one that made {path} has ended") from None
        except PermissionError:
            raise NoAnswer(f"only the user of the gateway and root may use {path}") from None
        except OSError as error:
            raise NoAnswer(f"cannot connect to {path}: {error.strerror or 'it accepts no connection'}") from None
        try:
            return decode_answer(_exchange(peer, encode(request), deadline))
        except TimeoutError:
            raise NoAnswer(f"no answer from {path} within {timeout:g} s") from None
        except OSError as error:
            raise NoAnswer(f"no answer from {path}: {error.strerror}") from None
        except ValueError:
            raise NoAnswer(f"no answer from {path} that this version of callcenter-ws knows") from None


def _exchange(peer: socket.socket, request: bytes, deadline: float) -> bytes:
    # A gateway that refuses the connection answers at once, and reads nothing.
    with suppress(BrokenPipeError):
        peer.sendall(request)
    received = bytearray()
    while not received.endswith(b"\n") and len(received) <= MAX_ANSWER_BYTES:
        peer.settimeout(max(0.001, deadline - time.monotonic()))
        data = peer.recv(65_536)
        if not data:
            break
        received += data
    return bytes(received)
