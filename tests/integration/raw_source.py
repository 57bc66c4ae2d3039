"""A source that takes commands, without Twisted: AMP boxes over a unix socket, as any daemon may write them."""

from __future__ import annotations

import json
import secrets
import socket
from collections import deque
from pathlib import Path
from typing import Any

from processes import DEADLINE

Box = dict[bytes, bytes]


class RawSource:
    """One connection of a source.

    Attributes:
        instance: names the process; the same one may connect again.
        calls: the calls of the gateway that were read and not returned yet.
    """

    def __init__(self, path: Path, name: str = "pbx1") -> None:
        self.name = name
        self.instance = secrets.token_hex(4)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(str(path))
        self.stream = self.socket.makefile("rb")
        self.calls: deque[Box] = deque()
        self._answers: dict[bytes, Box] = {}
        self._asked = 0
        self._seq = 0

    def hello(self, *capabilities: str, tenants: tuple[str, ...] = ("acme",), **options: str) -> Box:
        """Say ``Hello`` with these commands as capabilities."""
        return self.call(
            "Hello",
            source=self.name,
            kind="test",
            instance=self.instance,
            tenants=list(tenants),
            capabilities=list(capabilities),
            **options,
        )

    def subscribe(self) -> Box:
        return self.call("Subscribe", kinds=["command"])

    def publish(self, type_: str, payload: dict[str, Any], *, tenant_id: str = "acme", numbered: bool = True) -> Box:
        numbers = {"source_seq": self.next_seq()} if numbered else {}
        return self.call("PublishEvent", tenant_id=tenant_id, type=type_, payload=payload, **numbers)

    def next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def send(self, command: str, **arguments: Any) -> bytes:
        """Call a command without waiting for the answer; return what ``answer`` is to be asked for."""
        self._asked += 1
        ask = b"%d" % self._asked
        box = {b"_ask": ask, b"_command": command.encode()}
        for name, value in arguments.items():
            if value is not None:
                text = value if isinstance(value, str | bytes) else json.dumps(value)
                box[name.encode()] = text if isinstance(text, bytes) else text.encode()
        self._write(box)
        return ask

    def call(self, command: str, **arguments: Any) -> Box:
        return self.answer(self.send(command, **arguments))

    def answer(self, ask: bytes) -> Box:
        """Return the answer to a call; calls of the gateway that come before are kept."""
        while ask not in self._answers:
            self._read()
        return self._answers.pop(ask)

    def command(self, *, take: bool = True) -> dict[str, Any]:
        """Return the next ``Command``, answered unless it is not to be taken; its ``ask`` is among its fields."""
        while not self.calls:
            self._read()
        box = self.calls.popleft()
        assert box[b"_command"] == b"Command"
        fields: dict[str, Any] = {
            key.decode(): value.decode() for key, value in box.items() if not key.startswith(b"_")
        }
        fields["payload"] = json.loads(fields["payload"])
        fields["ask"] = box[b"_ask"]
        if take:
            self._write({b"_answer": box[b"_ask"]})
        return fields

    def refuse(self, command: dict[str, Any], code: str, text: str = "no") -> None:
        self._write({b"_error": command["ask"], b"_error_code": code.encode(), b"_error_description": text.encode()})

    def take(self, command: dict[str, Any]) -> None:
        self._write({b"_answer": command["ask"]})

    def tell(self, command: dict[str, Any], state: str = "done", *, numbered: bool = True, **fields: Any) -> Box:
        """Tell the outcome of a command."""
        key = {name: command[name] for name in ("tenant_id", "user_id", "command_id")}
        number = fields.pop("source_seq", self.next_seq() if numbered else None)
        return self.call("CommandOutcome", **key, state=state, source_seq=number, **fields)

    def has_command(self) -> bool:
        """Return whether a command has arrived; by the answer to a ``Ping``, what was sent before it is here."""
        self.call("Ping")
        return bool(self.calls)

    def close(self) -> None:
        self.stream.close()
        self.socket.close()

    def _write(self, box: Box) -> None:
        packed = b"".join(len(text).to_bytes(2, "big") + text for pair in box.items() for text in pair)
        self.socket.sendall(packed + b"\0\0")

    def _read(self) -> None:
        box = dict(iter(lambda: (key := self._text(), self._text() if key else b""), (b"", b"")))
        assert box, "the gateway has closed the connection"
        if b"_command" in box:
            self.calls.append(box)
        else:
            self._answers[box.get(b"_answer") or box[b"_error"]] = box

    def _text(self) -> bytes:
        return self.stream.read(int.from_bytes(self.stream.read(2), "big"))
