"""When the JSON Schemas of events are made."""

from __future__ import annotations

import pytest
from http_world import HttpWorld

from callcenter_ws.http import schemas


def test_no_request_makes_the_documents(world: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making them takes longer than a request may hold the reactor."""
    monkeypatch.setattr(schemas, "message_schemas", lambda: pytest.fail("made by a request"))
    assert world.ask("GET", "/schemas/").status == 200
