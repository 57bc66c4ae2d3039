"""The event catalogue, validation, visibility, and frames."""
