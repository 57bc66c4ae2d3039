"""Agents: the seconds of their states, split at each quarter of an hour, and the queues whose members they are."""

from __future__ import annotations

from collections.abc import Iterator

from callcenter_ws.statistics.occurrence import Occurrence, milliseconds, text_of
from callcenter_ws.statistics.records import Agent, AgentStatus
from callcenter_ws.statistics.repetitions import is_repeated
from callcenter_ws.statistics.state import MAX_QUEUES, State
from callcenter_ws.statistics.sums import AGENT_WRAP_UP, QUARTER_MS, STATE_FIELD, STATES, WRAP_UP

OFFLINE = "offline"
"""The state that counts as logged out."""

_KNOWN_STATES = frozenset((*STATES, OFFLINE))


def log_in(state: State, event: Occurrence) -> None:
    """Log an agent in, with the queues that the login names."""
    agent = _agent_of(state, event)
    if agent is None:
        return
    if event.at >= agent.status.login:
        agent.status.login = event.at
        _set_login_queues(state, agent, event)
    known = agent.status.state is not None and event.facts.state is None
    _change(state, agent, agent.status.state if known else event.facts.state or "available", event)


def change_state(state: State, event: Occurrence) -> None:
    """Change the state of an agent; an agent who is not logged in is so from now on."""
    agent = _agent_of(state, event)
    if agent is not None and event.facts.state in _KNOWN_STATES:
        _change(state, agent, event.facts.state, event)


def log_out(state: State, event: Occurrence) -> None:
    """Log an agent out."""
    agent = _agent_of(state, event)
    if agent is not None:
        _change(state, agent, None, event)


def _agent_of(state: State, event: Occurrence) -> Agent | None:
    """Return the agent of an event, or None if it came before."""
    agent = state.agent(text_of(event.facts.user_id))
    return None if agent is None or is_repeated(agent.status.ahead, event) else agent


def _change(state: State, agent: Agent, new: str | None, event: Occurrence) -> None:
    """Begin a state, unless the event is older than the last; the same state goes on."""
    status = agent.status
    if event.at < status.heard:
        return
    status.heard = event.at
    status.username = event.facts.username or status.username
    if new == OFFLINE:
        new = None
    if new == status.state:
        status.reason = event.facts.reason if new is not None else None
        return
    _settle_at(agent, event.at)
    if status.state == "wrap_up":
        _end_wrap_up(state, agent, event)
    since = event.facts.since_at
    status.state, status.reason = new, event.facts.reason if new is not None else None
    status.since = event.at if since is None else max(min(event.at, milliseconds(since)), status.since)
    status.started = status.settled = event.at


def _end_wrap_up(state: State, agent: Agent, event: Occurrence) -> None:
    status = agent.status
    if status.leg_lost:
        status.leg_lost = False
        return
    duration = event.at - status.started
    queue = state.queue(status.leg_queue)
    agent.series.bucket(event.at).values[AGENT_WRAP_UP] += duration
    if queue is not None:
        queue.count(event.at, event.received, WRAP_UP, duration)


def _settle_at(agent: Agent, at: int) -> None:
    """Put the seconds of the present state up to ``at`` into buckets; take back what was put there beyond."""
    status = agent.status
    name, settled = status.state, status.settled
    if name is None:
        return
    if at >= settled:
        add_time(agent, name, settled, at, 1)
    else:
        add_time(agent, name, at, settled, -1)
    status.settled = at


def settle(agent: Agent, until: int) -> None:
    """Put the seconds of the present state into buckets, so that their day can be forgotten."""
    if agent.status.state is not None and agent.status.settled < until:
        _settle_at(agent, until)


def add_time(agent: Agent, name: str, start: int, end: int, sign: int) -> None:
    """Add the time of a state to each quarter of an hour that it touches."""
    field = STATE_FIELD[name]
    if start < end <= (start // QUARTER_MS + 1) * QUARTER_MS:
        # Nearly always.
        agent.series.bucket(start).values[field] += sign * (end - start)
        return
    for begin, duration in split(start, end):
        agent.series.bucket(begin).values[field] += sign * duration


def split(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the beginning and duration of each part of a time, split at quarters of an hour."""
    while start < end:
        until = min(end, (start // QUARTER_MS + 1) * QUARTER_MS)
        yield start, until - start
        start = until


def open_time(status: AgentStatus, start: int, end: int) -> int:
    """Return how much of the present state, not yet in buckets, lies from ``start`` to ``end``."""
    return 0 if status.state is None else max(end - max(start, status.settled), 0)


def change_member(state: State, event: Occurrence) -> None:
    """Add, remove, pause or unpause a member of a queue."""
    queue, agent = state.queue(text_of(event.facts.queue_name)), _agent_of(state, event)
    member = state.member(queue, agent) if queue is not None and agent is not None else None
    if member is None or event.at < member.changed:
        return
    if event.type == "queue.member.removed" and event.at < member.named:
        return
    member.changed, member.by_login = event.at, False
    member.present = event.type != "queue.member.removed"
    if event.type == "queue.member.paused":
        member.paused = True
    elif event.type in ("queue.member.unpaused", "queue.member.removed"):
        member.paused = False
    elif event.facts.paused is not None:
        member.paused = event.facts.paused


def _set_login_queues(state: State, agent: Agent, event: Occurrence) -> None:
    """Make the agent a member of the queues of the login, in place of those of an earlier login."""
    named = event.facts.queues
    if not isinstance(named, list):
        return
    names = {str(name) for name in named[:MAX_QUEUES]}
    for name in agent.queues - names:
        former = state.queues[name].members[agent.agent_id]
        if former.by_login and event.at >= former.changed:
            former.present = False
            state.dirty["members"].add(name)
    for name in sorted(names):
        queue = state.queue(name)
        member = state.member(queue, agent) if queue is not None else None
        if member is None or event.at < member.changed:
            continue
        member.named = event.at
        if not member.present:
            member.present, member.by_login = True, True
