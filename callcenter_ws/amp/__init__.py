"""The AMP server: telephony daemons publish events to it and receive those of clients from it."""
