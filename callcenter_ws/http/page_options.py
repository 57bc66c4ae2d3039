"""What the pages that the gateway serves depend on, and a reload may change."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class PageOptions:
    """Options of the pages.

    Attributes:
        embedders: the exact origins of the sites that may show the pages in a frame, and give them a token.
    """

    embedders: tuple[str, ...] = ()
