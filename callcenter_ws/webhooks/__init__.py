"""Sends alerts to receivers over HTTPS: the queue of a tenant, the check of addresses, the signature."""
