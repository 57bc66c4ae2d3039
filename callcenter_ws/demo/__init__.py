"""A small simulated call center, for evaluation and development."""
