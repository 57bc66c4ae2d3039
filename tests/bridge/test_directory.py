"""The users of devices."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from callcenter_ws.bridge.asterisk.devices import AsteriskDevices, device_of_channel
from callcenter_ws.bridge.directory import Directory, User
from callcenter_ws.bridge.settings import AgentEntry

PATTERN = "(?:PJSIP|SIP)/(?P<user_id>[0-9]+)"
ALICE = AgentEntry(user_id="alice", username="Alice Adams", extension="201")


def directory_of(agents: Mapping[str, AgentEntry], pattern: str) -> Directory:
    """Return the directory of an Asterisk."""
    return Directory(agents, pattern, AsteriskDevices())


@pytest.mark.parametrize(
    ("channel", "device"),
    [
        ("PJSIP/201-0000001f", "PJSIP/201"),
        ("PJSIP/trunk-acme-00000012", "PJSIP/trunk-acme"),
        ("Local/201@agents-00000003;1", "Local/201@agents"),
        ("Local/201@agents-00000003;2", "Local/201@agents"),
        ("DAHDI/1-1", "DAHDI/1"),
        ("IAX2/office-4711", "IAX2/office"),
        ("PJSIP/201", "PJSIP/201"),
        ("PJSIP/desk-12", "PJSIP/desk-12"),
        ("", ""),
    ],
)
def test_device_of_a_channel(channel: str, device: str) -> None:
    assert device_of_channel(channel) == device


@pytest.mark.parametrize(
    ("device", "extension"),
    [
        ("Local/201@agents/n", "201"),
        ("local/201@agents", "201"),
        ("hint:201@ext-local", "201"),
        ("PJSIP/201", ""),
        ("Agent:1001", ""),
    ],
)
def test_extension_of_a_device(device: str, extension: str) -> None:
    assert AsteriskDevices().extension(device) == extension


@pytest.mark.parametrize("device", ["PJSIP/201", "pjsip/201", "Local/201@agents/n", "Local/201@agents", "hint:201@x"])
def test_the_table_knows_each_name_of_a_device(device: str) -> None:
    directory = directory_of({"PJSIP/201": ALICE}, "")
    assert directory.user_of(device) == User("alice", "Alice Adams", "201")


def test_the_table_precedes_the_pattern() -> None:
    directory = directory_of({"PJSIP/201": ALICE}, PATTERN)
    assert [directory.user_of(f"PJSIP/{number}") for number in (201, 202)] == [
        User("alice", "Alice Adams", "201"),
        User("202"),
    ]


def test_a_hint_stands_for_the_phone_of_its_extension() -> None:
    # FreePBX: member => Local/201@from-queue/n,0,Alice,hint:201@ext-local
    by_pattern, by_table = directory_of({}, PATTERN), directory_of({"SIP/201": AgentEntry(user_id="alice")}, "")
    found = [
        directory.user_of_member("Local/201@from-queue/n", "hint:201@ext-local") for directory in (by_pattern, by_table)
    ]
    assert found == [User("201"), User("alice")]


@pytest.mark.parametrize("device", ["PJSIP/trunk-acme", "PJSIP/201x", "Local/1@robots/n", "Agent:1001", "", "PJSIP/"])
def test_other_devices_have_no_user(device: str) -> None:
    assert directory_of({}, PATTERN).user_of(device) is None


def test_the_pattern_may_match_the_stripped_interface() -> None:
    directory = directory_of({}, "(?:PJSIP/)?(?P<user_id>[0-9]+)")
    assert directory.user_of("Local/201@from-queue/n") == directory.user_of("PJSIP/201") == User("201")


def test_an_extension_of_two_users_finds_neither() -> None:
    agents = {"PJSIP/201": ALICE, "PJSIP/301": AgentEntry(user_id="bob", extension="201")}
    assert directory_of(agents, "").user_of("Local/201@agents") is None


def test_two_devices_of_one_user_share_an_extension() -> None:
    directory = directory_of({"PJSIP/201": ALICE, "PJSIP/201-home": ALICE}, "")
    assert directory.user_of("Local/201@agents") == User("alice", "Alice Adams", "201")


def test_a_member_goes_by_its_state_interface_then_by_its_interface() -> None:
    directory = directory_of({"PJSIP/201": ALICE}, PATTERN)
    found = [
        directory.user_of_member("Local/7@x/n", "PJSIP/202"),
        directory.user_of_member("PJSIP/202", "Custom:lamp"),
        directory.user_of_member("PJSIP/202", ""),
        directory.user_of_member("Local/7@x/n", ""),
    ]
    assert found == [User("202"), User("202"), User("202"), None]


def test_signing_in_at_a_device_precedes_the_table_until_it_ends() -> None:
    directory = directory_of({"PJSIP/201": ALICE}, "")
    before = directory.user_of("PJSIP/201")
    directory.bind("PJSIP/201", User("carol"))
    bound = directory.user_of("PJSIP/201")
    directory.bind("PJSIP/201", None)
    assert (bound, directory.user_of("PJSIP/201")) == (User("carol"), before)


def test_a_reload_changes_the_users_but_not_who_signed_in() -> None:
    directory = directory_of({"PJSIP/201": ALICE}, PATTERN)
    directory.bind("PJSIP/203", User("carol"))
    directory.user_of("PJSIP/201")
    directory.reload({"PJSIP/202": ALICE}, "")
    found = [directory.user_of(f"PJSIP/{number}") for number in (201, 202, 203)]
    assert found == [None, User("alice", "Alice Adams", "201"), User("carol")]


def test_a_reload_with_a_bad_pattern_changes_nothing() -> None:
    directory = directory_of({}, PATTERN)
    with pytest.raises(ValueError, match="no group"):
        directory.reload({}, "PJSIP/[0-9]+")
    assert directory.user_of("PJSIP/201") == User("201")


def test_the_name_comes_from_the_best_source() -> None:
    directory = directory_of({"PJSIP/201": ALICE}, PATTERN)
    for user_id in ("alice", "202"):
        directory.learn_name(user_id, "Member Name")
        directory.learn_name(user_id, "Name in another queue")
    found = [
        directory.name_of(User("alice", "Alice Adams"), "Caller"),
        directory.name_of(User("202"), "Caller"),
        directory.name_of(User("203"), "Caller"),
        directory.name_of(User("203")),
    ]
    assert found == ["Alice Adams", "Member Name", "Caller", "203"]


def test_names_and_cache_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callcenter_ws.bridge.directory._MAX_NAMES", 1)
    monkeypatch.setattr("callcenter_ws.bridge.directory._MAX_CACHED", 2)
    directory = directory_of({}, PATTERN)
    for number in range(10):
        directory.learn_name(str(number), f"Name {number}")
        directory.user_of(f"PJSIP/{number}")
    assert [directory.name_of(User("0")), directory.name_of(User("1"))] == ["Name 0", "1"]
    assert len(directory._users) <= 2


@pytest.mark.parametrize(
    ("template", "device", "extension"),
    [
        ("PJSIP/{extension}", "PJSIP/201", "201"),
        ("PJSIP/{extension}", "pjsip/201", "201"),
        ("PJSIP/{extension}", "SIP/201", ""),
        ("PJSIP/9{extension}", "PJSIP/9201", "201"),
        ("PJSIP/{extension}", "hint:201@ext-local", "201"),
        ("PJSIP/2{extension}1", "PJSIP/21", ""),
        ("", "PJSIP/201", ""),
    ],
)
def test_the_extension_of_who_is_found_by_the_pattern(template: str, device: str, extension: str) -> None:
    directory = Directory({}, PATTERN, AsteriskDevices(), template)
    user = directory.user_of(device)
    assert user is not None and user.extension == extension


def test_an_extension_that_cannot_be_dialed_is_none() -> None:
    directory = Directory({}, "PJSIP/(?P<user_id>.+)", AsteriskDevices(), "PJSIP/{extension}")
    assert directory.user_of("PJSIP/anna") == User("anna")
    directory.reload({}, "PJSIP/(?P<user_id>.+)", "PJSIP/a{extension}")
    assert directory.user_of("PJSIP/a201") == User("a201", extension="201")
