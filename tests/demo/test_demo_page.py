"""The resources of the demo page, requested over HTTP from the gateway's site."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from callcenter_ws.demo.page import demo_page
from callcenter_ws.demo.settings import page_hosts
from callcenter_ws.errors import CLOSES, ErrorCode, Refusal
from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.http.responses import JsonNotFound
from callcenter_ws.http.site import GatewaySite
from callcenter_ws.statistics.service_level import METHODS


def tokens(role: str) -> str:
    if role != "supervisor":
        raise Refusal(ErrorCode.INVALID_MESSAGE, "role: expected one of supervisor")
    return "a.new.token"


def request(path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Send one request; return the status, the headers and the body of the response."""
    root = JsonNotFound()
    for segment, resource in demo_page(tokens, {"localhost"}).items():
        root.putChild(segment, resource)
    transport: Any = StringTransport()
    transport.abortConnection = transport.loseConnection
    transport.protocol = GatewaySite(root, Clock()).buildProtocol(None)
    transport.protocol.makeConnection(transport)
    sent = {"Host": "localhost", "Connection": "close", **{k.replace("_", "-"): v for k, v in headers.items()}}
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    transport.protocol.dataReceived(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode())
    head, _, body = transport.value().partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    return int(status.split()[1]), {k.lower(): v for k, v in (f.split(": ", 1) for f in fields)}, body


class References(HTMLParser):
    """The files that a page loads, its element ids, and its inline scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.inline: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "link", "img"):
            self.loaded.append(given.get("src") or given.get("href") or "inline")
        if "id" in given:
            self.ids.add(str(given["id"]))
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        self.inline += [tag] if tag == "style" else []


def test_the_page_loads_nothing_but_its_own_files() -> None:
    status, headers, body = request("/")
    assert status == 200
    assert headers["content-type"] == "text/html; charset=utf-8"
    page = References(body.decode())
    assert page.inline == []
    assert sorted(page.loaded) == ["demo/icon.svg", "demo/page.css", "demo/page.js"]
    for path in page.loaded:
        assert request(f"/{path}")[0] == 200


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("page.js", "text/javascript; charset=utf-8"),
        ("page.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ],
)
def test_files_have_their_type_and_a_strict_policy(path: str, content_type: str) -> None:
    status, headers, body = request(f"/demo/{path}")
    assert (status, headers["content-type"]) == (200, content_type)
    assert int(headers["content-length"]) == len(body) > 0
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-cache"


def test_head_has_no_body() -> None:
    status, headers, body = request("/", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0


def test_a_token_is_not_cached() -> None:
    status, headers, body = request("/demo/token?role=supervisor", Sec_Fetch_Site="same-origin")
    assert (status, json.loads(body)) == (200, {"token": "a.new.token"})
    assert headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    ("path", "method", "headers", "status", "code"),
    [
        ("/demo/token?role=admin", "GET", {}, 400, "invalid_message"),
        ("/demo/token?role=%FF", "GET", {}, 400, "invalid_message"),
        ("/demo/token?role=supervisor&role=agent", "GET", {}, 400, "invalid_message"),
        ("/demo/token", "GET", {}, 400, "invalid_message"),
        ("/demo/token?role=supervisor", "GET", {"Sec_Fetch_Site": "cross-site"}, 403, "forbidden"),
        ("/demo/token?role=supervisor", "GET", {"Sec_Fetch_Site": "same-site"}, 403, "forbidden"),
        ("/demo/token?role=supervisor", "POST", {"Content_Length": "0"}, 405, "method_not_allowed"),
        ("/", "POST", {"Content_Length": "0"}, 405, "method_not_allowed"),
        ("/demo/token/more", "GET", {}, 404, "not_found"),
        ("/demo", "GET", {}, 404, "not_found"),
        ("/demo/", "GET", {}, 404, "not_found"),
        ("/demo/../page.py", "GET", {}, 404, "not_found"),
        ("/demo/page.py", "GET", {}, 404, "not_found"),
        ("/demo/page.js/more", "GET", {}, 404, "not_found"),
    ],
)
def test_invalid_requests_are_refused(path: str, method: str, headers: dict[str, str], status: int, code: str) -> None:
    response_status, _, body = request(path, method, **headers)
    assert (response_status, json.loads(body)["error"]["code"]) == (status, code)


def test_the_script_writes_no_markup() -> None:
    script = request("/demo/page.js")[2].decode()
    for dangerous in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
        assert dangerous not in script


def test_the_script_uses_only_element_ids_of_the_page() -> None:
    named = set(re.findall(r'byId\("([^"]+)"\)', request("/demo/page.js")[2].decode()))
    assert named <= References(request("/")[2].decode()).ids


def test_the_script_has_words_for_each_event() -> None:
    script = request("/demo/page.js")[2].decode()
    figures = {name for name, declared in CATALOGUE.items() if declared.figure is not None}
    # Senders may publish queue.stats; the other figures are never events.
    events = {name for name in CATALOGUE if name not in figures or not CATALOGUE[name].by_gateway}
    assert set(re.findall(r'^  "([a-z.]+)": \(p\) => ', script, re.MULTILINE)) == events
    found = re.search(r"FIGURES = new Set\((\[.*\])\)", script)
    assert found is not None
    assert set(json.loads(found[1])) == figures


def test_the_script_has_words_for_each_method_of_the_service_level() -> None:
    script = request("/demo/page.js")[2].decode()
    assert set(re.findall(r"^  ([a-z_0-9]+): \(p?\) =>", script, re.MULTILINE)) == set(METHODS)


def test_the_script_reconnects_after_the_same_close_codes_as_the_table_says() -> None:
    found = re.search(r"FIRST_FATAL_CLOSE = (\d+)", request("/demo/page.js")[2].decode())
    assert found is not None
    assert all((code < int(found[1])) == code.reconnect for code in CLOSES)


@pytest.mark.parametrize("host", ["evil.example", "localhost:1", ""])
def test_no_token_for_an_unknown_host_name(host: str) -> None:
    status, _, body = request("/demo/token?role=supervisor", Host=host, Sec_Fetch_Site="same-origin")
    assert status in (400, 403)
    assert b"a.new.token" not in body


def test_the_accepted_hosts_are_those_that_browsers_send() -> None:
    assert page_hosts("http://127.0.0.1:8080/") == {"127.0.0.1:8080", "localhost:8080"}
    assert {"127.0.0.1", "localhost"} <= page_hosts("http://127.0.0.1:80/")
    assert {"127.0.0.1", "localhost"} <= page_hosts("https://127.0.0.1:443/")
