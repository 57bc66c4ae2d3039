"""Makes a screenshot of each page in each state, and says what is cut off or too small.

python tests/browser/screenshots.py [--only PART] [--to FOLDER]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent)]

from browser_driver import Browser, Context, Tab  # noqa: E402 (after the path)
from fixture_site import fixture_site  # noqa: E402
from page_states import CUT, PAGES, StatesTab  # noqa: E402

SIZES = {
    "hd": (1920, 1080),
    "4k": (3840, 2160),
    "laptop": (1366, 768),
    "phone": (390, 844),
    "small": (360, 740),
    "tablet": (1024, 768),
    "manual": (960, 540),
}
"""The windows in which each state is shown; the images in docs/ are those for the manual."""

THEMES = ("dark", "light")


class Screenshots:
    """Makes the screenshots whose names have a part, and counts what is wrong with them."""

    def __init__(self, folder: Path, only: str) -> None:
        self._folder = folder
        self._only = only
        self.found = 0

    def wanted(self, page: str, state: str) -> Iterator[tuple[str, str, int, int]]:
        """Yield the name, theme, width and height of each screenshot of a state."""
        for theme in THEMES:
            for size, (width, height) in SIZES.items():
                name = f"{page}-{state}-{size}-{theme}"
                if self._only in name:
                    yield name, theme, width, height

    def make(self, tab: Tab, name: str, width: int, height: int, faults: str) -> None:
        """Make one, and print what a script finds wrong."""
        (self._folder / f"{name}.png").write_bytes(tab.screenshot(width, height))
        self.report(name, tab.evaluate(faults))

    def report(self, name: str, faults: list[str]) -> None:
        """Print what is wrong."""
        for fault in faults:
            sys.stdout.write(f"{name}: {fault}\n")
        self.found += len(faults)


def wallboard(context: Context, site: str, screenshots: Screenshots) -> None:
    """Make the screenshots of the wallboard."""
    tab = context.open(f"{site}/fixtures/wallboard.html")
    states = tab.evaluate(
        "import('/fixtures/wallboard_states.js').then((it) => { window.it = it; return Object.keys(it.STATES); })"
    )
    for state in states:
        for name, theme, width, height in screenshots.wanted("wallboard", state):
            tab.resize(width, height)
            tab.evaluate(f"it.show({json.dumps(state)}, {{theme: {json.dumps(theme)}}})")
            minimum = 5.95 if width / height > 1.6 else 0
            screenshots.make(tab, name, width, height, f"it.faults({{minimum: {minimum}}})")
    screenshots.report("wallboard", [*tab.errors, *tab.csp_violations])


def people(context: Context, site: str, page: str, screenshots: Screenshots) -> None:
    """Make the screenshots of a page for people, who choose the theme in their system."""
    shown = StatesTab(context, site, page)
    for state in shown.tab.evaluate("fixture.states"):
        wanted = list(screenshots.wanted(page, state))
        if wanted:
            shown.show(state)
        for name, theme, width, height in wanted:
            shown.tab.prefer(theme)
            screenshots.make(shown.tab, name, width, height, CUT)
        screenshots.report(f"{page}-{state}", [*shown.tab.errors, *shown.tab.csp_violations])


def main() -> int:
    """Make the screenshots; return 1 if something is cut off or too small."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a part of the names of the screenshots that are made")
    parser.add_argument("--to", type=Path, default=Path("screenshots"), help="the folder for them")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    screenshots = Screenshots(options.to, options.only)
    with tempfile.TemporaryDirectory() as folder, fixture_site() as site, Browser.start(Path(folder)) as browser:
        context = browser.context()
        wallboard(context, site, screenshots)
        for page in PAGES:
            people(context, site, page, screenshots)
    return 1 if screenshots.found else 0


if __name__ == "__main__":
    sys.exit(main())
