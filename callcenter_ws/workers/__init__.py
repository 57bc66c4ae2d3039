"""Several worker processes of one node on one machine, and their supervisor."""
