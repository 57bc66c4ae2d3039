"""The gateway as a Twisted service: how its parts are assembled, started and stopped."""
