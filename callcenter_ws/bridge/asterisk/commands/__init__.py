"""Commands to an Asterisk: scripts of actions, each with the events that prove that it happened."""
