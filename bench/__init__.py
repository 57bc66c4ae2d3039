"""How fast the gateway is, and what it costs: ``python -m bench``."""
