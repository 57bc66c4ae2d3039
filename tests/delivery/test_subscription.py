"""Subscription: patterns of event types, within those that the role may see."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callcenter_ws.delivery.subscription import Subscription, SubscriptionChange, names_matching, names_visible_to
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.principal import Role

CALLS = frozenset(name for name in CATALOGUE if name.startswith("call."))
CHATS = frozenset(name for name in CATALOGUE if name.startswith("chat."))
QUEUES = frozenset(name for name in CATALOGUE if name.startswith("queue."))
PATTERNS = [*CATALOGUE, "agent.*", "call.*", "queue.*", "queue.member.*", "chat.*", "chat.session.*", "presence.*", "*"]


def test_a_pattern_matches_a_name_a_prefix_or_everything() -> None:
    assert names_matching("call.ended") == {"call.ended"}
    assert names_matching("call.*") == CALLS
    assert names_matching("queue.member.*") == {
        f"queue.member.{end}" for end in ("added", "removed", "paused", "unpaused")
    }
    assert names_matching("*") == frozenset(CATALOGUE)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        ".",
        "*.*",
        "**",
        "call",
        "call.",
        "call*",
        "c*",
        "ca.*",
        "call.e*",
        "call.*.ended",
        ".*",
        "CALL.*",
        " *",
        "call.ended.*",
    ],
)
def test_an_invalid_pattern_matches_nothing(pattern: str) -> None:
    assert names_matching(pattern) == frozenset()


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.SERVICE}))
def test_without_a_subscription_all_visible_types_are_sent(role: Role) -> None:
    subscription = Subscription(role)
    assert subscription.events is None
    assert subscription.names == names_visible_to(role) != frozenset()


def test_after_the_first_subscribe_only_the_list_is_sent() -> None:
    subscription = Subscription(Role.AGENT)
    subscription.add(["call.*", "alert", "call.*"])
    assert subscription.events == ["call.*", "alert"]
    assert subscription.names == CALLS | {"alert"}
    subscription.add(["queue.stats"])
    assert subscription.events == ["call.*", "alert", "queue.stats"]


class TestEmptySubscription:
    """An empty list matches no event; it does not mean that the client never subscribed."""

    @pytest.mark.parametrize("patterns", [["alert"], ["call.ended", "alert"], ["call.*"], ["*"]])
    def test_removing_the_last_pattern_leaves_an_empty_list(self, patterns: list[str]) -> None:
        subscription = Subscription(Role.SUPERVISOR)
        subscription.add(patterns)
        for pattern in patterns:
            subscription.remove([pattern])
        assert subscription.events == []
        assert subscription.names == frozenset()

    def test_removing_everything_without_a_subscription_leaves_an_empty_list(self) -> None:
        subscription = Subscription(Role.AGENT)
        subscription.remove(["*"])
        assert (subscription.events, subscription.names) == ([], frozenset())
        subscription.add(["alert"])
        assert (subscription.events, subscription.names) == (["alert"], {"alert"})

    def test_an_empty_list_stays_empty(self) -> None:
        subscription = Subscription(Role.AGENT)
        subscription.remove(["*"])
        subscription.remove(["alert"])
        assert (subscription.events, subscription.names) == ([], frozenset())


class TestUnsubscribe:
    def test_removing_one_name_of_a_wider_pattern_keeps_the_others(self) -> None:
        subscription = Subscription(Role.AGENT)
        subscription.add(["alert", "call.*"])
        subscription.remove(["call.ended"])
        assert subscription.names == (CALLS | {"alert"}) - {"call.ended"}
        assert subscription.events is not None
        assert "call.*" not in subscription.events
        assert set(subscription.events) == subscription.names

    def test_removing_a_family_without_a_subscription_keeps_all_other_types(self) -> None:
        subscription = Subscription(Role.SUPERVISOR)
        subscription.remove(["call.*"])
        assert subscription.names == names_visible_to(Role.SUPERVISOR) - CALLS

    def test_the_remaining_list_has_no_name_that_the_role_may_not_see(self) -> None:
        subscription = Subscription(Role.AGENT)
        subscription.remove(["alert"])
        assert subscription.events is not None
        assert "presence.changed" not in subscription.events

    def test_removing_a_pattern_that_was_not_subscribed_changes_nothing(self) -> None:
        subscription = Subscription(Role.AGENT)
        subscription.add(["call.*"])
        subscription.remove(["alert", "chat.*"])
        assert subscription.events == ["call.*"]

    def test_removing_a_wider_pattern_removes_the_narrower_ones(self) -> None:
        subscription = Subscription(Role.AGENT)
        subscription.add(["queue.stats", "queue.member.*", "alert"])
        subscription.remove(["queue.*"])
        assert subscription.events == ["alert"]


class TestRefusals:
    @pytest.mark.parametrize("method", ["add", "remove"])
    @pytest.mark.parametrize(
        ("role", "pattern", "code"),
        [
            (Role.AGENT, "call.exploded", ErrorCode.UNKNOWN_EVENT),
            (Role.AGENT, "x" * 1000, ErrorCode.UNKNOWN_EVENT),
            (Role.VISITOR, "nothing.*", ErrorCode.UNKNOWN_EVENT),
            (Role.AGENT, "presence.changed", ErrorCode.FORBIDDEN),
            (Role.AGENT, "presence.*", ErrorCode.FORBIDDEN),
            (Role.VISITOR, "call.incoming", ErrorCode.FORBIDDEN),
            (Role.VISITOR, "call.*", ErrorCode.FORBIDDEN),
            (Role.VISITOR, "notification", ErrorCode.FORBIDDEN),
            (Role.WALLBOARD, "chat.message", ErrorCode.FORBIDDEN),
            (Role.WALLBOARD, "chat.*", ErrorCode.FORBIDDEN),
            (Role.SERVICE, "*", ErrorCode.FORBIDDEN),
        ],
    )
    def test_a_refused_pattern_changes_nothing(self, method: str, role: Role, pattern: str, code: ErrorCode) -> None:
        subscription = Subscription(role)
        valid = "chat.message" if role is Role.VISITOR else "alert"
        subscription.add([valid])
        with pytest.raises(Refusal) as raised:
            getattr(subscription, method)([valid, pattern])
        assert raised.value.code is code
        assert repr(pattern[:64]) in raised.value.message or pattern == "*"
        assert len(raised.value.message) < 200
        assert subscription.events == [valid]
        assert subscription.names == {valid}

    def test_a_refused_first_subscribe_leaves_no_list(self) -> None:
        subscription = Subscription(Role.AGENT)
        with pytest.raises(Refusal):
            subscription.add(["alert", "no.such"])
        assert subscription.events is None


def test_the_wildcard_matches_the_types_visible_to_the_role() -> None:
    for role in set(Role) - {Role.SERVICE}:
        subscription = Subscription(role)
        subscription.add(["*"])
        assert subscription.names == names_visible_to(role)
        assert subscription.events == ["*"]


class TestService:
    """A service is sent nothing until it subscribes to event types by name."""

    def test_a_service_starts_with_an_empty_list(self) -> None:
        subscription = Subscription(Role.SERVICE)
        assert (subscription.events, subscription.names) == ([], frozenset())

    def test_a_service_is_sent_the_named_types(self) -> None:
        subscription = Subscription(Role.SERVICE)
        subscription.add(["call.*", "presence.changed"])
        assert subscription.names == CALLS | {"presence.changed"}


@given(
    st.sampled_from(Role),
    st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3))),
)
def test_any_sequence_of_changes_equals_that_of_sets_of_names(role: Role, steps: list[tuple[bool, list[str]]]) -> None:
    subscription = Subscription(role)
    visible = names_visible_to(role)
    names: set[str] = set() if role is Role.SERVICE else set(visible)
    listed = role is Role.SERVICE
    for adds, patterns in steps:
        matched = set().union(*map(names_matching, patterns)) & visible
        try:
            (subscription.add if adds else subscription.remove)(patterns)
        except Refusal:
            continue
        if adds:
            names = (names | matched) if listed else matched
        else:
            names -= matched
        listed = True
        assert subscription.names == names
        assert subscription.events is not None
        assert set().union(*map(names_matching, subscription.events)) & visible == names


@pytest.mark.parametrize("name", ["\x00", "sales\n", "\x85", "\u2028"])
@pytest.mark.parametrize("removes", [False, True])
def test_queues_with_control_characters_are_refused(name: str, removes: bool) -> None:
    with pytest.raises(Refusal, match="control character") as caught:
        Subscription(Role.AGENT).check(SubscriptionChange(queues=["sales", name], removes=removes))
    assert caught.value.code is ErrorCode.INVALID_MESSAGE
