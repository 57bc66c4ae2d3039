"""``callcenter-ws bridge record``: records what an exchange sends, with names and numbers replaced."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

from callcenter_ws.bridge.asterisk.anonymize import Anonymizer, split_messages
from callcenter_ws.bridge.asterisk.anonymous_settings import SeenNames
from callcenter_ws.cli.arguments import Commands, add_command, positive
from callcenter_ws.cli.bridge.captures import beside
from callcenter_ws.cli.bridge.live import ID_PREFIX, follow
from callcenter_ws.cli.bridge.settings import add_source, source_of
from callcenter_ws.cli.in_reactor import run_in_reactor
from callcenter_ws.cli.target import CommandFailed

_MAX_MESSAGE_BYTES = 16_777_216


def add(actions: Commands) -> None:
    """Add the action."""
    text = "record what an exchange sends, with names, numbers and addresses replaced, fit to send to others"
    example = "callcenter-ws bridge record monday.txt --config bridge.toml --source pbx1 --seconds 3600"
    command = add_command(actions, "record", record, text, example)
    add_source(command)
    text = "end after this time (default: with Ctrl-C)"
    command.add_argument("--seconds", metavar="SECONDS", type=positive, help=text)
    text = "new file NAME.txt for what it sends; NAME.times, NAME.sent and NAME.toml are made beside it"
    command.add_argument("file", metavar="FILE", type=Path, help=text)


def record(arguments: argparse.Namespace) -> int:
    """Record until the time is over, the exchange ends the session, or Ctrl-C."""
    source = source_of(arguments)
    seen = SeenNames(source)
    anonymizer = Anonymizer(ID_PREFIX)
    why = ""
    with ExitStack() as stack:
        paths = [arguments.file, *(beside(arguments.file, suffix) for suffix in (".times", ".sent", ".toml"))]
        files = _new_files(paths, stack)
        recorder = Recorder(anonymizer, *files[:3])
        try:
            with suppress(KeyboardInterrupt):
                why = run_in_reactor(lambda reactor: follow(reactor, source, seen, recorder, arguments.seconds))
        except CommandFailed:
            for path in paths:
                path.unlink()
            raise
        files[3].write("".join(f"{line}\n" for line in seen.lines(anonymizer)).encode())
    if why and arguments.seconds is None:
        print(f"The session has ended: {why}")
    print(f"{recorder.messages} messages are in {arguments.file}. Look at them before you send them to others; then:")
    print(f"  callcenter-ws bridge replay --config {paths[3]} --check {arguments.file}")
    return 0


class Recorder:
    """Writes the files of a capture, message by message.

    Attributes:
        messages: the number of messages so far.
    """

    def __init__(self, anonymizer: Anonymizer, content: BinaryIO, times: BinaryIO, sent: BinaryIO) -> None:
        self._anonymizer = anonymizer
        self._content = content
        self._times = times
        self._sent = sent
        self._rest = b""
        self._offset = 0
        self._has_banner = False
        self.messages = 0

    def received(self, data: bytes, now: float) -> None:
        """Write the messages that are complete now."""
        messages, self._rest = split_messages(self._rest + data)
        if len(self._rest) > _MAX_MESSAGE_BYTES:
            raise CommandFailed("a message of the exchange does not end")
        text = b"".join(self._anonymized(message) for message in messages)
        if text:
            self._times.write(f"{now:.6f}\t{self._offset}\n".encode())
            self._content.write(text)
            self._offset += len(text)

    def sent(self, data: bytes) -> None:
        """Write what was sent, without proofs and names."""
        self._sent.write(self._anonymizer.sent(data))

    def passed(self, now: float) -> None:
        """Write what has been recorded to the disk."""
        for file in (self._content, self._times, self._sent):
            file.flush()

    def _anonymized(self, message: bytes) -> bytes:
        if not message.strip():
            return b""
        text = self._anonymizer.received(message.lstrip(b"\n"))
        if not self._has_banner and text.startswith(b"Asterisk Call Manager/"):
            self._has_banner = True
            return text + b"\r\n"
        self.messages += 1
        return text + b"\r\n\r\n"


def _new_files(paths: Sequence[Path], stack: ExitStack) -> list[BinaryIO]:
    """Make the files, which only this user may read."""
    files: list[BinaryIO] = []
    for path in paths:
        try:
            files.append(stack.enter_context(open(path, "xb", opener=_private)))  # noqa: SIM115 - the stack closes it
        except OSError as error:
            for made in paths[: len(files)]:
                made.unlink()
            exists = isinstance(error, FileExistsError)
            raise CommandFailed(
                f"{path} exists already" if exists else f"cannot make {path}: {error.strerror}"
            ) from None
    return files


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
