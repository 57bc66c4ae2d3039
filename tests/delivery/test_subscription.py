"""What a client asked to hear of, within what its role may see."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callcenter_ws.delivery.subscription import Subscription, names_matching, names_visible_to
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.principal import Role

CALLS = frozenset(name for name in CATALOGUE if name.startswith("call."))
CHATS = frozenset(name for name in CATALOGUE if name.startswith("chat."))
QUEUES = frozenset(name for name in CATALOGUE if name.startswith("queue."))
PATTERNS = [*CATALOGUE, "agent.*", "call.*", "queue.*", "queue.member.*", "chat.*", "chat.session.*", "presence.*", "*"]


def test_a_pattern_is_a_name_a_prefix_or_everything() -> None:
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
def test_anything_else_matches_nothing(pattern: str) -> None:
    assert names_matching(pattern) == frozenset()


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.SERVICE}))
def test_who_never_subscribed_gets_everything_it_may_see(role: Role) -> None:
    subscription = Subscription(role)
    assert subscription.events is None
    assert subscription.names == names_visible_to(role) != frozenset()


def test_after_the_first_subscribe_it_gets_the_list() -> None:
    subscription = Subscription(Role.AGENT)
    subscription.add(["call.*", "alert", "call.*"])
    assert subscription.events == ["call.*", "alert"]
    assert subscription.names == CALLS | {"alert"}
    subscription.add(["queue.stats"])
    assert subscription.events == ["call.*", "alert", "queue.stats"]


class TestAnEmptySubscriptionMeansNothing:
    """With the predecessor a client that unsubscribed from its last event was sent everything again."""

    @pytest.mark.parametrize("steps", [["alert"], ["call.ended", "alert"], ["call.*"], ["*"]])
    def test_after_the_last_was_taken_away(self, steps: list[str]) -> None:
        subscription = Subscription(Role.SUPERVISOR)
        subscription.add(steps)
        for step in steps:
            subscription.remove([step])
        assert subscription.events == []
        assert subscription.names == frozenset()

    def test_without_ever_having_subscribed(self) -> None:
        subscription = Subscription(Role.AGENT)
        subscription.remove(["*"])
        assert (subscription.events, subscription.names) == ([], frozenset())
        subscription.add(["alert"])
        assert (subscription.events, subscription.names) == (["alert"], {"alert"})

    def test_and_stays_so(self) -> None:
        subscription = Subscription(Role.AGENT)
        subscription.remove(["*"])
        subscription.remove(["alert"])
        assert (subscription.events, subscription.names) == ([], frozenset())


class TestUnsubscribe:
    def test_from_one_of_a_wider_pattern_keeps_the_others(self) -> None:
        subscription = Subscription(Role.AGENT)
        subscription.add(["alert", "call.*"])
        subscription.remove(["call.ended"])
        assert subscription.names == (CALLS | {"alert"}) - {"call.ended"}
        assert subscription.events is not None
        assert "call.*" not in subscription.events
        assert set(subscription.events) == subscription.names

    def test_from_everything_but_a_family(self) -> None:
        subscription = Subscription(Role.SUPERVISOR)
        subscription.remove(["call.*"])
        assert subscription.names == names_visible_to(Role.SUPERVISOR) - CALLS

    def test_what_is_left_of_everything_holds_no_name_that_the_role_may_not_see(self) -> None:
        subscription = Subscription(Role.AGENT)
        subscription.remove(["alert"])
        assert subscription.events is not None
        assert "presence.changed" not in subscription.events

    def test_from_what_was_not_subscribed_changes_nothing(self) -> None:
        subscription = Subscription(Role.AGENT)
        subscription.add(["call.*"])
        subscription.remove(["alert", "chat.*"])
        assert subscription.events == ["call.*"]

    def test_a_wider_pattern_takes_the_narrower_with_it(self) -> None:
        subscription = Subscription(Role.AGENT)
        subscription.add(["queue.stats", "queue.member.*", "alert"])
        subscription.remove(["queue.*"])
        assert subscription.events == ["alert"]


class TestRefusals:
    @pytest.mark.parametrize("act", ["add", "remove"])
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
    def test_change_nothing(self, act: str, role: Role, pattern: str, code: ErrorCode) -> None:
        subscription = Subscription(role)
        good = "chat.message" if role is Role.VISITOR else "alert"
        subscription.add([good])
        with pytest.raises(Refusal) as raised:
            getattr(subscription, act)([good, pattern])
        assert raised.value.code is code
        assert repr(pattern[:64]) in raised.value.message or pattern == "*"
        assert len(raised.value.message) < 200
        assert subscription.events == [good]
        assert subscription.names == {good}

    def test_the_first_one_refused_leaves_the_client_unsubscribed(self) -> None:
        subscription = Subscription(Role.AGENT)
        with pytest.raises(Refusal):
            subscription.add(["alert", "no.such"])
        assert subscription.events is None


def test_everything_is_everything_the_role_may_see() -> None:
    for role in set(Role) - {Role.SERVICE}:
        subscription = Subscription(role)
        subscription.add(["*"])
        assert subscription.names == names_visible_to(role)
        assert subscription.events == ["*"]


class TestService:
    """Nothing over WebSocket unless it subscribes by name."""

    def test_starts_with_nothing(self) -> None:
        subscription = Subscription(Role.SERVICE)
        assert (subscription.events, subscription.names) == ([], frozenset())

    def test_gets_what_it_names(self) -> None:
        subscription = Subscription(Role.SERVICE)
        subscription.add(["call.*", "presence.changed"])
        assert subscription.names == CALLS | {"presence.changed"}


@given(
    st.sampled_from(Role),
    st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3))),
)
def test_is_the_sum_of_what_was_added_and_removed(role: Role, steps: list[tuple[bool, list[str]]]) -> None:
    """Against plain sets of names; patterns are only a shorter way to write them."""
    subscription = Subscription(role)
    visible = names_visible_to(role)
    names: set[str] = set() if role is Role.SERVICE else set(visible)
    listed = role is Role.SERVICE
    for adds, patterns in steps:
        meant = set().union(*map(names_matching, patterns)) & visible
        try:
            (subscription.add if adds else subscription.remove)(patterns)
        except Refusal:
            continue
        if adds:
            names = (names | meant) if listed else meant
        else:
            names -= meant
        listed = True
        assert subscription.names == names
        assert subscription.events is not None
        assert set().union(*map(names_matching, subscription.events)) & visible == names
