"""The servers that are measured: the gateway and its peers, which share one interface."""
