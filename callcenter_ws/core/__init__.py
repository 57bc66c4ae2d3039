"""The pure core: events, who may see them, and what each connection is owed. No I/O, no clock of its own."""
