"""The HTTP resources beside the WebSocket endpoints."""
