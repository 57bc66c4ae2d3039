"""The settings: their keys, their rules, and the sources they are read from."""
