"""The WebSocket edge: Autobahn on one side, Client on the other."""
