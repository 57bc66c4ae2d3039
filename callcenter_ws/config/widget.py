"""The chat widget of a tenant: what ``/widget.js`` shows, and when it offers a chat (``docs/widget.rst``)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from callcenter_ws.runtime.setting_values import shown

MAX_TITLE_CHARACTERS = 100
MAX_TEXT_CHARACTERS = 500
MAX_WIDGET_QUEUES = 100

Availability = Literal["desk", "agents", "always"]
"""Who has to be there for a chat. ``desk``: an agent who is connected and takes work. ``agents``: an agent who takes
work, connected or not. ``always``: no one."""


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the TOML file."""


class WidgetSettings(Table, frozen=True):
    """The widget of one tenant. An empty text means that of the widget itself.

    Attributes:
        color: of the button and the head, as ``#rrggbb``.
        language: of the widget's own texts, as ``de``; empty: that of the page.
        ask_name: ask for the visitor's name before the first message.
        queue_name: the queue of the chats; None: none.
        queues: further queues that visitors may name.
        available: when a chat is offered, and not only a message left.
    """

    title: str = ""
    greeting: str = ""
    offline_text: str = ""
    color: str = ""
    position: Literal["right", "left"] = "right"
    language: str = ""
    ask_name: bool = False
    queue_name: str | None = None
    queues: tuple[str, ...] = ()
    available: Availability = "desk"

    @property
    def open_queues(self) -> frozenset[str]:
        """The queues that every visitor may name."""
        return frozenset(self.queues) if self.queue_name is None else frozenset((*self.queues, self.queue_name))


def check_widget(widget: WidgetSettings) -> Iterator[tuple[str, str]]:
    """Yield the problems of a widget, each with the field that has it."""
    for field, longest in (
        ("title", MAX_TITLE_CHARACTERS),
        ("greeting", MAX_TEXT_CHARACTERS),
        ("offline_text", MAX_TEXT_CHARACTERS),
    ):
        text = getattr(widget, field)
        if len(text) > longest or not text.isprintable():
            yield field, f"is not a text of at most {longest} printable characters"
    if widget.color and not re.fullmatch(r"#[0-9A-Fa-f]{6}", widget.color):
        yield "color", f'{shown(widget.color)} is not a color like "#1a5fb4"'
    if widget.language and not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}", widget.language):
        yield "language", f'{shown(widget.language)} is not a language like "de" or "pt-BR"'
    if len(widget.queues) > MAX_WIDGET_QUEUES:
        yield "queues", f"lists {len(widget.queues)} queues; at most {MAX_WIDGET_QUEUES} are allowed"
    for field, names in (("queue_name", (widget.queue_name,)), ("queues", widget.queues)):
        for name in names:
            if name is not None and not 0 < len(name) <= 255:
                yield field, f"{shown(name)} cannot be the name of a queue"
