"""Brokers: they make events durable and assign their positions."""
