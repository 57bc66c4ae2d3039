"""Makes the events of a call center with many queues and agents: whole calls, and the states of their agents."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from bench.event import Event, make_event

QUEUES_PER_AGENT = 3
_ABANDONING = 10
"""One of so many calls is abandoned."""

_STAGE_DISTANCE = 100
"""The number of calls that begin between two stages of one call."""

_Stage = tuple[str, dict[str, Any]]


def queue_name(number: int) -> str:
    """Return the name of a queue."""
    return f"queue-{number}"


def agent_id(number: int) -> str:
    """Return the id of an agent."""
    return f"agent-{number}"


def logins(agents: int, queues: int) -> Iterator[Event]:
    """Yield the login of each agent, who is a member of some queues."""
    for number in range(agents):
        names = [queue_name((number + step * 7) % queues) for step in range(QUEUES_PER_AGENT)]
        payload = {"user_id": agent_id(number), "username": f"Agent {number}", "queues": names, "state": "available"}
        yield make_event("agent.login", payload)


def busy_center(agents: int, queues: int) -> Iterator[Event]:
    """Yield events without end: calls in all stages at once, of ten events six of calls and four of agents.

    One of ten calls is abandoned. All events belong to the figures of a queue or an agent, except ``call.incoming``.
    """
    for step in count():
        for index in range(len(_stages(0, agents, queues))):
            number = step - index * _STAGE_DISTANCE
            stages = _stages(number if number >= 0 else 10**9 + number, agents, queues)
            if index < len(stages):
                yield make_event(*stages[index])


def _stages(number: int, agents: int, queues: int) -> list[_Stage]:
    """Return the events of a call, in order."""
    queue = number * 7 % queues
    agent = {"agent_id": agent_id(number % agents)}
    call = {
        "unique_id": f"1763840400.{number}",
        "caller_id": f"+1555{number % 10_000_000:07d}",
        "destination": "800",
        "queue_name": queue_name(queue),
    }
    if number % _ABANDONING == _ABANDONING - 1:
        return [
            ("call.incoming", call),
            ("queue.joined", {**call, "position": 1}),
            ("queue.left", {**call, "reason": "abandoned", "wait_seconds": number % 40}),
            ("call.abandoned", {**call, "wait_seconds": number % 40}),
            ("call.ended", {**call, "ended_by": "caller", "duration": 12}),
        ]
    return [
        ("call.incoming", call),
        ("queue.joined", {**call, "position": 1}),
        ("call.ringing", {**call, **agent}),
        _state(number % agents, "ringing"),
        ("call.answered", {**call, **agent}),
        _state(number % agents, "talking"),
        ("queue.left", {**call, "reason": "answered", "wait_seconds": number % 40}),
        ("call.ended", {**call, **agent, "ended_by": "caller", "duration": 184}),
        _state(number % agents, "wrap_up"),
        _state(number % agents, "available"),
    ]


def _state(number: int, state: str) -> _Stage:
    return "agent.state.changed", {"user_id": agent_id(number), "username": f"Agent {number}", "state": state}
