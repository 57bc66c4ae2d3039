"""The Twisted plugin of ``twistd callcenter-ws``."""

from twisted.application.service import ServiceMaker

callcenter_ws = ServiceMaker(
    "callcenter-ws",
    "callcenter_ws.tap",
    "Real-time event gateway for call centers: events in over AMP, out over WebSocket.",
    "callcenter-ws",
)
