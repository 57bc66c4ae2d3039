"""The Twisted plugin of ``twistd callcenter-bridge``."""

from twisted.application.service import ServiceMaker

callcenter_bridge = ServiceMaker(
    "callcenter-bridge",
    "callcenter_ws.bridge.tap",
    "Bridge of telephone exchanges: their calls, queues and agents as events of a callcenter-ws gateway.",
    "callcenter-bridge",
)
