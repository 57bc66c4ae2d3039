"""The tokens of the demo, and the text that is printed when it starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from callcenter_ws.auth.accounts import Subject
from callcenter_ws.auth.page_tokens import PAGE_ROLES
from callcenter_ws.auth.signing import sign_token
from callcenter_ws.demo.sample_data import DEMO_AGENT, DEMO_SESSION
from callcenter_ws.demo.state import DemoState
from callcenter_ws.errors import ErrorCode, Refusal

LIFETIME = 12 * 3600
"""Seconds for which a token of the demo is valid."""

_CLAIMS: dict[str, dict[str, str]] = {
    "agent": {"sub": DEMO_AGENT.user_id, "name": DEMO_AGENT.name, "extension": DEMO_AGENT.extension},
    "supervisor": {"sub": "supervisor-01", "name": "Demo Supervisor"},
    "wallboard": {"sub": "wallboard-01", "name": "Demo Wallboard"},
    "visitor": {"sub": f"visitor-{DEMO_SESSION}", "name": "Demo Visitor", "session_id": DEMO_SESSION},
}


class DemoTokens:
    """Signs tokens for the roles of the demo.

    Args:
        time: returns the Unix time in seconds.
    """

    def __init__(self, state: DemoState, time: Callable[[], float]) -> None:
        self._secret = state.read_secret()
        self._tenant = state.tenant
        self._time = time

    def __call__(self, role: str) -> str:
        """Return a token for ``role``, valid for 12 hours.

        Raises:
            Refusal: ``invalid_message`` if the demo has no such role.
        """
        claims = _CLAIMS.get(role)
        if claims is None:
            raise Refusal(ErrorCode.INVALID_MESSAGE, f"role: expected one of {', '.join(_CLAIMS)}")
        now = int(self._time())
        always = {"tenant_id": self._tenant, "role": role, "iat": now, "exp": now + LIFETIME}
        return sign_token(self._secret, {**claims, **always})


def ready_made_tokens(state: DemoState, now: float) -> dict[str, str]:
    """Return a token for each role of the demo: agent, supervisor, wallboard, visitor.

    Args:
        now: Unix time in seconds.
    """
    tokens = DemoTokens(state, lambda: now)
    return {role: tokens(role) for role in _CLAIMS}


def demo_subjects(state: DemoState) -> dict[str, Subject]:
    """Return whom a click on the page signs in, by role."""
    return {
        role: Subject(state.tenant, claims["sub"], role, claims["name"], None)
        for role, claims in _CLAIMS.items()
        if role in PAGE_ROLES
    }


def announcement(state: DemoState, tokens: Mapping[str, str]) -> str:
    """Return the text that is printed when the demo has started: the page's URL, tokens, and commands to try."""
    listed = "\n".join(f"  {role:<11}{token}" for role, token in tokens.items())
    websocket = f"ws{state.url.removeprefix('http').rstrip('/')}/ws"
    return f"""\
The demo of callcenter-ws is running.

  Open  {state.url}demo  in a browser: it says what to try.

  Daemons send to  {state.amp_endpoint}  tenant "{state.tenant}".

Development tokens, valid for 12 hours:

{listed}

To try in another terminal, in the same environment (. .venv/bin/activate):

  callcenter-ws tail
  callcenter-ws emit alert '{{"title": "Hello", "message": "from the command line"}}'
  callcenter-ws command agent.state.set user_id={DEMO_AGENT.user_id} state=break reason=lunch --wait
  wscat -c "{websocket}?snapshot=1" -H "Authorization: Bearer $(callcenter-ws token --role supervisor)"
  wscat -c {websocket}/public -H "Authorization: Bearer $(callcenter-ws token --role visitor --session {DEMO_SESSION})"

The signing secret is in {state.secret_file}: for development only.
"""
