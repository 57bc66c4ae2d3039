"""Brokers: where events become durable and get their position."""
