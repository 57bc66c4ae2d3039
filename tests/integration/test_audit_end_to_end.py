"""The audit log of a real gateway: who signed in, and what operators did; after a rotation, too."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from amp_line import call
from page_browser import PageBrowser
from processes import wait_until

from callcenter_ws.auth.passwords import hash_password

PASSWORD = "correct horse"
WRONG = "wrong battery staple"


def test_signing_in_and_operators_are_recorded(tmp_path: Path, start_gateway: Callable[..., Any]) -> None:
    path = tmp_path / "audit.jsonl"
    gateway = start_gateway("", "--set", f"store.url=sqlite:{tmp_path}/events.sqlite", "--set", f"audit.file={path}")

    def operator(command: bytes, **arguments: str) -> None:
        answer = call(gateway.amp_path, command, **{name: text.encode() for name, text in arguments.items()})
        assert b"_answer" in answer, answer

    def lines() -> list[dict[str, Any]]:
        # After a rotation the file is there with the next line.
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait_for(action: str) -> dict[str, Any]:
        wait_until(lambda: any(line["action"] == action for line in lines()), action)
        return next(line for line in lines() if line["action"] == action)

    page = PageBrowser(gateway.port)
    record = hash_password(PASSWORD, log2_n=4)
    anna = {"name": "anna", "tenant_id": "acme", "user_id": "anna", "role": "supervisor", "queues": ["sales"]}
    operator(b"AddUser", user=json.dumps({**anna, "password": record}))
    assert wait_for("user.added").items() >= {"name": "anna", "queues": ["sales"], "by_user_id": "unix"}.items()
    assert page.login("anna", WRONG)[0] == 401
    assert page.login(WRONG, PASSWORD)[0] == 401
    assert page.login("anna", PASSWORD)[0] == 200
    signed_in = wait_for("sign_in.accepted")
    assert signed_in.items() >= {"kind": "person", "name": "anna", "role": "supervisor", "network": "127.0.0.1"}.items()
    refused = [line.get("name") for line in lines() if line["action"] == "sign_in.refused"]
    assert refused == ["anna", None]
    # Rotated without a signal; then the gateway is told to reload as well.
    path.rename(tmp_path / "audit.1")
    gateway.process.send_signal(signal.SIGHUP)
    operator(b"RevokeToken", tenant_id="acme", user_id="bob")
    assert wait_for("token.revoked").items() >= {"tenant_id": "acme", "user_id": "bob", "closed": 0}.items()
    operator(b"DisconnectUser", tenant_id="acme", user_id="bob", reason="stuck page")
    wait_for("user.disconnected")
    operator(b"RemoveUser", name="anna")
    assert wait_for("user.removed")["name"] == "anna"
    everything = path.read_text() + (tmp_path / "audit.1").read_text()
    assert not any(secret in everything for secret in (PASSWORD, WRONG, record, gateway.secret))
    assert path.stat().st_mode & 0o777 == 0o600
