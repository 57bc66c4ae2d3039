"""The headers of the pages and of the files that they load."""

from __future__ import annotations

from collections.abc import Collection

_DIRECTIVES = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; object-src 'none'; "
    "require-trusted-types-for 'script'; trusted-types lit-html"
)

HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "screen-wake-lock=(self), camera=(), microphone=(), geolocation=(), payment=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""The headers of every page and file, beside those of ``frame_headers``."""


def frame_headers(embedders: Collection[str] = ()) -> dict[str, str]:
    """Return the headers that say what a page may load, and who may show it in a frame.

    Args:
        embedders: the exact origins of the sites that may show it in a frame.
    """
    ancestors = " ".join(embedders) or "'none'"
    headers = {"Content-Security-Policy": f"{_DIRECTIVES}; frame-ancestors {ancestors}"}
    # For old browsers without frame-ancestors; the header cannot name several origins.
    return headers if embedders else {**headers, "X-Frame-Options": "DENY"}
