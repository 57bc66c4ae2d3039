"""One method for each event type, shared by the EventBroadcaster in the gateway and the remote one over AMP.

All of them call ``publish``, which the two implement differently.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from callcenter_ws.runtime.json import JsonObject

Answer = TypeVar("Answer")


class EventMethods(ABC, Generic[Answer]):
    """Publishes the events of a call center.

    Every method takes the tenant first, then the required payload fields of its event (``docs/events.rst``), then any
    optional or additional field by keyword, and returns what ``publish`` returns. ``Answer`` is the type of that: an
    awaitable of ``PublishResult``.
    """

    @abstractmethod
    def publish(
        self,
        tenant_id: str,
        type: str,  # noqa: A002 - the wire's own name for it
        payload: JsonObject,
        *,
        user_id: str | None = None,
        event_id: str | None = None,
        timestamp: str | None = None,
        persist: bool = False,
    ) -> Answer:
        """Publish one event of any declared type.

        Args:
            tenant_id: the tenant to whose stream the event is appended.
            type: a name of the event catalogue.
            payload: a JSON object that matches the type's declaration; additional fields are passed on.
            user_id: the only user that the event is delivered to.
            event_id: the idempotency key; publishing it again within 5 minutes has no effect.
            timestamp: when it happened, RFC 3339 with offset; default: the time of arrival.
            persist: whether to keep it in the mailbox of ``user_id`` until it is delivered.

        Raises:
            Refusal: as the failure of the answer, never directly.
        """

    # Agents

    def agent_login(self, tenant_id: str, user_id: str, username: str, **fields: object) -> Answer:
        """Publish that an agent logged in: ``agent.login``."""
        return self.publish(tenant_id, "agent.login", {"user_id": user_id, "username": username, **fields})

    def agent_state_change(self, tenant_id: str, user_id: str, username: str, state: str, **fields: object) -> Answer:
        """Publish a new state of an agent: ``agent.state.changed``."""
        payload = {"user_id": user_id, "username": username, "state": state, **fields}
        return self.publish(tenant_id, "agent.state.changed", payload)

    def agent_logout(self, tenant_id: str, user_id: str, username: str, **fields: object) -> Answer:
        """Publish that an agent logged out: ``agent.logout``."""
        return self.publish(tenant_id, "agent.logout", {"user_id": user_id, "username": username, **fields})

    # Calls

    def call_incoming(
        self, tenant_id: str, unique_id: str, caller_id: str, destination: str, **fields: object
    ) -> Answer:
        """Publish a new call: ``call.incoming``."""
        payload = {"unique_id": unique_id, "caller_id": caller_id, "destination": destination, **fields}
        return self.publish(tenant_id, "call.incoming", payload)

    def call_ringing(self, tenant_id: str, unique_id: str, agent_id: str, **fields: object) -> Answer:
        """Publish that a call rings at an agent: ``call.ringing``."""
        return self.publish(tenant_id, "call.ringing", {"unique_id": unique_id, "agent_id": agent_id, **fields})

    def call_answered(self, tenant_id: str, unique_id: str, agent_id: str, **fields: object) -> Answer:
        """Publish that an agent answered: ``call.answered``."""
        return self.publish(tenant_id, "call.answered", {"unique_id": unique_id, "agent_id": agent_id, **fields})

    def call_hold(self, tenant_id: str, unique_id: str, **fields: object) -> Answer:
        """Publish that a call was put on hold: ``call.hold``."""
        return self.publish(tenant_id, "call.hold", {"unique_id": unique_id, **fields})

    def call_unhold(self, tenant_id: str, unique_id: str, **fields: object) -> Answer:
        """Publish that a call was taken off hold: ``call.unhold``."""
        return self.publish(tenant_id, "call.unhold", {"unique_id": unique_id, **fields})

    def call_transferred(self, tenant_id: str, unique_id: str, destination: str, **fields: object) -> Answer:
        """Publish that a call was transferred: ``call.transferred``."""
        payload = {"unique_id": unique_id, "destination": destination, **fields}
        return self.publish(tenant_id, "call.transferred", payload)

    def call_missed(self, tenant_id: str, unique_id: str, **fields: object) -> Answer:
        """Publish that an agent did not answer a ringing call: ``call.missed``."""
        return self.publish(tenant_id, "call.missed", {"unique_id": unique_id, **fields})

    def call_abandoned(self, tenant_id: str, unique_id: str, queue_name: str, **fields: object) -> Answer:
        """Publish that the caller hung up while waiting in a queue: ``call.abandoned``."""
        return self.publish(tenant_id, "call.abandoned", {"unique_id": unique_id, "queue_name": queue_name, **fields})

    def call_ended(self, tenant_id: str, unique_id: str, duration: float, **fields: object) -> Answer:
        """Publish that a call ended, after ``duration`` seconds: ``call.ended``."""
        return self.publish(tenant_id, "call.ended", {"unique_id": unique_id, "duration": duration, **fields})

    def call_disposition(self, tenant_id: str, call_id: str, code: str, **fields: object) -> Answer:
        """Publish the disposition of a call, a code for what came of it: ``call.disposition``."""
        return self.publish(tenant_id, "call.disposition", {"call_id": call_id, "code": code, **fields})

    # Queues

    def queue_joined(self, tenant_id: str, unique_id: str, queue_name: str, **fields: object) -> Answer:
        """Publish that a call entered a queue: ``queue.joined``."""
        return self.publish(tenant_id, "queue.joined", {"unique_id": unique_id, "queue_name": queue_name, **fields})

    def queue_left(self, tenant_id: str, unique_id: str, queue_name: str, **fields: object) -> Answer:
        """Publish that a call left a queue: ``queue.left``."""
        return self.publish(tenant_id, "queue.left", {"unique_id": unique_id, "queue_name": queue_name, **fields})

    def update_queue_stats(
        self,
        tenant_id: str,
        queue_name: str,
        calls_waiting: int,
        available_agents: int,
        logged_in_agents: int,
        **fields: object,
    ) -> Answer:
        """Publish the figures of a queue: ``queue.stats``."""
        figures = {
            "queue_name": queue_name,
            "calls_waiting": calls_waiting,
            "available_agents": available_agents,
            "logged_in_agents": logged_in_agents,
        }
        return self.publish(tenant_id, "queue.stats", {**figures, **fields})

    def queue_member_added(self, tenant_id: str, queue_name: str, user_id: str, **fields: object) -> Answer:
        """Publish that an agent became a member of a queue: ``queue.member.added``."""
        return self._queue_member("added", tenant_id, queue_name, user_id, fields)

    def queue_member_removed(self, tenant_id: str, queue_name: str, user_id: str, **fields: object) -> Answer:
        """Publish that an agent is no longer a member of a queue: ``queue.member.removed``."""
        return self._queue_member("removed", tenant_id, queue_name, user_id, fields)

    def queue_member_paused(self, tenant_id: str, queue_name: str, user_id: str, **fields: object) -> Answer:
        """Publish that a queue member was paused: ``queue.member.paused``."""
        return self._queue_member("paused", tenant_id, queue_name, user_id, fields)

    def queue_member_unpaused(self, tenant_id: str, queue_name: str, user_id: str, **fields: object) -> Answer:
        """Publish that a queue member was unpaused: ``queue.member.unpaused``."""
        return self._queue_member("unpaused", tenant_id, queue_name, user_id, fields)

    def _queue_member(
        self, change: str, tenant_id: str, queue_name: str, user_id: str, fields: dict[str, object]
    ) -> Answer:
        payload = {"queue_name": queue_name, "user_id": user_id, **fields}
        return self.publish(tenant_id, f"queue.member.{change}", payload)

    # Chats

    def chat_session_started(self, tenant_id: str, session_id: str, **fields: object) -> Answer:
        """Publish that a visitor opened a chat: ``chat.session.started``."""
        return self.publish(tenant_id, "chat.session.started", {"session_id": session_id, **fields})

    def chat_message_sent(
        self,
        tenant_id: str,
        session_id: str,
        message_id: str,
        sender_id: str,
        sender_type: str,
        body: str,
        **fields: object,
    ) -> Answer:
        """Publish a message of a chat: ``chat.message``."""
        message = {"session_id": session_id, "message_id": message_id, "sender_id": sender_id}
        return self.publish(tenant_id, "chat.message", {**message, "sender_type": sender_type, "body": body, **fields})

    def chat_typing_indicator(
        self, tenant_id: str, session_id: str, sender_type: str, is_typing: bool, **fields: object
    ) -> Answer:
        """Publish whether a participant of a chat is typing: ``chat.typing``."""
        payload = {"session_id": session_id, "sender_type": sender_type, "is_typing": is_typing, **fields}
        return self.publish(tenant_id, "chat.typing", payload)

    def chat_delivered(self, tenant_id: str, session_id: str, message_id: str, **fields: object) -> Answer:
        """Publish that the visitor's page has received a message, and all before it: ``chat.delivered``."""
        payload = {"session_id": session_id, "message_id": message_id, **fields}
        return self.publish(tenant_id, "chat.delivered", payload)

    def chat_transferred(self, tenant_id: str, session_id: str, to_agent_id: str, **fields: object) -> Answer:
        """Publish that a chat was transferred to another agent: ``chat.transferred``."""
        return self.publish(
            tenant_id, "chat.transferred", {"session_id": session_id, "to_agent_id": to_agent_id, **fields}
        )

    def chat_session_ended(self, tenant_id: str, session_id: str, **fields: object) -> Answer:
        """Publish that a chat ended: ``chat.session.ended``."""
        return self.publish(tenant_id, "chat.session.ended", {"session_id": session_id, **fields})

    # Notifications

    def send_notification(
        self,
        tenant_id: str,
        user_id: str,
        type: str,  # noqa: A002 - the payload's own name for it
        title: str,
        message: str,
        **fields: object,
    ) -> Answer:
        """Notify one user, by its mailbox while it is offline: ``notification``."""
        payload = {"type": type, "title": title, "message": message, **fields}
        return self.publish(tenant_id, "notification", payload, user_id=user_id, persist=True)

    def send_alert(self, tenant_id: str, title: str, message: str, **fields: object) -> Answer:
        """Notify the whole tenant: ``alert``."""
        return self.publish(tenant_id, "alert", {"title": title, "message": message, **fields})

    # Sources

    def source_up(self, tenant_id: str, source: str, **fields: object) -> Answer:
        """Publish that a source of events is connected and complete: ``source.up``."""
        return self.publish(tenant_id, "source.up", {"source": source, **fields})

    def source_down(self, tenant_id: str, source: str, **fields: object) -> Answer:
        """Publish that a source of events is disconnected: ``source.down``."""
        return self.publish(tenant_id, "source.down", {"source": source, **fields})
