"""The HTTP site and its resources, the WebSocket endpoints excepted."""
