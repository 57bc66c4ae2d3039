"""Signing in at the pages that the gateway serves: users, their sessions, and screens that are paired."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SignInRules:
    """How long sessions last, and how often a password may be tried; may be changed.

    Attributes:
        lifetime, screen_lifetime: seconds after the last use of a person's session, and of a screen's.
        failed_per_name: refused passwords of one name in 15 minutes.
    """

    lifetime: float
    screen_lifetime: float
    failed_per_name: int
