"""The part of a browser that signs in at the pages of a gateway: its origin and its cookies."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from processes import DEADLINE


class PageBrowser:
    """A page at a gateway of this machine.

    Attributes:
        cookies: its cookies by name.
    """

    def __init__(self, port: int) -> None:
        self.origin = f"http://127.0.0.1:{port}"
        self.cookies: dict[str, str] = {}

    def send(
        self, path: str, body: Any = None, method: str = "POST", headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Send a request as the page does; return its status and its decoded body."""
        data = json.dumps({} if body is None else body).encode() if method == "POST" else None
        request = urllib.request.Request(f"{self.origin}{path}", data=data, method=method, headers=dict(headers or {}))
        request.add_header("Origin", self.origin)
        request.add_header("Content-Type", "application/json")
        if self.cookies:
            request.add_header("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
                status, received, text = answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            status, received, text = error.code, error.headers, error.read()
        if header := received.get("Set-Cookie"):
            name, _, value = header.partition(";")[0].partition("=")
            self.cookies.pop(name, None)
            self.cookies |= {name: value} if value else {}
        return status, json.loads(text) if text else None

    def login(self, name: str, password: str) -> tuple[int, Any]:
        """Sign in with a password."""
        return self.send("/session/login", {"name": name, "password": password})

    def token(self) -> str:
        """Return a token of the session."""
        status, answer = self.send("/session/token")
        assert status == 200, answer
        token: str = answer["token"]
        return token
