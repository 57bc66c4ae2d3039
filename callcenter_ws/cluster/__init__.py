"""Presence of users, membership of nodes, and actions on all nodes; for one node, and for nodes that share a Redis."""
