"""The store in one SQLite file: events survive the process, and with ``synchronous = "full"`` power loss."""
