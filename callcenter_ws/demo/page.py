"""The page at ``GET /`` and what it loads: three files and a token.

The page is a plain WebSocket client. Its Content-Security-Policy lets it load nothing that does not come
from here, and run nothing that is not in ``page.js``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib.resources import files
from typing import Any

from twisted.web.server import Request

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.http.answers import Answer, JsonNotFound, JsonResource, json_answer

_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_CONTENT_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
_LOADED = ("page.js", "page.css", "icon.svg")
_FROM_THE_PAGE = (None, b"same-origin", b"none")


class PageFile(JsonResource):
    """One file of the page, read once."""

    def __init__(self, name: str) -> None:
        super().__init__(get=self._serve_file)
        content_type = _CONTENT_TYPES[name.rpartition(".")[2]]
        body = files("callcenter_ws.demo").joinpath("page", name).read_bytes()
        self._file = Answer(body, headers={**_HEADERS, "Content-Type": content_type})

    async def _serve_file(self, request: Request) -> Answer:
        return self._file


class TokenResource(JsonResource):
    """``GET /demo/token?role=supervisor``: a fresh token, for whoever can reach the demo.

    Args:
        tokens: mints a token for a role; raises Refusal for a role that the demo does not have.
        hosts: what the ``Host`` of a request may be. Any other is a name that somebody has made to point here, so
            that the browser takes a page of theirs for ours (DNS rebinding).
    """

    def __init__(self, tokens: Callable[[str], str], hosts: Collection[str]) -> None:
        super().__init__(get=self._serve_token)
        self._tokens = tokens
        self._hosts = hosts

    async def _serve_token(self, request: Request) -> Answer:
        # Browsers say so when another site's page asks (Fetch Metadata); curl and the like say nothing.
        if request.getHeader(b"Sec-Fetch-Site") not in _FROM_THE_PAGE:
            raise Refusal(ErrorCode.FORBIDDEN, "tokens of the demo are for its own page")
        host = (request.getHeader(b"Host") or b"").decode("latin-1").lower()
        if host not in self._hosts:
            raise Refusal(ErrorCode.FORBIDDEN, "tokens of the demo are handed out at the addresses it announced")
        asked = (request.args or {}).get(b"role", [])
        if len(asked) != 1:
            raise Refusal(ErrorCode.INVALID_MESSAGE, "role: expected exactly once, as ?role=supervisor")
        return json_answer({"token": self._tokens(asked[0].decode("ascii", "replace"))})


def demo_page(tokens: Callable[[str], str] | None, hosts: Collection[str] = ()) -> dict[bytes, JsonResource]:
    """Return the resources of the page by their path segment, for ``putChild`` on the root of the site.

    ``b""`` is the page itself; ``b"demo"`` holds what it loads, and ``token``.

    Args:
        tokens: mints a token for a role; raises Refusal for a role that the demo does not have. None: the page
            hands out no tokens, whoever opens it brings one (``/#token=…``).
        hosts: the hosts, with their ports, at which tokens are handed out.
    """
    loaded: Any = JsonNotFound()  # Any: mypy cannot see that a Resource is an IResource
    for name in _LOADED:
        loaded.putChild(name.encode(), PageFile(name))
    if tokens is not None:
        loaded.putChild(b"token", TokenResource(tokens, hosts))
    return {b"": PageFile("index.html"), b"demo": loaded}
