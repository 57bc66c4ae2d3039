"""callcenter-ws: a real-time event gateway for call centers."""

__version__ = "0.1.0"
