"""Metrics and health of a node."""
