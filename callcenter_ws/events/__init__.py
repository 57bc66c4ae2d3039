"""What happened: the catalogue of events, who may see them, and the bytes that are sent of them."""
