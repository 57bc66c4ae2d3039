"""Makes a screenshot of the wallboard in each state, and says what is cut off or too small.

python tests/browser/screenshots.py [--only PART] [--to FOLDER]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent)]

from browser_driver import Browser  # noqa: E402 (after the path)
from fixture_site import fixture_site  # noqa: E402

SIZES = {
    "hd": (1920, 1080),
    "4k": (3840, 2160),
    "laptop": (1366, 768),
    "phone": (390, 844),
    "tablet": (1024, 768),
    "manual": (960, 540),
}
"""The windows in which each state is shown; docs/wallboard-*.png are those for the manual."""


def main() -> int:
    """Make the screenshots; return 1 if something is cut off or too small."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a part of the names of the screenshots that are made")
    parser.add_argument("--to", type=Path, default=Path("screenshots"), help="the folder for them")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    found = 0
    with tempfile.TemporaryDirectory() as folder, fixture_site() as url, Browser.start(Path(folder)) as browser:
        tab = browser.context().open(f"{url}/fixtures/wallboard.html")
        states = tab.evaluate(
            "import('/fixtures/wallboard_states.js').then((it) => { window.it = it; return Object.keys(it.STATES); })"
        )
        for size, (width, height) in SIZES.items():
            for theme in ("dark", "light"):
                for state in states:
                    name = f"{state}-{size}-{theme}"
                    if options.only not in name:
                        continue
                    tab.resize(width, height)
                    tab.evaluate(f"it.show({json.dumps(state)}, {{theme: {json.dumps(theme)}}})")
                    (options.to / f"{name}.png").write_bytes(tab.screenshot(width, height))
                    minimum = 5.95 if width / height > 1.6 else 0
                    faults = tab.evaluate(f"it.faults({{minimum: {minimum}}})")
                    for fault in faults:
                        sys.stdout.write(f"{name}: {fault}\n")
                    found += len(faults)
        for error in (*tab.errors, *tab.csp_violations):
            sys.stdout.write(f"{error}\n")
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
