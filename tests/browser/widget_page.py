"""A site with the visitor's chat, on another origin than the gateway that it loads it from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from browser_driver import Context, Tab
from client_page import ClientSite, ClientWorld, PageGateway
from line import Line

SHOP = """<!doctype html>
<html lang="{language}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Shop</title>
<link rel="icon" href="data:,">
{head}
<main><h1>Shop</h1><p>Things to buy.</p><label>Search <input id="search"></label></main>
{script}
</html>
"""
KEPT = """JSON.parse(localStorage.getItem(Object.keys(localStorage).find((key) => key.endsWith(":acme"))) ?? "{}")"""
"""What the site's storage has for all tabs."""

ROOT = "document.querySelector('callcenter-widget').shadowRoot"


class WidgetWorld(ClientWorld):
    """A gateway whose tenant ``acme`` has a chat for the visitors of the site.

    Args:
        widget: the lines of ``[tenants.acme.widget]``.
        more: additional sections, in which ``{origin}`` is the site's.
    """

    def __init__(self, folder: Path, *, widget: str = 'available = "always"\n', more: str = "") -> None:
        # Not as the base does it: the settings name the origin of the site, and one start is enough.
        self.site = ClientSite()
        folder.mkdir()
        self.gateway = PageGateway(folder, self.site.origin)
        self._set_widget(widget, more)
        self.gateway.start()
        self.line = Line(self.gateway.port)
        self.site.token = lambda reason, tab: self.gateway.token("supervisor")

    def _set_widget(self, widget: str, more: str) -> None:
        head = self.gateway.config.read_text()
        key = self.gateway.folder / "visitors.secret"
        key.write_text("a key that survives a restart, for tests only")
        key.chmod(0o600)
        self.gateway.config.write_text(
            f'{head}\n[public]\nsession_key_file = "{key}"\n'
            f'[public.tenants.acme]\norigins = ["{self.site.origin}"]\nanonymous = true\n'
            + (f"[tenants.acme.widget]\n{widget}" if widget else "")
            + more.replace("{origin}", self.site.origin)
        )

    @property
    def origin(self) -> str:
        """The origin of the gateway, behind the line."""
        return f"http://127.0.0.1:{self.line.port}"

    def page(self, path: str = "/shop", *, attributes: str = "", head: str = "", language: str = "en") -> str:
        """Have the site serve a page with the script; return its address."""
        script = f'<script src="{self.origin}/widget.js" data-tenant="acme" {attributes} async></script>'
        self.site.pages[path] = SHOP.format(language=language, head=head, script=script)
        return self.site.origin + path

    def open_shop(self, context: Context, url: str = "", *, before: str = "") -> WidgetTab:
        """Open a page of the site, and wait for the launcher."""
        shop = WidgetTab(context.open(url or self.page(), before=before), self)
        shop.tab.keep_visible()
        shop.wait(".launcher")
        return shop

    def say(self, session_id: str, body: str, *, name: str = "Maria", message_id: str = "") -> None:
        """Write into a chat, as an agent."""
        payload = {"message_id": message_id or f"m-{body[:40]}", "sender_id": "a1", "sender_type": "agent"}
        payload |= {"session_id": session_id, "sender_name": name, "body": body}
        self.publish({"type": "chat.message", "payload": payload})

    def assign(self, session_id: str, name: str = "Maria") -> None:
        """Have an agent take a chat."""
        payload = {"session_id": session_id, "to_agent_id": "a1", "agent_name": name}
        self.publish({"type": "chat.transferred", "payload": payload})

    def end_chat(self, session_id: str) -> None:
        """End a chat, as an agent does."""
        self.publish({"type": "chat.session.ended", "payload": {"session_id": session_id, "ended_by": "agent"}})

    def chats(self) -> dict[str, list[dict[str, Any]]]:
        """Return the messages of each open chat, as staff see them."""
        found: dict[str, list[dict[str, Any]]] = {}
        for event in self.snapshot()["events"]:
            if event["type"].startswith("chat."):
                messages = found.setdefault(event["payload"]["session_id"], [])
                if event["type"] == "chat.message":
                    messages.append(event["payload"])
        return found


class WidgetTab:
    """A tab with the chat in it."""

    def __init__(self, tab: Tab, world: WidgetWorld) -> None:
        self.tab = tab
        self.world = world

    def value(self, expression: str) -> Any:
        """Return the value of an expression, in which ``root`` is the shadow tree."""
        return self.tab.evaluate(f"((root) => ({expression}))({ROOT})")

    def wait_for(self, condition: str) -> Any:
        """Wait until an expression is true, in which ``root`` is the shadow tree."""
        return self.tab.wait_for(f"((root) => ({condition}))({ROOT})")

    def wait(self, selector: str) -> None:
        """Wait until an element is on the screen."""
        self.wait_for(f"root.querySelector({json.dumps(selector)})?.getClientRects().length > 0")

    def wait_text(self, text: str) -> None:
        """Wait until a text is shown in the panel."""
        self.wait_for(f"root.querySelector('.panel').innerText.includes({json.dumps(text)})")

    def text(self, selector: str) -> str:
        """Return the text of an element."""
        text: str = self.value(f"root.querySelector({json.dumps(selector)}).innerText")
        return text

    def click(self, selector: str) -> None:
        """Click the middle of an element with the mouse."""
        at = self.value(
            f"""(() => {{
                const found = root.querySelector({json.dumps(selector)});
                found.scrollIntoView({{block: "nearest"}});
                const box = found.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.tab.call("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left", clickCount=1)

    def open(self) -> None:
        """Open the panel by its launcher."""
        self.click(".launcher")
        self.wait(".panel")
        # It moves while it appears.
        self.wait_for("root.querySelector('.panel').getAnimations().length === 0")

    def type(self, text: str, field: str = "#text") -> None:
        """Replace the text of a field as typing does."""
        self.value(f"root.querySelector({json.dumps(field)}).select()")
        self.tab.call("Input.insertText", text=text)

    def send(self, text: str) -> None:
        """Write a message and send it with the key Enter."""
        self.value("root.querySelector('#text').focus()")
        self.type(text)
        self.tab.key("Enter")

    def lines(self) -> list[list[str]]:
        """Return the sender, the text and the state of each message that is shown."""
        lines: list[list[str]] = self.value(
            "[...root.querySelectorAll('.line')].map((line) => ['.who', '.body'].map((one) => "
            "line.querySelector(one).textContent).concat(line.dataset.state ?? ''))"
        )
        return lines

    @property
    def session(self) -> str:
        """The chat that the site's storage keeps."""
        session: str = self.tab.wait_for(f"({KEPT}).session")
        return session

    def begin(self, text: str = "Hello") -> str:
        """Begin a chat with a message; return its session."""
        self.open()
        self.send(text)
        self.wait("[data-state=published]")
        return self.session

    def check(self) -> None:
        """Check that the page has reported no error and that no policy was violated."""
        assert self.tab.csp_violations == []
        assert self.tab.errors == []
