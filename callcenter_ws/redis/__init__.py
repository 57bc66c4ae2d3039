"""A client for Redis: address, connections, scripts and key names."""
