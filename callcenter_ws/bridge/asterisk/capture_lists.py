"""Finds in a capture the answers to a client's questions for the lists of the exchange."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from callcenter_ws.bridge.asterisk.lists import LISTS, ListAction
from callcenter_ws.bridge.asterisk.message import AmiMessage

_BY_NAME = {action.name: action for action in LISTS}
_BY_TEXT = {
    "Queue status will follow": "QueueStatus",
    "Channels will follow": "CoreShowChannels",
    "Bridge listing will follow": "BridgeList",
}
"""What the responses say that begin a list, in every version of Asterisk."""

_SENT = re.compile(rb"^(Action|ActionID):[ \t]*([^\r\n]*)", re.MULTILINE | re.IGNORECASE)


@dataclass(slots=True)
class ListRounds:
    """The questions of one connection.

    Attributes:
        rounds: the questions for all lists that were answered completely, in order, each by their ActionIDs.
        ids: all ActionIDs of the client, also those of other questions.
    """

    rounds: list[Mapping[str, ListAction]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)


def find_rounds(messages: Iterable[AmiMessage], sent: bytes = b"") -> ListRounds:
    """Return the questions that the messages of one connection answer.

    Args:
        sent: what the client sent. Without it, the actions are known by the texts of their responses.
    """
    found = ListRounds()
    actions = _actions_sent(sent)
    asked: dict[str, ListAction] = {}
    is_open: set[str] = set()
    for message in messages:
        action_id = message.get("ActionID")
        if message.response:
            found.ids.add(action_id)
            action = _BY_NAME.get(actions.get(action_id) or _action_of(message))
            if action is None or not _is_success(action, message):
                continue
            if action in asked.values():
                asked, is_open = {}, set()
            asked[action_id] = action
            if action.end and message.response == "Success":
                is_open.add(action_id)
        elif action_id in is_open and message.name == asked[action_id].end:
            is_open.discard(action_id)
        else:
            continue
        if not is_open and len(asked) == len(LISTS):
            found.rounds.append(asked)
            asked = {}
    return found


def _actions_sent(sent: bytes) -> dict[str, str]:
    """Return the names of the actions that a client sent, by their ActionIDs."""
    found: dict[str, str] = {}
    for block in sent.replace(b"\r\n", b"\n").split(b"\n\n"):
        headers = {name.lower(): value.decode(errors="replace").strip() for name, value in _SENT.findall(block)}
        if b"actionid" in headers and b"action" in headers:
            found[headers[b"actionid"]] = headers[b"action"]
    return found


def _action_of(message: AmiMessage) -> str:
    return "CoreStatus" if message.get("CoreStartupTime") else _BY_TEXT.get(message.get("Message"), "")


def _is_success(action: ListAction, message: AmiMessage) -> bool:
    return message.response == "Success" or (
        action.is_optional and message.get("Message").startswith("Invalid/unknown command")
    )
