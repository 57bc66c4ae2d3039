"""Configures Sphinx: ``sphinx-build -W -b html docs docs/_build/html``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import callcenter_ws

project = "callcenter-ws"
author = "callcenter-ws contributors"
copyright = f"2026, {author}"
release = version = callcenter_ws.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "Real-time events for call centers", "fixed_sidebar": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
highlight_language = "none"
