"""Client to server: admission, rate limits, and a handler for each type of message."""
