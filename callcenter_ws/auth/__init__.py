"""Verification of tokens, their keys, and revocations."""
