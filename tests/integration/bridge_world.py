"""Real bridges and exchanges for tests: ``twistd callcenter-bridge`` and ``exchange_process.py``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from processes import TWISTD, Process, free_port

EXCHANGE = Path(__file__).with_name("exchange_process.py")

USER = "callcenter"
SECRET = "s3cr3t-of-the-exchange"


class Exchange(Process):
    """An Asterisk that does what the test says. It listens from the start unless ``listens`` is False."""

    def __init__(self, *, secret: str = SECRET, listens: bool = True) -> None:
        self.port = free_port()
        super().__init__([sys.executable, str(EXCHANGE), str(self.port), USER, secret])
        if listens:
            self.do("listen")

    def stop(self, number: int = 0) -> int:
        """End it: it ends with its standard input."""
        return self.wait()

    def do(self, method: str, *arguments: Any) -> str:
        """Have the exchange do something; return its answer."""
        self.write(json.dumps([method, *arguments]))
        return self.next_line()

    def add_member(self, device: str, queue: str = "support", name: str = "Alice Adams") -> None:
        """Add a member to a queue."""
        self.do("send_text", member_event("QueueMemberAdded", device, queue, name))

    def remove_member(self, device: str, queue: str = "support", name: str = "Alice Adams") -> None:
        """Remove a member of a queue."""
        self.do("send_text", member_event("QueueMemberRemoved", device, queue, name))


def member_event(event: str, device: str, queue: str, name: str) -> str:
    headers = {
        "Event": event,
        "Privilege": "agent,all",
        "Queue": queue,
        "MemberName": name,
        "Interface": device,
        "StateInterface": device,
        "Membership": "dynamic",
        "Penalty": "0",
        "CallsTaken": "0",
        "LastCall": "0",
        "LastPause": "0",
        "LoginTime": "1795954000",
        "InCall": "0",
        "Status": "1",
        "Paused": "0",
        "PausedReason": "",
        "Ringinuse": "0",
        "Wrapuptime": "0",
    }
    return "\n".join(f"{name}: {value}" for name, value in headers.items())


class Bridge(Process):
    """A bridge. It is stopped by the test."""

    def __init__(self, config: Path, *arguments: str, environment: dict[str, str] | None = None) -> None:
        command = [str(TWISTD), "-n", "--pidfile=", "callcenter-bridge", "--config", str(config), *arguments]
        super().__init__(command, environment)


def source(folder: Path, name: str, port: int, tenant: str = "acme", more: str = "", secret: str = SECRET) -> str:
    """Return the settings of a source; its secret is in a file of its own."""
    file = folder / f"{name}.secret"
    write_secret(file, secret)
    return f"""
        [[sources]]
        name = "{name}"
        kind = "asterisk"
        endpoint = "tcp:127.0.0.1:{port}"
        username = "{USER}"
        secret_file = "{file}"
        tenant = "{tenant}"
        agent_pattern = "PJSIP/(?P<user_id>[0-9]+)"
        {more}
    """


def write_config(folder: Path, amp: Path, *sources: str, more: str = "") -> Path:
    """Write the settings of a bridge; return their file."""
    config = folder / "bridge.toml"
    config.write_text(f'[gateway]\nendpoint = "unix:path={amp}"\nspool = "spool"\n{more}\n' + "\n".join(sources))
    return config


def write_secret(file: Path, secret: str) -> None:
    file.touch(0o600)
    file.write_text(secret + "\n")
