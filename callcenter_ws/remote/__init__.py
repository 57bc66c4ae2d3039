"""What a daemon imports to send its events to the gateway, over AMP.

A daemon makes one ``EventBroadcaster``, starts it with its other services, and says what happens::

    from callcenter_ws.errors import Refusal
    from callcenter_ws.remote import EventBroadcaster

    gateway = EventBroadcaster("unix:/run/callcenter-ws/amp.sock", reactor)
    gateway.setServiceParent(application)

    async def call_arrived(call):
        try:
            published = await gateway.call_incoming("acme", call.unique_id, call.caller_id, call.destination)
        except Refusal as refusal:
            log.error("the gateway refused the event: {refusal}", refusal=refusal)

    def said(event):
        print(event.tenant_id, event.type, event.payload)

    gateway.subscribe(["chat.*", "presence.changed"], said)

Nothing waits for the connection: events are kept in order, bounded, and sent again with the same ids until the
gateway has answered for each of them. The gateway knows an id for 5 minutes: an event whose answer was lost in a
longer outage may be published twice, under the same id.

They are kept in memory. Where the daemon may be restarted while the gateway is down, have them kept on disk, too::

    gateway = EventBroadcaster("unix:/run/callcenter-ws/amp.sock", reactor, spool="/var/lib/dialer/events.spool")

What one process leaves there, the next one sends first.
"""

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.remote.broadcaster import EventBroadcaster, Pong
from callcenter_ws.remote.recovered import SpooledEvent
from callcenter_ws.remote.spool_file import SpoolUnusable
from callcenter_ws.remote.subscriptions import ClientMessage

__all__ = [
    "ClientMessage",
    "ErrorCode",
    "EventBroadcaster",
    "Pong",
    "PublishResult",
    "Refusal",
    "SpoolUnusable",
    "SpooledEvent",
]
