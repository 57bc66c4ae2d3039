"""The store of many nodes: Redis is the log, the bus, and the memory of who is where."""
