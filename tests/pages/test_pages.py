"""The pages and their files over HTTP: paths, headers, caches, and what a page may load."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Demo, free_port
from twisted.internet.defer import Deferred
from twisted.web.server import Request
from twisted.web.test.requesthelper import DummyRequest

from callcenter_ws.http.page_options import PageOptions
from callcenter_ws.http.responses import JsonNotFound, JsonResource, Response
from callcenter_ws.pages.files import StaticFiles
from callcenter_ws.pages.resources import FileResource, page_resources

FILES = StaticFiles.load()
STATIC = Path(__file__).parents[2] / "callcenter_ws" / "pages" / "static"
BUILT = ("client.js", "embed.js", "commands.js", "widget.js")
OURS = sorted(path for path in STATIC.rglob("*.js") if "vendor" not in path.parts and path.name not in BUILT)


async def _about(request: Request) -> Response:
    return Response(b"about")


@pytest.fixture
def options() -> PageOptions:
    return PageOptions()


@pytest.fixture
def root(options: PageOptions) -> JsonNotFound:
    others = JsonNotFound()
    others.putChild(b"about", JsonResource(get=_about))
    made = JsonNotFound()
    for name, resource in page_resources(options, others, demo=True).items():
        made.putChild(name, resource)
    return made


def get(root: JsonNotFound, path: str, **headers: str) -> Response:
    """Return what the resource of a path responds; 404 if there is none."""
    request = DummyRequest([part.encode() for part in path.split("/")[1:]])
    for name, value in headers.items():
        request.requestHeaders.setRawHeaders(name.replace("_", "-").encode(), [value.encode()])
    resource = root
    while request.prepath is not None and request.postpath:
        resource = resource.getChildWithDefault(request.postpath.pop(0), request)
    if isinstance(resource, FileResource):
        answers: list[Response] = []
        Deferred.fromCoroutine(resource._get(request)).addCallback(answers.append)
        return answers[0]
    return Response(b"", 200 if isinstance(resource, JsonResource) and resource._handlers else 404)


def test_files_may_be_kept_for_ever_under_the_present_build_only(root: JsonNotFound) -> None:
    present = get(root, f"/pages/{FILES.build}/vendor/lit-html/lit-html.js")
    assert present.body == (STATIC / "vendor/lit-html/lit-html.js").read_bytes()
    assert present.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert present.headers["Content-Type"] == "text/javascript; charset=utf-8"
    foreign = get(root, "/pages/0123456789abcdef/vendor/lit-html/lit-html.js")
    assert (foreign.body, foreign.headers["Cache-Control"]) == (present.body, "no-cache")


@pytest.mark.parametrize("path", ["/pages/about", "/pages/../page.css", "/pages/0123/page.css", "/pages/BUILD/no.js"])
def test_other_paths_below_pages_are_of_others(root: JsonNotFound, path: str) -> None:
    assert get(root, path.replace("BUILD", FILES.build)).status == (200 if path == "/pages/about" else 404)


def test_a_known_file_is_not_sent_again(root: JsonNotFound) -> None:
    path = f"/pages/{FILES.build}/icon.svg"
    first = get(root, path)
    again = get(root, path, If_None_Match=f'"other", W/{first.headers["ETag"]}')
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert get(root, path, If_None_Match='"other"').body == first.body


def test_every_file_has_the_strict_headers(root: JsonNotFound) -> None:
    paths = [f"/pages/{FILES.build}/{path}" for path in FILES.assets]
    for path in [*paths, *(f"/{name}" for name in FILES.pages)]:
        headers = get(root, path).headers
        policy = headers["Content-Security-Policy"]
        assert "unsafe" not in policy and "default-src 'none'" in policy and policy.endswith("frame-ancestors 'none'")
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_every_kind_of_file_has_its_content_type() -> None:
    text = {
        path.rpartition("/")[2] for path, file in FILES.assets.items() if file.content_type.startswith("text/plain")
    }
    assert text <= {"LICENSE", "SHA256SUMS"}


@pytest.mark.parametrize("page", [pytest.param(name, id=name) for name in FILES.pages])
def test_a_page_loads_files_that_exist_and_holds_no_code(root: JsonNotFound, page: str) -> None:
    text = FILES.pages[page].body.decode()
    urls = re.findall(r'(?:src|href)="([^"]*)"', text)
    others = ["/widget.js"] if page == "demo" else []
    assert [url for url in urls if not url.startswith(f"/pages/{FILES.build}/")] == others
    assert len(urls) > len(others)
    assert [url for url in urls if get(root, url).status != 200] == []
    assert not re.search(r"<style|style=|\son\w+=|javascript:|<script[^>]*>[^<]", text)


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(STATIC))) for path in OURS])
def test_a_script_imports_files_that_exist(path: Path) -> None:
    for name in re.findall(r"(?:from|import)\s*\(?[\"']([^\"']+)[\"']", path.read_text()):
        assert name.startswith("."), f"{path.name} imports {name}"
        assert (path.parent / name).resolve().is_file(), f"{path.name} imports {name}"


def test_the_page_of_the_demo_is_that_of_the_demo_only(options: PageOptions) -> None:
    assert b"demo" not in page_resources(options, JsonNotFound())


def test_the_build_is_in_a_running_gateway(demo: Demo) -> None:
    assert json.loads(demo.get("/pages/about")[1])["build"] == FILES.build
    headers, body = demo.get(f"/pages/{FILES.build}/page.css")
    assert body == FILES.assets["page.css"].body
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    ("name", "file"), [("client", "client.js"), ("embed", "embed.js"), ("commands", "commands.js")]
)
def test_other_sites_may_load_the_client(demo: Demo, name: str, file: str) -> None:
    headers, body = demo.get(f"/client/callcenter-ws-{name}.js")
    assert body == FILES.assets[file].body
    assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert headers["Access-Control-Allow-Origin"] == "*"


def test_other_sites_may_load_the_widget(demo: Demo) -> None:
    headers, body = demo.get("/widget.js")
    assert body == FILES.assets["widget.js"].body
    assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    # Of a site that loads it with the attribute crossorigin, as for its integrity.
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert headers["Cache-Control"] == "no-cache"
    assert headers["ETag"] == FILES.assets["widget.js"].etag


@pytest.mark.parametrize("page", ["desk", "wallboard", "live"])
def test_listed_sites_only_may_show_a_page_in_a_frame(root: JsonNotFound, options: PageOptions, page: str) -> None:
    options.embedders = ("https://site.example", "https://other.example:8443")
    headers = get(root, f"/{page}").headers
    policy = headers["Content-Security-Policy"]
    assert policy.endswith("; frame-ancestors https://site.example https://other.example:8443")
    assert "X-Frame-Options" not in headers
    for other in ("/", "/login", f"/pages/{FILES.build}/embedded.js"):
        headers = get(root, other).headers
        assert headers["Content-Security-Policy"].endswith("; frame-ancestors 'none'")
        assert headers["X-Frame-Options"] == "DENY"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    running = Demo(tmp_path_factory.mktemp("demo"), free_port())
    yield running
    running.stop()
    assert "Traceback" not in running.output, running.output
