"""A small simulated call center, for a first look and for development."""
