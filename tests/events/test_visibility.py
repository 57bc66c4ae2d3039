"""Visibility of events (``docs/protocol.rst``, "Who sees what"): a table of types and roles, and the other rules."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_events import REQUIRED, event, principal

from callcenter_ws.events.catalogue import CATALOGUE, EventType, Payload
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.redaction import View, redact
from callcenter_ws.events.visibility import AgentCalls, AgentChats, interest, is_announced, may_ever_see, may_see

AGENT, SUPERVISOR, ADMIN, WALLBOARD, VISITOR, SERVICE = Role

STAFF = {SUPERVISOR, ADMIN, SERVICE}
ROLES_OF_TYPE: dict[str, set[Role]] = {
    "agent.login": STAFF | {AGENT, WALLBOARD},
    "agent.state.changed": STAFF | {AGENT, WALLBOARD},
    "agent.logout": STAFF | {AGENT, WALLBOARD},
    "call.incoming": STAFF | {AGENT, WALLBOARD},
    "call.ringing": STAFF | {AGENT, WALLBOARD},
    "call.answered": STAFF | {AGENT, WALLBOARD},
    "call.hold": STAFF | {AGENT, WALLBOARD},
    "call.unhold": STAFF | {AGENT, WALLBOARD},
    "call.transferred": STAFF | {AGENT, WALLBOARD},
    "call.missed": STAFF | {AGENT, WALLBOARD},
    "call.abandoned": STAFF | {AGENT, WALLBOARD},
    "call.ended": STAFF | {AGENT, WALLBOARD},
    # A wallboard is seen by people who walk by: no notes.
    "call.disposition": STAFF | {AGENT},
    "queue.joined": STAFF | {AGENT, WALLBOARD},
    "queue.left": STAFF | {AGENT, WALLBOARD},
    "queue.stats": STAFF | {AGENT, WALLBOARD},
    "queue.member.added": STAFF | {AGENT, WALLBOARD},
    "queue.member.removed": STAFF | {AGENT, WALLBOARD},
    "queue.member.paused": STAFF | {AGENT, WALLBOARD},
    "queue.member.unpaused": STAFF | {AGENT, WALLBOARD},
    "chat.session.started": STAFF | {AGENT, VISITOR},
    "chat.message": STAFF | {AGENT, VISITOR},
    "chat.typing": STAFF | {AGENT, VISITOR},
    "chat.delivered": STAFF | {AGENT},
    "chat.transferred": STAFF | {AGENT, VISITOR},
    "chat.session.ended": STAFF | {AGENT, VISITOR},
    # For one user only, which must not be a visitor.
    "notification": STAFF | {AGENT, WALLBOARD},
    "alert": STAFF | {AGENT, WALLBOARD},
    "source.up": STAFF | {AGENT, WALLBOARD},
    "source.down": STAFF | {AGENT, WALLBOARD},
    # As events; who sees them as figures is in ``TestFigures``.
    "agent.stats": {AGENT, SUPERVISOR, ADMIN},
    "tenant.stats": STAFF | {AGENT, WALLBOARD},
    # Not for agents: with n agents, n reconnects would cause n squared messages.
    "presence.changed": STAFF | {WALLBOARD},
    **{f"queue.alert.{what}": STAFF | {AGENT, WALLBOARD} for what in ("raised", "acknowledged", "cleared")},
    # For the asker only.
    **{f"command.{state}": STAFF | {AGENT} for state in ("done", "failed")},
    "command.executed": {SUPERVISOR, ADMIN},
    "statistics.settings.changed": {Role.ADMIN},
}
NAMES = sorted(ROLES_OF_TYPE)
CALL_NAMES = [name for name in NAMES if name.startswith("call.") or name in ("queue.joined", "queue.left")]
CHAT_NAMES = [name for name in NAMES if name.startswith("chat.")]
QUEUE_NAMES = [name for name in NAMES if name.startswith(("call.", "queue.")) or name == "command.executed"]


def sees(
    user: Principal,
    name: str,
    payload: dict[str, Any] | None = None,
    calls: AgentCalls = "all",
    chats: AgentChats = "own",
    **fields: Any,
) -> bool:
    return may_see(user, event(name, payload, **fields), calls, chats)


def unrestricted(role: Role) -> Principal:
    return principal(role, session_id="s-1" if role is VISITOR else None)


def test_the_table_covers_the_catalogue_and_every_role() -> None:
    assert set(ROLES_OF_TYPE) == set(CATALOGUE)
    assert set().union(*ROLES_OF_TYPE.values()) == set(Role)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("role", Role)
def test_a_role_sees_the_types_whose_audience_contains_it(role: Role, name: str) -> None:
    expected = role in ROLES_OF_TYPE[name]
    assert may_ever_see(role, CATALOGUE[name].audience) is expected
    own = (
        {"agent_id": "7"} if name.startswith("call.") else {"to_agent_id": "7"} if name == "chat.transferred" else None
    )
    assert sees(unrestricted(role), name, own) is expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("role", Role)
def test_an_event_is_not_visible_in_another_tenant(role: Role, name: str) -> None:
    made = event(name, {"agent_id": "7"} if name.startswith("call.") else None, tenant_id="globex", user_id="7")
    for calls in ("all", "own"):
        assert not may_see(unrestricted(role), made, calls)
        assert not may_see(principal(role, "7", "Globex", session_id="s-1"), made, calls)
        assert not may_see(principal(role, "7", "*", session_id="s-1"), made, calls)


@pytest.mark.parametrize("role", Role)
def test_a_type_with_an_empty_audience_is_visible_to_no_role(role: Role) -> None:
    made = event("alert")
    made.type = EventType("alert", Payload, frozenset())
    assert not may_see(unrestricted(role), made)


class TestTargeted:
    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("role", Role)
    def test_an_event_for_a_user_is_visible_to_that_user_only(self, role: Role, name: str) -> None:
        expected = role in ROLES_OF_TYPE[name]
        assert sees(unrestricted(role), name, user_id="7") is expected
        assert not sees(unrestricted(role), name, user_id="8")

    def test_an_event_for_a_user_is_visible_regardless_of_its_queues(self) -> None:
        for role in (AGENT, SUPERVISOR, ADMIN, WALLBOARD):
            user = principal(role, queues=frozenset({"other"}))
            assert sees(user, "queue.stats", user_id="7")
            assert sees(user, "call.ended", user_id="7", calls="own")

    def test_an_event_for_a_visitor_is_limited_to_its_session(self) -> None:
        visitor = principal(VISITOR, session_id="s-1")
        assert sees(visitor, "chat.message", user_id="7")
        assert not sees(visitor, "chat.message", {"session_id": "s-2"}, user_id="7")
        assert not sees(visitor, "chat.message", {"private": True}, user_id="7")
        assert not sees(visitor, "notification", user_id="7")


class TestQueuesClaim:
    @pytest.mark.parametrize("name", QUEUE_NAMES)
    @pytest.mark.parametrize("role", [SUPERVISOR, ADMIN, AGENT, WALLBOARD, SERVICE])
    def test_the_claim_restricts_queue_and_call_events(self, role: Role, name: str) -> None:
        user, in_audience = principal(role, "99", queues=frozenset({"sales", "5"})), role in ROLES_OF_TYPE[name]
        assert sees(user, name, {"queue_name": "sales"}) is in_audience
        assert sees(user, name, {"queue_name": 5}) is in_audience
        assert not sees(user, name, {"queue_name": "help"})
        if "queue_name" not in REQUIRED[name]:
            assert not sees(user, name)
            assert not sees(user, name, {"queue_name": None})

    @pytest.mark.parametrize("name", sorted(set(NAMES) - set(QUEUE_NAMES)))
    @pytest.mark.parametrize("role", [SUPERVISOR, ADMIN, AGENT, WALLBOARD, SERVICE])
    def test_the_claim_restricts_no_other_events(self, role: Role, name: str) -> None:
        target = {"user_id": "7"} if CATALOGUE[name].needs_user else {}
        extra = {"queue_name": "help"} if name.startswith("chat.session.s") else {}
        user = principal(role, queues=frozenset({"sales"}))
        assert sees(user, name, extra, chats="all", **target) is (role in ROLES_OF_TYPE[name])

    @pytest.mark.parametrize("role", [SUPERVISOR, ADMIN, AGENT, WALLBOARD])
    def test_an_empty_claim_differs_from_an_absent_one(self, role: Role) -> None:
        assert sees(principal(role, "99"), "queue.stats")
        assert not sees(principal(role, "99", queues=frozenset()), "queue.stats")

    @pytest.mark.parametrize("name", CALL_NAMES)
    @pytest.mark.parametrize("field", ["agent_id", "from_agent_id", "to_agent_id"])
    def test_an_agent_sees_its_own_call_in_any_queue(self, name: str, field: str) -> None:
        agent = principal(AGENT, "7", queues=frozenset({"sales"}))
        base = {"agent_id": "8"} if "agent_id" in REQUIRED[name] else {}
        assert sees(agent, name, {**base, "queue_name": "help", field: "7"})
        assert sees(agent, name, {**base, "queue_name": "help", field: 7})
        assert not sees(agent, name, {**base, "queue_name": "help", field: "77"})
        assert not sees(
            principal(SUPERVISOR, "7", queues=frozenset({"sales"})), name, {"queue_name": "help", field: "7"}
        )


class TestOwnCallsOnly:
    """``[policy] agent_calls = "own"``: calls that the agent handles, and unanswered calls of its queues."""

    ANSWERED = ("call.answered", "call.hold", "call.unhold", "call.transferred", "call.ended", "call.disposition")
    OTHERS = sorted(name for name in set(NAMES) - set(CALL_NAMES) if AGENT in ROLES_OF_TYPE[name])

    @pytest.mark.parametrize("name", CALL_NAMES)
    def test_an_agent_sees_calls_that_it_handles(self, name: str) -> None:
        for queues in (None, frozenset[str](), frozenset({"other"})):
            assert sees(principal(AGENT, "7", queues=queues), name, {"agent_id": "7"}, "own")

    @pytest.mark.parametrize("name", CALL_NAMES)
    def test_an_agent_sees_unanswered_calls_of_its_queues(self, name: str) -> None:
        agent = principal(AGENT, "9", queues=frozenset({"sales"}))
        expected = name not in self.ANSWERED
        assert sees(agent, name, {"queue_name": "sales"}, "own") is expected
        assert not sees(agent, name, {"queue_name": "help"}, "own")

    @pytest.mark.parametrize("name", CALL_NAMES)
    def test_an_agent_without_queues_sees_no_call_of_others(self, name: str) -> None:
        for queue in ({}, {"queue_name": "sales"}):
            assert not sees(principal(AGENT, "9"), name, queue, "own")

    @pytest.mark.parametrize("name", OTHERS)
    def test_other_events_are_not_restricted(self, name: str) -> None:
        target = {"user_id": "9"} if CATALOGUE[name].needs_user else {}
        assert sees(principal(AGENT, "9"), name, calls="own", chats="all", **target)

    @pytest.mark.parametrize("name", CALL_NAMES)
    @pytest.mark.parametrize("role", [SUPERVISOR, ADMIN, WALLBOARD, SERVICE])
    def test_other_roles_are_not_restricted(self, role: Role, name: str) -> None:
        assert sees(principal(role, "9"), name, calls="own") is (role in ROLES_OF_TYPE[name])


class TestVisitor:
    """A visitor sees events of its own chat session only."""

    @pytest.mark.parametrize("name", NAMES)
    def test_a_visitor_without_a_session_sees_nothing(self, name: str) -> None:
        assert not sees(principal(VISITOR), name)
        assert not sees(principal(VISITOR), name, {"session_id": None} if "session_id" not in REQUIRED[name] else {})

    @pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("chat.")])
    def test_a_visitor_sees_no_other_families_even_with_its_session_id(self, name: str) -> None:
        assert not sees(principal(VISITOR, session_id="s-1"), name, {"session_id": "s-1"})
        assert not sees(principal(VISITOR, session_id="s-1"), name, {"session_id": "s-1"}, user_id="7")

    @pytest.mark.parametrize("name", [name for name in CHAT_NAMES if name != "chat.delivered"])
    def test_a_visitor_sees_its_own_session_only(self, name: str) -> None:
        visitor = principal(VISITOR, session_id="5")
        assert sees(visitor, name, {"session_id": "5"})
        assert sees(visitor, name, {"session_id": 5})
        for other in ("s-1", "05", "5 ", 55, "None"):
            assert not sees(visitor, name, {"session_id": other})

    def test_a_visitor_is_not_told_what_its_own_page_has_received(self) -> None:
        assert not sees(principal(VISITOR, session_id="s-1"), "chat.delivered")

    def test_a_visitor_sees_no_private_messages(self) -> None:
        visitor = principal(VISITOR, session_id="s-1")
        assert sees(visitor, "chat.message", {"private": False})
        assert sees(visitor, "chat.message", {"private": None})
        assert not sees(visitor, "chat.message", {"private": True})
        for role in (AGENT, SUPERVISOR, ADMIN):
            assert sees(principal(role), "chat.message", {"private": True})


class TestRedaction:
    CALL: ClassVar[dict[str, Any]] = {
        "caller_id": "+351",
        "caller_name": "Rui",
        "variables": {"CALLERID(num)": "+351"},
        "destination": "100",
    }

    def test_a_wallboard_is_shown_no_caller(self) -> None:
        assert redact(self.CALL, View.WALLBOARD) == {"caller_id": "***", "caller_name": "***", "destination": "100"}

    def test_a_wallboard_is_shown_no_destination_of_an_outbound_call(self) -> None:
        shown = redact({**self.CALL, "direction": "outbound"}, View.WALLBOARD)
        assert shown == {"caller_id": "***", "caller_name": "***", "destination": "***", "direction": "outbound"}

    def test_an_unknown_caller_is_not_masked(self) -> None:
        unknown = {"caller_id": None, "caller_name": ""}
        assert redact(unknown, View.WALLBOARD) == unknown

    def test_the_full_view_is_not_redacted(self) -> None:
        assert redact(self.CALL, View.FULL) == self.CALL

    def test_a_visitor_is_shown_no_email_address_at_any_depth(self) -> None:
        chat = {
            "session_id": "s-1", "visitor_email": "a@x", "senderEmail": "b@x", "EMAIL": "c@x", "body": "me@x",
            "sender": {"name": "Ana", "email": "d@x", "more": [{"work_email": "e@x", "n": 1}, [{"email": 1}], "t"]},
        }  # fmt: skip
        assert redact(chat, View.VISITOR) == {
            "session_id": "s-1", "body": "me@x", "sender": {"name": "Ana", "more": [{"n": 1}, [{}], "t"]},
        }  # fmt: skip

    def test_redact_does_not_change_its_argument(self) -> None:
        chat = {"sender": {"email": "a@x"}}
        redact(chat, View.VISITOR)
        redact(self.CALL, View.WALLBOARD)
        assert chat == {"sender": {"email": "a@x"}}
        assert "variables" in self.CALL

    @pytest.mark.parametrize("role", Role)
    def test_the_view_of_each_role(self, role: Role) -> None:
        views = {WALLBOARD: View.WALLBOARD, VISITOR: View.VISITOR}
        assert principal(role).view is views.get(role, View.FULL)


queues = st.none() | st.frozensets(st.sampled_from(["sales", "help"]))
principals = st.builds(
    Principal,
    tenant_id=st.just("acme"),
    user_id=st.sampled_from(["7", "8"]),
    role=st.sampled_from(Role),
    queues=queues,
    session_id=st.sampled_from([None, "s-1", "s-2"]),
)
untargeted = st.builds(
    event,
    st.sampled_from([name for name in NAMES if not CATALOGUE[name].needs_user]),
    st.fixed_dictionaries(
        {},
        optional={
            "agent_id": st.sampled_from(["7", "8"]), "queue_name": st.sampled_from(["sales", "help"]),
            "private": st.booleans(), "to_agent_id": st.sampled_from(["7", "8"]),
        },
    ),
)  # fmt: skip


@given(principals, principals, untargeted, st.sampled_from(["all", "own"]))
def test_principals_of_equal_interest_see_the_same(
    first: Principal, second: Principal, made: Any, calls: AgentCalls
) -> None:
    """A group of clients is checked once for each event."""
    if interest(first, calls) == interest(second, calls):
        assert may_see(first, made, calls) == may_see(second, made, calls)
        assert first.view is second.view


def test_staff_are_announced_and_services_and_visitors_are_not() -> None:
    assert {role for role in Role if is_announced(principal(role))} == {AGENT, SUPERVISOR, ADMIN, WALLBOARD}


def test_a_star_means_all_tenants() -> None:
    assert principal(ADMIN, tenant_id="*").every_tenant
    assert not principal(ADMIN).every_tenant
