"""Commands: what clients ask to be done, carried out by a source or the gateway, each with one outcome."""
