"""callcenter-ws events."""

from __future__ import annotations

import json
import shlex

import msgspec
import pytest
from sample_events import event

from callcenter_ws.cli.event_examples import EXAMPLES
from callcenter_ws.cli.event_texts import meanings
from callcenter_ws.cli.main import main
from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.message_schemas import message_schemas
from callcenter_ws.events.source_rules import SOURCE_TYPES


def test_every_type_has_a_meaning_and_an_example() -> None:
    assert meanings().keys() == EXAMPLES.keys() == CATALOGUE.keys()


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_example_is_valid_and_complete(name: str) -> None:
    payload = CATALOGUE[name].figure or CATALOGUE[name].payload
    declared = {field.encode_name for field in msgspec.structs.fields(payload)}
    assert EXAMPLES[name].keys() == declared
    made = event(name, EXAMPLES[name])
    assert json.loads(made.payload) == EXAMPLES[name]


def test_the_catalogue_is_a_line_for_each_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(CATALOGUE)
    assert "call.ended                   A call ended, after duration seconds" in lines


def test_a_pattern_selects_types(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "queue.member.*"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_type_is_described(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", name]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{name}: ")
    fields = printed.partition("Fields of the payload:\n")[2].partition("\nFields of other names")[0].splitlines()
    declared = msgspec.structs.fields(CATALOGUE[name].figure or CATALOGUE[name].payload)
    assert {line.split()[0] for line in fields} == {field.encode_name for field in declared}
    required = [line.split()[0] for line in fields if " required " in line]
    assert set(required) == {field.encode_name for field in declared if field.required}
    assert [line.split()[0] for line in fields][: len(required)] == required
    example = printed.partition("An example with all fields:\n")[2].partition("\n\n")[0]
    assert json.loads(example) == EXAMPLES[name]
    if name in SOURCE_TYPES or CATALOGUE[name].by_gateway:
        assert "emit cannot publish it" in printed
        return
    program, command, type_, payload, *options = shlex.split(printed.strip().splitlines()[-1])
    assert (program, command, type_) == ("callcenter-ws", "emit", name)
    assert json.loads(payload).keys() == set(required)
    assert options == (["--user-id", "1001"] if CATALOGUE[name].needs_user else [])


def test_what_a_type_does_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    main(["events", "queue.stats"])
    printed = capsys.readouterr().out
    assert "roles that see it  admin, agent, service, supervisor, wallboard\n" in printed
    assert 'snapshot           kept as the last "stats" of its queue (by queue_name)\n' in printed
    assert "conflation         only the newest event matters per queue_name\n" in printed


def test_the_schema_is_that_of_the_gateway(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "alert", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == message_schemas()["alert"]
    assert main(["events", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == message_schemas()
    assert main(["events", "agent.*", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == [
        "agent.login",
        "agent.state.changed",
        "agent.logout",
        "agent.stats",
    ]


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ("call.incomming", "there is no event type 'call.incomming'; did you mean call.incoming?"),
        ("weather", "there is no event type 'weather'\n"),
        ("", "there is no event type ''\n"),
    ],
)
def test_a_misspelled_type_is_refused(wanted: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", wanted]) == 1
    printed = capsys.readouterr()
    assert (printed.out, text in printed.err) == ("", True)
