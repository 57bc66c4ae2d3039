"""The commands that the manual shows: ``callcenter-ws`` accepts their arguments."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from callcenter_ws.cli.main import make_parser

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.rst", ROOT / "CONTRIBUTING.rst", *sorted((ROOT / "docs").glob("*.rst"))]

_PROMPT = re.compile(r"^ +\$ (?P<line>.+)$", re.MULTILINE)
_INLINE = re.compile(r"``callcenter-ws (?P<arguments>[a-z][^`]*)``")
_ENDS = {"|", "||", "&&", ";", ">", ">>", "<", "2>", "&", ")"}
NO_COMMANDS = {"callcenter-ws serves", "callcenter-ws token, emit and tail will not find this demo: {reason}"}
"""Texts of the log, which look like commands."""


def shown_in(page: Path) -> Iterator[list[str]]:
    """Yield the arguments of each command that a page shows at a prompt."""
    # A command may continue on the next line.
    for found in _PROMPT.finditer(page.read_text().replace("\\\n", " ")):
        lexer = shlex.shlex(found["line"].replace("$(", " ( "), posix=True, punctuation_chars=True)
        lexer.wordchars += "*:[]{}@,%=+"
        words = list(lexer)
        for at, word in enumerate(words):
            if word.rpartition("/")[2] == "callcenter-ws" and _is_run(words[:at]):
                arguments = words[at + 1 :]
                yield arguments[: next((index for index, one in enumerate(arguments) if one in _ENDS), None)]


def _is_run(before: list[str]) -> bool:
    """Return whether the word after these is the name of a command that is run."""
    return not before or before[-1] in _ENDS | {"("} or before[-3:-1] == ["sudo", "-u"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shown_commands_are_accepted(page: Path) -> None:
    parser = make_parser()
    for arguments in shown_in(page):
        try:
            parser.parse_args(arguments)
        except SystemExit as end:
            pytest.fail(f"{page.name} shows: callcenter-ws {shlex.join(arguments)} (exit status {end.code})")


def test_commands_are_found() -> None:
    found = [arguments for page in PAGES for arguments in shown_in(page)]
    assert len(found) > 40
    assert {arguments[0] for arguments in found} >= {"check-config", "tail", "emit", "reload", "status", "source"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_sentences_exist(page: Path) -> None:
    known = set(make_parser()._subparsers._group_actions[0].choices)  # type: ignore[union-attr,call-overload]
    named = {f"callcenter-ws {found['arguments']}" for found in _INLINE.finditer(page.read_text())} - NO_COMMANDS
    assert {text for text in named if set(text.split()[1].split("|")) - known} == set()
