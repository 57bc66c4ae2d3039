"""The parser of callcenter-ws: help texts, unknown names."""

from __future__ import annotations

import shlex

import pytest

from callcenter_ws.cli.described import Command, commands_of
from callcenter_ws.cli.main import main, make_parser

COMMANDS = list(commands_of(make_parser()))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_an_example_that_can_be_parsed(command: Command) -> None:
    example = command.example
    assert example.startswith(f"callcenter-ws {command.name}")
    words = shlex.split(example.partition(" | ")[0])
    assert make_parser().parse_args(words[1:]).run is not None


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_argument_is_explained(command: Command) -> None:
    assert command.parser.description
    assert [action.dest for action in command.arguments if not action.help] == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_prints_the_same_as_the_option(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    words = command.name.split()
    assert main([*words, "--help"]) == 0
    printed = capsys.readouterr().out
    assert main(["help", *words]) == 0
    assert capsys.readouterr().out == printed
    assert f"usage: callcenter-ws {command.name} " in printed


def test_help_without_a_command_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n    {command.name.split()[0]}" in printed for command in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["emitt"], "emit"),
        (["chek-token"], "check-token"),
        (["source", "forgt"], "forget"),
        (["token", "--role", "supervisr"], "supervisor"),
        (["completion", "fsh"], "fish"),
        (["help", "stat"], "stats"),
    ],
)
def test_near_names_are_suggested(arguments: list[str], meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert f"\nDid you mean {meant}?\n" in capsys.readouterr().err


def test_nothing_is_suggested_for_other_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quux"]) == 2
    printed = capsys.readouterr().err
    assert "invalid choice: 'quux'" in printed
    assert "Did you mean" not in printed
