"""The errors that end a case."""

from __future__ import annotations


class InvalidRun(Exception):
    """An event was lost, repeated, out of order or not answered: the figures of this run are invalid."""


class Unavailable(Exception):
    """Something that a measurement needs is not installed, or the gateway refuses the settings; the text says why."""
