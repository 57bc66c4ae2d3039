"""The ready-made tokens of the demo, and the text that is printed when it starts."""

from __future__ import annotations

from pathlib import Path

import jwt
import pytest

from callcenter_ws.demo.sample_data import AGENTS, DEMO_SESSION
from callcenter_ws.demo.state import DemoState
from callcenter_ws.demo.tokens import LIFETIME, DemoTokens, announcement, ready_made_tokens
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Role

NOW = 1_800_000_000.0


@pytest.fixture
def state(tmp_path: Path) -> DemoState:
    return DemoState.prepare("http://127.0.0.1:8080/", {"CALLCENTER_WS_DEMO_DIR": str(tmp_path)})


def claims(state: DemoState, token: str) -> dict[str, object]:
    found: dict[str, object] = jwt.decode(
        token, state.read_secret(), algorithms=["HS256"], options={"verify_exp": False, "verify_iat": False}
    )
    return found


def test_each_role_has_a_token_for_twelve_hours(state: DemoState) -> None:
    tokens = ready_made_tokens(state, NOW)
    assert list(tokens) == ["agent", "supervisor", "wallboard", "visitor"]
    for role, token in tokens.items():
        found = claims(state, token)
        assert (found["role"], found["tenant_id"]) == (Role(role), "demo")
        assert (found["iat"], found["exp"]) == (NOW, NOW + LIFETIME)
        assert found["sub"]
        assert found["name"]


def test_the_agent_and_the_visitor_exist_in_the_model(state: DemoState) -> None:
    tokens = ready_made_tokens(state, NOW)
    assert claims(state, tokens["agent"])["sub"] in [person.user_id for person in AGENTS]
    assert claims(state, tokens["visitor"])["session_id"] == DEMO_SESSION


@pytest.mark.parametrize("role", ["admin", "service", "", "Agent", "\ufffd"])
def test_other_roles_are_refused(state: DemoState, role: str) -> None:
    with pytest.raises(Refusal, match="expected one of agent, supervisor, wallboard, visitor") as refused:
        DemoTokens(state, lambda: NOW)(role)
    assert refused.value.code is ErrorCode.INVALID_MESSAGE


def test_the_announcement_has_addresses_and_commands_but_not_the_secret(state: DemoState) -> None:
    tokens = ready_made_tokens(state, NOW)
    text = announcement(state, tokens)
    assert state.url in text
    assert all(token in text for token in tokens.values())
    assert "ws://127.0.0.1:8080/ws?snapshot=1" in text
    assert "callcenter-ws emit alert" in text
    assert f"Daemons send to  {state.amp_endpoint}  tenant" in text
    assert state.read_secret().decode() not in text
    assert str(state.secret_file) in text
