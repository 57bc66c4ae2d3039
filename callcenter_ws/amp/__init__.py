"""The AMP edge: how telephony daemons send events."""
