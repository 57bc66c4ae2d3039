"""``GET /schemas/``: the JSON Schemas of all events, and their effects on the snapshot, without authentication."""

from __future__ import annotations

import hashlib
from functools import cache

from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import Request

from callcenter_ws.events.message_schemas import message_schemas
from callcenter_ws.events.slot_table import slot_table
from callcenter_ws.http.responses import JsonNotFound, JsonResource, Response
from callcenter_ws.runtime.json import JsonValue, encode_json
from callcenter_ws.runtime.suggestions import did_you_mean

MAX_AGE_SECONDS = 3_600
"""Time for which a client may use a schema without asking again. They change with the version of the gateway only."""

_CONTENT_TYPE = "application/schema+json"

_SLOTS = "slots"
"""The name of the table of effects on the snapshot; no event type has this name."""


class _Document(JsonResource):
    """A document that does not change while the process runs, with a validator for caches (RFC 9110 section 8.8)."""

    def __init__(self, value: JsonValue, content_type: str = _CONTENT_TYPE) -> None:
        super().__init__(get=self._get)
        self._body = encode_json(value)
        self._etag = f'"{hashlib.sha256(self._body).hexdigest()[:32]}"'
        self._headers = {
            "Content-Type": content_type,
            "Cache-Control": f"public, max-age={MAX_AGE_SECONDS}",
            "ETag": self._etag,
        }

    async def _get(self, request: Request) -> Response:
        tags = request.requestHeaders.getRawHeaders(b"If-None-Match") or []
        known = {tag.strip().removeprefix("W/") for value in tags for tag in value.decode("latin-1").split(",")}
        if self._etag in known or "*" in known:
            return Response(b"", 304, self._headers)
        return Response(self._body, headers=self._headers)


@cache
def _documents() -> dict[bytes, _Document]:
    schemas = message_schemas()
    index: JsonValue = {"schemas": {name: f"/schemas/{name}" for name in schemas}, "slots": f"/schemas/{_SLOTS}"}
    documents = {
        b"": _Document(index, "application/json"),
        _SLOTS.encode(): _Document(slot_table(), "application/json"),
    }
    for name, schema in schemas.items():
        documents[name.encode()] = _Document({"$id": f"/schemas/{name}", **schema})
    return documents


class SchemasResource(Resource):
    """Serves ``/schemas/``, an index, ``/schemas/NAME``, the schema of the messages of a type, and ``/schemas/slots``.

    The documents are made once for a process, before a gateway accepts connections: it takes tens of milliseconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self._documents = _documents()

    def getChild(self, path: bytes, request: IRequest) -> Resource:
        """Return the document of an event type, with or without ``.json`` behind its name; the index for none."""
        document = self._documents.get(path.removesuffix(b".json"))
        if document is None:
            name = path.removesuffix(b".json").decode(errors="replace")
            meant = did_you_mean(name, map(bytes.decode, self._documents))
            return JsonNotFound(f"there is no event type {name[:64]!r}{meant}")
        return document

    def render(self, request: Request) -> int:
        """Send the index for ``/schemas``."""
        return self._documents[b""].render(request)
