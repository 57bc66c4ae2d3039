"""The control socket: what the commands of operators on this machine ask of a running gateway."""
