"""What may go wrong in a measurement."""

from __future__ import annotations


class Broken(Exception):
    """Something was lost, repeated, out of order or not answered: no figure of this run is worth anything."""


class Unavailable(Exception):
    """The gateway does not run with these settings; the text is its reason."""
