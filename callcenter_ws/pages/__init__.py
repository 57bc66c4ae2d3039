"""The pages that the gateway serves from its own files: signing in, the wallboard and the live view."""
