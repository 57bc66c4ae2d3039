"""The HTTP resources of the pages, of their files, and of the client library."""

from __future__ import annotations

import re
from collections.abc import Mapping

from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import Request

from callcenter_ws.http.page_options import PageOptions
from callcenter_ws.http.responses import JsonNotFound, JsonResource, Response
from callcenter_ws.pages.files import StaticFile, StaticFiles
from callcenter_ws.pages.policy import HEADERS, frame_headers

_PAGES = {
    b"": "login",
    b"login": "login",
    b"desk": "desk",
    b"supervisor": "supervisor",
    b"wallboard": "wallboard",
    b"live": "live",
}
"""The path segments of the pages, and their files."""

_EMBEDDABLE = frozenset({"desk", "supervisor", "wallboard", "live"})
"""The pages that listed sites may show in a frame. A form for passwords is never one."""

_DEMO = "demo"
"""The path and the file of the page that only the demo has."""

_CLIENT = {
    b"callcenter-ws-client.js": "client.js",
    b"callcenter-ws-embed.js": "embed.js",
    b"callcenter-ws-commands.js": "commands.js",
}
"""What sites load from ``/client/``, and its files."""

_WIDGET = "widget.js"
"""What sites load from ``/widget.js``."""

_FOR_OTHER_SITES = {"Cross-Origin-Resource-Policy": "cross-origin"}

_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"

_ANY_BUILD = re.compile(rb"[0-9a-f]{16}\Z")


class FileResource(JsonResource):
    """One file, with a validator for caches (RFC 9110 section 8.8).

    Args:
        cache_control: how long a cache may use it.
        headers: further headers, which override those of every file.
    """

    def __init__(self, file: StaticFile, cache_control: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(get=self._get)
        self._file = file
        self._headers = {
            **HEADERS,
            **frame_headers(),
            "Content-Type": file.content_type,
            "Cache-Control": cache_control,
            "ETag": file.etag,
            **(headers or {}),
        }

    async def _get(self, request: Request) -> Response:
        headers = self.headers()
        tags = request.requestHeaders.getRawHeaders(b"If-None-Match") or []
        known = {tag.strip().removeprefix("W/") for value in tags for tag in value.decode("latin-1").split(",")}
        if self._file.etag in known or "*" in known:
            return Response(b"", 304, headers)
        return Response(self._file.body, headers=headers)

    def headers(self) -> Mapping[str, str]:
        """Return the headers of a response."""
        return self._headers


class EmbeddableResource(FileResource):
    """A page that the sites of ``web.embedders`` may show in a frame."""

    def __init__(self, file: StaticFile, options: PageOptions) -> None:
        super().__init__(file, _ASK_AGAIN)
        self._options = options

    def headers(self) -> Mapping[str, str]:
        """Return the headers of a response, for the embedders of this moment."""
        if not self._options.embedders:
            return self._headers
        without = {name: value for name, value in self._headers.items() if name != "X-Frame-Options"}
        return {**without, **frame_headers(self._options.embedders)}


class BuildsResource(JsonNotFound):
    """``/pages/BUILD/``: the files that pages load; the same files for another build, which no cache may keep.

    During an update, a page of one version may ask a node of another one.

    Args:
        others: the parent of the other resources below ``/pages/``.
    """

    def __init__(self, files: StaticFiles, others: Resource) -> None:
        super().__init__()
        self._others = others
        self._foreign = _folder(files.assets, _ASK_AGAIN)
        self.putChild(files.build.encode(), _folder(files.assets, _FOR_EVER))

    def getChild(self, path: bytes, request: IRequest) -> Resource:
        """Return the files for any build."""
        return self._foreign if _ANY_BUILD.match(path) else self._others.getChildWithDefault(path, request)


def page_resources(options: PageOptions, others: Resource, *, demo: bool = False) -> dict[bytes, Resource]:
    """Return the resources by their path segment below the root of the site.

    Args:
        options: what a reload may change; its present values are used for each response. The build is noted there.
        others: the parent of the other resources below ``/pages/``.
        demo: whether to serve the page of the demo.
    """
    files = StaticFiles.load()
    options.build = files.build
    resources: dict[bytes, Resource] = {b"pages": BuildsResource(files, others)}
    for segment, name in _PAGES.items():
        if name not in files.pages:
            continue
        page = files.pages[name]
        resources[segment] = (
            EmbeddableResource(page, options) if name in _EMBEDDABLE else FileResource(page, _ASK_AGAIN)
        )
    if demo:
        resources[_DEMO.encode()] = FileResource(files.pages[_DEMO], _ASK_AGAIN)
    client = resources[b"client"] = JsonNotFound()
    for segment, path in _CLIENT.items():
        client.putChild(segment, FileResource(files.assets[path], _ASK_AGAIN, _FOR_OTHER_SITES))
    resources[_WIDGET.encode()] = FileResource(files.assets[_WIDGET], _ASK_AGAIN, _FOR_OTHER_SITES)
    return resources


def _folder(files: Mapping[str, StaticFile], cache_control: str) -> Resource:
    """Return a resource for a folder with these files, which are named by their paths."""
    folder = JsonNotFound()
    below: dict[str, dict[str, StaticFile]] = {}
    for path, file in files.items():
        name, _, rest = path.partition("/")
        if rest:
            below.setdefault(name, {})[rest] = file
        else:
            folder.putChild(name.encode(), FileResource(file, cache_control))
    for name, contents in below.items():
        folder.putChild(name.encode(), _folder(contents, cache_control))
    return folder
