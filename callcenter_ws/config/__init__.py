"""The settings: what there is to set, what it must fulfil, and where it is read from."""
