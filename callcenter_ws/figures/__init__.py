"""Figures: runs the fold of ``statistics`` over each tenant's stream; writes and announces what changed."""
