"""The demo page at ``GET /``, the three files that it loads, and the resource that gives it a token.

The page is a plain WebSocket client. Its Content-Security-Policy permits only files of this origin, and only the script
``page.js``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib.resources import files

from twisted.web.server import Request

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.http.responses import JsonNotFound, JsonResource, Response, json_response

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
_PAGE_FILES = ("page.js", "page.css", "icon.svg")
_ALLOWED_FETCH_SITES = (None, b"same-origin", b"none")


class PageFile(JsonResource):
    """One file of the page, read once."""

    def __init__(self, name: str) -> None:
        super().__init__(get=self._serve_file)
        content_type = _CONTENT_TYPES[name.rpartition(".")[2]]
        body = files("callcenter_ws.demo").joinpath("page", name).read_bytes()
        self._file = Response(body, headers={**_HEADERS, "Content-Type": content_type})

    async def _serve_file(self, request: Request) -> Response:
        return self._file


class TokenResource(JsonResource):
    """``GET /demo/token?role=supervisor``: a new token, for every client that can reach the demo.

    Args:
        tokens: returns a token for a role; raises Refusal for a role that the demo does not have.
        hosts: the accepted ``Host`` headers. Any other name may belong to a site that lets it resolve to this address,
            so that a browser treats the site's page as one of this origin (DNS rebinding).
    """

    def __init__(self, tokens: Callable[[str], str], hosts: Collection[str]) -> None:
        super().__init__(get=self._serve_token)
        self._tokens = tokens
        self._hosts = hosts

    async def _serve_token(self, request: Request) -> Response:
        # Browsers send this header (Fetch Metadata), with another value for pages of other sites; curl sends none.
        if request.getHeader(b"Sec-Fetch-Site") not in _ALLOWED_FETCH_SITES:
            raise Refusal(ErrorCode.FORBIDDEN, "tokens of the demo are for its own page")
        host = (request.getHeader(b"Host") or b"").decode("latin-1").lower()
        if host not in self._hosts:
            raise Refusal(ErrorCode.FORBIDDEN, "tokens of the demo are handed out at the addresses it announced")
        roles = (request.args or {}).get(b"role", [])
        if len(roles) != 1:
            raise Refusal(ErrorCode.INVALID_MESSAGE, "role: expected exactly once, as ?role=supervisor")
        return json_response({"token": self._tokens(roles[0].decode("ascii", "replace"))})


def demo_page(tokens: Callable[[str], str] | None, hosts: Collection[str] = ()) -> dict[bytes, JsonResource]:
    """Return the resources of the page by their path segment, for ``putChild`` on the root of the site.

    ``b""`` is the page itself; ``b"demo"`` holds what it loads, and ``token``.

    Args:
        tokens: returns a token for a role; raises Refusal for a role that the demo does not have. None: the page gets
            no token from the gateway; the URL has to contain one (``/#token=…``).
        hosts: the ``Host`` headers, with ports, for which tokens are returned.
    """
    files_and_token = JsonNotFound()
    for name in _PAGE_FILES:
        files_and_token.putChild(name.encode(), PageFile(name))
    if tokens is not None:
        files_and_token.putChild(b"token", TokenResource(tokens, hosts))
    return {b"": PageFile("index.html"), b"demo": files_and_token}
