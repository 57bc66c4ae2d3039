"""A broker on Redis, shared by any number of nodes."""
