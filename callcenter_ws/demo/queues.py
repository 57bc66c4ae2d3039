"""Queue: who waits, and the figures that wallboards show of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from callcenter_ws.demo.agents import Agent
from callcenter_ws.demo.scheduler import Story

if TYPE_CHECKING:
    from callcenter_ws.demo.calls import Call

STATS_INTERVAL = 3.0
"""The least seconds between two ``queue.stats`` of one queue."""

_CROWD = 4
_ALERT_INTERVAL = 90.0
_SERVICE_LEVEL_SECONDS = 20.0


class Queue:
    """One queue of calls.

    Args:
        members: the agents that serve it.
    """

    def __init__(self, story: Story, name: str, members: Sequence[Agent]) -> None:
        self.name = name
        self.waiting: list[Call] = []
        self._story = story
        self._members = list(members)
        self._answered = 0
        self._answered_in_time = 0
        self._waited = 0.0
        self._completed = 0
        self._abandoned = 0
        self._told_at = -STATS_INTERVAL
        self._telling = False
        self._alerted_at = -_ALERT_INTERVAL

    def enter(self, call: Call) -> None:
        """Put a call at the end of the queue."""
        self.waiting.append(call)
        self.touch()
        if len(self.waiting) >= _CROWD and self._story.now - self._alerted_at >= _ALERT_INTERVAL:
            self._alerted_at = self._story.now
            message = f"{len(self.waiting)} calls are waiting in {self.name}."
            self._story.tell(
                "alert",
                {"title": f"Queue {self.name} is filling up", "message": message, "severity": "warning"},
            )

    def leave(self, call: Call) -> None:
        """Take a call out of the queue."""
        self.waiting.remove(call)
        self.touch()

    def count_answered(self, waited: float) -> None:
        """An agent has answered after the caller ``waited`` this many seconds."""
        self._answered += 1
        self._answered_in_time += waited <= _SERVICE_LEVEL_SECONDS
        self._waited += waited

    def count_completed(self) -> None:
        """A call of this queue has ended well."""
        self._completed += 1
        self.touch()

    def count_abandoned(self) -> None:
        """A caller has given up."""
        self._abandoned += 1
        self.touch()

    def touch(self) -> None:
        """The figures have changed: tell them soon, but not more often than the interval allows."""
        if not self._telling:
            self._telling = True
            due = self._told_at + STATS_INTERVAL - self._story.now
            self._story.later(max(0.0, due), self._tell)

    def _tell(self) -> None:
        self._telling = False
        self._told_at = self._story.now
        self._story.tell("queue.stats", self._figures())
        if self.waiting:
            self.touch()  # the longest wait grows by itself

    def _figures(self) -> dict[str, str | int | float]:
        states = [agent.state for agent in self._members]
        now = self._story.now
        answered = self._answered
        return {
            "queue_name": self.name,
            "calls_waiting": len(self.waiting),
            "available_agents": states.count("available"),
            "logged_in_agents": len(states) - states.count("offline"),
            "talking_agents": states.count("talking") + states.count("hold"),
            "longest_wait_time": round(max((now - call.queued for call in self.waiting), default=0.0), 1),
            "average_wait_time": round(self._waited / answered, 1) if answered else 0.0,
            "completed_calls": self._completed,
            "abandoned_calls": self._abandoned,
            "service_level": round(100 * self._answered_in_time / answered, 1) if answered else 100.0,
        }
