"""Server to client: the Hub, its clients, and how each gets every event that it may see, once and in order."""
