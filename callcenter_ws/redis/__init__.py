"""A client of Redis: its address, connections, scripts and keys."""
