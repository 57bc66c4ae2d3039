"""The WebSocket protocol: connects Autobahn to ``delivery.client``."""
