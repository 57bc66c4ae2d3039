"""Cross-origin requests (https://fetch.spec.whatwg.org/#http-cors-protocol) to the resources that a desk asks.

The pages of ``web.allowed_origins`` may read the responses, errors included. They authenticate by ``Authorization``:
credentials of the browser are never allowed. The files of the browser client, which are public, and the refusals at the
addresses of WebSockets are open to every origin: so the client is loaded, and can say that the origin of the page is
not listed, which browsers hide. So are the responses about chat widgets: a page of an origin that is not listed gets a
refusal.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.runtime.web_origin import OriginList, shown_origin

PREFLIGHT_SECONDS = 600
"""Time for which a browser may use the answer to a preflight request."""

_PATHS = (b"/ws/", b"/schemas")
_PUBLIC_FILES = (b"/client/", b"/widget.js")
_WEBSOCKETS = (b"/ws", b"/ws/", b"/ws/public", b"/ws/public/")
_PUBLIC_WIDGET = b"/ws/public/widget"
_NO_PATHS = (b"/ws/public",)
_VARY = {"Vary": "Origin"}
_ALLOWED_HEADERS = "Authorization, Content-Type, If-None-Match"
_EXPOSED_HEADERS = "ETag, Retry-After, WWW-Authenticate"


class CorsPolicy:
    """Decides which pages may read responses.

    Attributes:
        origins: the origins of these pages; may be replaced.
    """

    def __init__(self, origins: OriginList) -> None:
        self.origins = origins

    def covers(self, path: bytes) -> bool:
        """Return whether pages of other sites may read the responses to requests for ``path`` at all."""
        return path.startswith(_PATHS) and not path.startswith(_NO_PATHS)

    def headers(self, path: bytes, origin: str | None) -> Mapping[str, str]:
        """Return the headers of every response to a request for ``path``, whatever its status.

        Args:
            origin: the value of ``Origin``; None if there is none.
        """
        if path.startswith(_PUBLIC_FILES) or path in _WEBSOCKETS or path == _PUBLIC_WIDGET:
            return {"Access-Control-Allow-Origin": "*"}
        if not self.covers(path):
            return {}
        if origin is None or not self.origins.allows(origin):
            return _VARY
        return {**_VARY, "Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": _EXPOSED_HEADERS}

    def preflight_headers(self, origin: str | None, methods: Collection[str]) -> Mapping[str, str]:
        """Return the further headers of the response to ``OPTIONS``, for a path that is covered.

        Args:
            methods: the methods of the resource.

        Raises:
            Refusal: ``forbidden`` for an origin that is not listed.
        """
        allow = {"Allow": ", ".join([*methods, "OPTIONS"])}
        if origin is None:
            return allow
        if not self.origins.allows(origin):
            text = f"the Origin {shown_origin(origin)} is not listed in web.allowed_origins"
            raise Refusal(ErrorCode.FORBIDDEN, text)
        return {
            **allow,
            "Access-Control-Allow-Methods": ", ".join(methods),
            "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
            "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
        }
