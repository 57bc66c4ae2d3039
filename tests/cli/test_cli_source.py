"""callcenter-ws source: answers that this version does not know."""

from __future__ import annotations

import pytest

from callcenter_ws.cli import source
from callcenter_ws.cli.main import main


@pytest.mark.parametrize("sources", ["[{}]", "[1]", "{", "[" * 100_000, "7", '[{"source": "a"}]'])
def test_an_unknown_list_of_sources_is_an_error(
    sources: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(source, "call_amp", lambda *_: {"sources": sources, "left_out": 0})
    assert main(["source", "list", "--amp", "tcp:127.0.0.1:1"]) == 1
    assert capsys.readouterr().err == (
        "callcenter-ws source: the gateway answers with a list that this version of callcenter-ws does not know\n"
    )


def test_names_of_sources_cannot_send_control_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = '"kind": "asterisk", "owner": "o", "tenants": ["acme"], "tenant_count": 1, "capabilities": ["a", "b"]'
    sources = rf'[{{"source": "a", "state": "connected", "version": "1\u001b[2J", {fields}}}]'
    monkeypatch.setattr(source, "call_amp", lambda *_: {"sources": sources, "left_out": 0})
    assert main(["source", "list", "--amp", "tcp:127.0.0.1:1"]) == 0
    out = capsys.readouterr().out
    assert "1�[2J" in out
    assert out.splitlines()[1].endswith(" a,b")
