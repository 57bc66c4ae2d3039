"""Asterisk: its manager interface (AMI), and the translation of its events."""
