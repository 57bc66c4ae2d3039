"""The lists by which a session learns the state of the exchange: their actions, and the answers to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.snapshot import AmiSnapshot

MAX_LIST_ITEMS = 200_000
"""Items of all lists together. An exchange with more cannot be followed: the session ends."""


@dataclass(frozen=True, slots=True)
class ListAction:
    """One action.

    Attributes:
        items: the events that are its items.
        end: the event that ends its list; empty: its response is the whole answer.
        is_optional: whether the list is taken for empty if the exchange does not know the action.
    """

    name: str
    items: frozenset[str] = frozenset()
    end: str = ""
    is_optional: bool = False


CORE_SETTINGS = ListAction("CoreSettings")
CORE_STATUS = ListAction("CoreStatus")

LISTS = (
    CORE_STATUS,
    ListAction(
        "QueueStatus", frozenset({"QueueParams", "QueueMember", "QueueEntry"}), "QueueStatusComplete", is_optional=True
    ),
    ListAction("CoreShowChannels", frozenset({"CoreShowChannel"}), "CoreShowChannelsComplete"),
    ListAction("BridgeList", frozenset({"BridgeListItem"}), "BridgeListComplete"),
)
"""What is asked after the version of the exchange is known, in this order."""

EVENT_NAMES = frozenset().union(*(action.items | {action.end} for action in LISTS)) - {""}
"""The events of all lists."""


class ListsFailedError(Exception):
    """The exchange refuses an action. The text says which, and why.

    Attributes:
        is_permission: whether the user has no right to it.
    """

    def __init__(self, text: str, *, is_permission: bool) -> None:
        super().__init__(text)
        self.is_permission = is_permission


class ListCollector:
    """Collects the answers to one set of actions.

    Args:
        actions: the actions by their ActionID.

    Attributes:
        is_partial: whether the exchange does not know one of the actions.
        listed: when the first channel arrived; None: none has.
    """

    def __init__(self, actions: Mapping[str, ListAction]) -> None:
        self.listed: float | None = None
        self._open = dict(actions)
        self._items: dict[str, list[AmiMessage]] = {name: [] for name in EVENT_NAMES}
        self._count = 0
        self.is_partial = False
        self.boot = ""
        self.version = ""

    @property
    def is_complete(self) -> bool:
        """Whether every action is answered."""
        return not self._open

    @property
    def missing(self) -> str:
        """The names of the actions that are not answered yet."""
        return ", ".join(action.name for action in self._open.values())

    def take(self, message: AmiMessage, arrived: float) -> bool:
        """Take an answer; return whether the message is one.

        Args:
            arrived: when it arrived.

        Raises:
            ListsFailedError: the action is refused, or the lists are too long.
        """
        action = self._open.get(message.headers.get("ActionID", ""))
        if action is None:
            return False
        if message.response:
            self._take_response(action, message)
        elif message.name in action.items:
            self._count += 1
            if self._count > MAX_LIST_ITEMS:
                raise ListsFailedError(f"its lists have more than {MAX_LIST_ITEMS} items", is_permission=False)
            self._items[message.name].append(message)
            if self.listed is None and message.name == "CoreShowChannel":
                self.listed = arrived
        elif message.name == action.end:
            self._close(message)
        else:
            return False
        return True

    def snapshot(self) -> AmiSnapshot:
        """Return all lists."""
        items = self._items
        return AmiSnapshot(
            boot=self.boot,
            version=self.version,
            channels=items["CoreShowChannel"],
            bridges=items["BridgeListItem"],
            queues=items["QueueParams"],
            members=items["QueueMember"],
            entries=items["QueueEntry"],
            listed=self.listed,
        )

    def _take_response(self, action: ListAction, message: AmiMessage) -> None:
        if message.response != "Success":
            text = message.get("Message")
            if not (action.is_optional and text.startswith("Invalid/unknown command")):
                is_permission = text == "Permission denied"
                raise ListsFailedError(f"{action.name}: {text or message.response}", is_permission=is_permission)
            self.is_partial = True
            self._close(message)
            return
        self.version = message.get("AsteriskVersion") or self.version
        if message.get("CoreStartupTime"):
            self.boot = f"{message.get('CoreStartupDate')} {message.get('CoreStartupTime')}"
        if not action.end:
            self._close(message)

    def _close(self, message: AmiMessage) -> None:
        del self._open[message.headers["ActionID"]]
