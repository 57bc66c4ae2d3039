"""General code on top of Twisted: clocks, timers, background work, TLS, listeners. Independent of events."""
