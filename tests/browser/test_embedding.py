"""Pages of the gateway in a frame of a site that has its own login, which gives them their tokens."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_driver import Context, Tab
from client_page import ClientSite, ClientWorld
from processes import wait_until

EXAMPLE = Path(__file__).parents[2] / "examples" / "browser" / "embedding.html"
EMBED = """<link rel="icon" href="data:,">
<iframe id="page" src="{gateway}/live" width="900" height="600"></iframe>
<script type="module">
  window.library = await import("{gateway}/client/callcenter-ws-embed.js");
  window.calls = [];
  window.page = library.embed(document.getElementById("page"), {{
    origin: "{gateway}",
    token: async ({{ reason }}) => {{
      calls.push(reason);
      const answer = await fetch("/token", {{ cache: "no-store" }});
      if (answer.status === 401) throw new library.TokenRefused();
      return answer.text();
    }},
  }});
</script>"""
ASK = """<script>
  for (const one of [parent, opener]) {
    one?.postMessage({type: "callcenter.token.request", version: 1, id: 1, reason: "connect"}, "*");
  }
  addEventListener("message", ({data}) => parent.postMessage(["heard", data], "*"));
</script>"""
FRAME = """<iframe src="{url}" width="900" height="600"></iframe>"""
TEXT = "document.body.innerText"
LIVE = "document.querySelector('[data-state=live]') !== null"


class Embedding(ClientWorld):
    """A gateway that lists two sites, ``first`` and ``second``, and a third site that it does not list."""

    def __init__(self, folder: Path) -> None:
        self.first, self.second, self.unlisted = self.sites = ClientSite(), ClientSite(), ClientSite()
        super().__init__(folder, web=f"embedders = {json.dumps([self.first.origin, self.second.origin])}\n")
        self.at = f"http://127.0.0.1:{self.gateway.port}"

    def close(self) -> None:
        """End everything and check the log."""
        super().close()
        for site in self.sites:
            site.close()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedding]:
    world = Embedding(tmp_path_factory.mktemp("world") / "gateway")
    yield world
    world.close()


@pytest.fixture
def world(started: Embedding) -> Embedding:
    wait_until(lambda: started.sockets() == 0, "the tabs of other tests are closed")
    for site in started.sites:
        site.asked.clear()
        site.pages = {"/": FRAME.format(url=f"{started.at}/live"), "/embed": EMBED.format(gateway=started.at)}
        site.token = lambda reason, tab: started.gateway.token("supervisor")
    return started


class Frame:
    """A frame of the page in a tab, seen by a script of the browser that the page cannot see."""

    def __init__(self, tab: Tab, *, number: int = 0) -> None:
        self._tab = tab
        tree = tab.call("Page.getFrameTree")["frameTree"]
        self.info = tree["childFrames"][number]["frame"]
        created = tab.call("Page.createIsolatedWorld", frameId=self.info["id"])
        self._world = created["executionContextId"]

    def evaluate(self, expression: str) -> object:
        """Return the value of an expression."""
        answer = self._tab.call(
            "Runtime.evaluate", expression=expression, contextId=self._world, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        value: object = answer["result"].get("value")
        return value

    def wait_for(self, condition: str) -> None:
        """Wait until an expression is true."""
        try:
            wait_until(lambda: self.evaluate(condition), condition)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.evaluate(TEXT)}\n{self._tab.errors}") from None


def opened(context: Context, url: str) -> Tab:
    tab = context.open(url)
    tab.keep_visible()
    return tab


def test_a_listed_site_gives_fresh_tokens_and_signs_out(own_context: Context, world: Embedding) -> None:
    expiring = iter([61])

    def token(reason: str, tab: str) -> str:
        return world.gateway.token("supervisor", exp=int(time.time()) + next(expiring, 3600))

    world.first.token = token
    tab = opened(own_context, world.first.origin + "/embed")
    frame = Frame(tab)
    frame.wait_for(LIVE)
    # The site signs people in and out: the page in the frame does not.
    assert frame.evaluate("document.querySelector('[data-action=sign-out]')") is None
    tab.wait_for("calls.includes('expiring')")
    # A request that is repeated just before the answer arrives is answered again.
    assert set(tab.evaluate("calls")) == {"connect", "expiring"}
    world.alert("before signing out")
    frame.wait_for(f"{TEXT}.includes('before signing out')")
    assert world.sockets() == 1
    tab.evaluate("page.signOut()")
    frame.wait_for(f"{TEXT}.trim() === 'Signed out. Sign in at the site that shows this page.'")
    wait_until(lambda: world.sockets() == 0, "the socket is closed")
    # Signed in again, the site loads the frame again.
    tab.evaluate("calls.length = 0, document.getElementById('page').src += ''")
    tab.wait_for("calls.length")
    wait_until(lambda: world.sockets() == 1, "the page is connected again")
    assert tab.errors == [] and tab.csp_violations == []


def test_the_example_of_the_manual(own_context: Context, world: Embedding) -> None:
    text = EXAMPLE.read_text().replace("https://gateway.example", world.at)
    world.first.pages["/"] = text
    tab = opened(own_context, world.first.origin + "/")
    assert "gateway.example" not in text
    Frame(tab).wait_for(f"{TEXT}.includes('No queue yet')")
    world.first.token = lambda reason, tab: None
    tab.reload()
    Frame(tab).wait_for(f"{TEXT}.trim() === 'Sign in to see the wallboard.'")
    # The site does not answer at present: the page tries again.
    world.first.token = _fail_once(world)
    tab.reload()
    Frame(tab).wait_for(f"{TEXT}.includes('No queue yet')")
    assert len(world.first.asked) >= 4


def _fail_once(world: Embedding):  # type: ignore[no-untyped-def]
    failures = iter([OSError])

    def token(reason: str, tab: str) -> str:
        for failure in failures:
            raise failure
        return world.gateway.token("wallboard")

    return token


def test_a_token_that_the_gateway_refuses_is_explained(own_context: Context, world: Embedding) -> None:
    forged = world.gateway.token("supervisor")[:-6] + "AAAAAA"
    for token, words in [
        (world.gateway.token("visitor", session_id="s"), "visitor"),
        (world.gateway.token("supervisor", exp=1), "expired"),
        (world.gateway.token("supervisor", tenant_id="*"), "tenant"),
        (forged, "signature"),
    ]:
        world.first.token = lambda reason, tab, token=token: token
        tab = opened(own_context, world.first.origin + "/embed")
        frame = Frame(tab)
        frame.wait_for("document.querySelector('[data-state=stopped], [data-state=offline]') !== null")
        assert words in str(frame.evaluate(TEXT)), (words, frame.evaluate(TEXT))
        tab.close()


def test_other_sites_cannot_show_a_page_in_a_frame(own_context: Context, world: Embedding) -> None:
    inside = FRAME.format(url=world.first.origin + "/embed")
    world.unlisted.pages["/around"] = world.second.pages["/around"] = inside
    world.first.pages["/login"] = FRAME.format(url=f"{world.at}/login")
    for url in (f"{world.unlisted.origin}/embed", f"{world.first.origin}/login"):
        tab = opened(own_context, url)
        # A page of the browser's own is shown in the frame.
        assert Frame(tab).info["unreachableUrl"].startswith(world.at)
        assert any("frame-ancestors" in error for error in tab.errors), tab.errors
        tab.close()
    # Nor a listed site around them: all sites above must be listed.
    tab = opened(own_context, f"{world.unlisted.origin}/around")
    inner = tab.call("Page.getFrameTree")["frameTree"]["childFrames"][0]["childFrames"][0]["frame"]
    assert inner["unreachableUrl"].startswith(world.at)
    tab.close()
    tab = opened(own_context, f"{world.second.origin}/around")
    wait_until(lambda: world.sockets() == 1, "both sites are listed")
    tab.close()
    assert world.unlisted.asked == []


def test_the_page_takes_tokens_of_the_site_around_it_only(own_context: Context, world: Embedding) -> None:
    """Windows beside the frame, above it, and the opener send tokens and sign-outs; the site sends other messages."""
    tab = opened(own_context, world.first.origin + "/")
    frame = Frame(tab)
    frame.evaluate("globalThis.received = 0; addEventListener('message', () => (received += 1))")
    wrong, right = (world.gateway.token("supervisor", sub=name) for name in ("wrong", "right"))
    flood = f"""for (let id = 0; id < 1000; id += 1) {{
        target.postMessage({{type: "callcenter.token", version: 1, id, token: {json.dumps(wrong)}}}, "*");
        target.postMessage({{type: "callcenter.token.refused", version: 1, id, message: "no"}}, "*");
        target.postMessage({{type: "callcenter.sign-out", version: 1}}, "*");
    }}"""
    # Frames beside it: of another listed site, and of the same.
    for number, site in enumerate((world.second, world.first), 1):
        site.pages["/flood"] = f"<script>const target = parent.frames[0]; {flood}</script>"
        tab.evaluate(
            f"document.body.append(Object.assign(document.createElement('iframe'), {{src: '{site.origin}/flood'}}))"
        )
        frame.wait_for(f"received === {3000 * number}")
    # The page itself, at the origin of the gateway: not the site around it.
    frame.evaluate(f"{{const target = window; {flood}}}")
    frame.wait_for("received === 9000")
    garbage = ["null", "5", "[]", "{}", '{type: "callcenter.token", version: 2, id: 1, token: "t"}']
    garbage.append('{type: "callcenter.token", version: 1, id: 99, token: "t"}')
    tab.evaluate(
        f"for (let at = 0; at < 1000; at += 1) for (const data of [{', '.join(garbage)}]) {{"
        "frames[0].postMessage(data, '*'); }"
    )
    frame.wait_for("received === 15000")
    assert world.sockets() == 0
    tab.evaluate(
        "for (let id = 1; id < 9; id += 1) "
        f"frames[0].postMessage({{type: 'callcenter.token', version: 1, id, token: {json.dumps(right)}}}, '{world.at}')"
    )
    frame.wait_for(f"{LIVE} && document.querySelector('[data-value=user]').textContent.includes('right')")
    assert world.sockets() == 1
    # What a site had posted to the connected page, and the windows that it has opened.
    frame.evaluate(f"{{const target = window; {flood}}}")
    frame.wait_for("received >= 18008")
    assert frame.evaluate(LIVE) is True


def test_a_site_that_opens_the_site_or_the_page_gets_nothing(own_context: Context, world: Embedding) -> None:
    evil = opened(own_context, world.unlisted.origin + "/")
    evil.evaluate("window.heard = []; addEventListener('message', ({data, origin}) => heard.push([origin, data]))")

    def open_(url: str) -> None:
        answer = evil.call(
            "Runtime.evaluate", expression=f"window.w = open({json.dumps(url)}); w !== null", userGesture=True
        )
        assert answer["result"]["value"] is True

    open_(world.first.origin + "/embed")
    wait_until(lambda: world.sockets() == 1, "the page is connected")
    asked = len(world.first.asked)
    request = '{type: "callcenter.token.request", version: 1, id: 1, reason: "connect"}'
    evil.evaluate(
        f"for (let at = 0; at < 1000; at += 1) {{ w.postMessage({request}, '*');"
        "  w.frames[0].postMessage({type: 'callcenter.sign-out', version: 1}, '*'); }"
    )
    world.alert("still there")
    assert world.sockets() == 1
    assert len(world.first.asked) == asked and evil.evaluate("heard") == []
    evil.evaluate("w.close()")
    wait_until(lambda: world.sockets() == 0, "the window is closed")
    # The policy of the page separates it from its opener.
    open_(f"{world.at}/live")
    evil.wait_for("w.closed")


def test_the_site_answers_the_page_in_its_frame_only(own_context: Context, world: Embedding) -> None:
    world.first.pages["/embed"] = EMBED.format(gateway=world.at).replace(f'src="{world.at}/live"', "")
    world.second.pages["/ask"] = ASK
    tab = opened(own_context, world.first.origin + "/embed")
    tab.wait_for("'page' in window && 'embed' in library")
    tab.evaluate("window.heard = []; addEventListener('message', ({data, origin}) => heard.push([origin, data]))")
    for made in ({"src": f"{world.second.origin}/ask"}, {"srcdoc": ASK}, {"srcdoc": ASK, "sandbox": "allow-scripts"}):
        tab.evaluate(f"document.body.append(Object.assign(document.createElement('iframe'), {json.dumps(made)}))")
    # The frame itself, with a page of another site.
    tab.evaluate(f"document.getElementById('page').src = '{world.second.origin}/ask'")
    tab.wait_for("heard.length >= 4")
    assert {origin for origin, data in tab.evaluate("heard")} == {world.second.origin, world.first.origin, "null"}
    assert tab.evaluate("calls.length") == 0 and world.first.asked == []
    tab.evaluate(f"document.getElementById('page').src = '{world.at}/live'")
    tab.wait_for("calls.length")
    wait_until(lambda: world.sockets() == 1, "the page is connected")
    assert not any(data[0] == "heard" for origin, data in tab.evaluate("heard") if isinstance(data, list))
