"""The actions that the server which plays an exchange knows, and the rights that they need."""

from __future__ import annotations

from callcenter_ws.bridge.asterisk.played_actions import CHANGES

LISTS = {
    "QueueStatus": ("QueueStatusComplete", "Queue status will follow"),
    "CoreShowChannels": ("CoreShowChannelsComplete", "Channels will follow"),
    "BridgeList": ("BridgeListComplete", "Bridge listing will follow"),
}
"""The lists: the event that ends each, and the text of its response."""

RIGHTS = {
    "CoreSettings": ("system", "reporting"),
    "CoreStatus": ("system", "reporting"),
    "CoreShowChannels": ("system", "reporting"),
    "Filter": ("system",),
    "Hangup": ("system", "call"),
    **CHANGES,
}
"""The actions that need one of these rights; the others need none."""

ACTIONS = (*LISTS, "CoreSettings", "CoreStatus", "Filter", "ListCommands", "Ping", "Logoff", "Hangup", *CHANGES)
