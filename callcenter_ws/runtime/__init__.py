"""What lies between Twisted and the rest: clocks, timers, background work, TLS, listening. It knows no event."""
