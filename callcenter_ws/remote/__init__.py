"""Client library for daemons: publishes events to the gateway over AMP, from another process.

Create one ``EventBroadcaster``, start it as a Twisted service, and call a method for each event::

    from callcenter_ws.errors import Refusal
    from callcenter_ws.remote import EventBroadcaster

    gateway = EventBroadcaster("unix:/run/callcenter-ws/amp.sock", reactor)
    gateway.setServiceParent(application)

    async def call_arrived(call):
        try:
            published = await gateway.call_incoming("acme", call.unique_id, call.caller_id, call.destination)
        except Refusal as refusal:
            log.error("the gateway refused the event: {refusal}", refusal=refusal)

    def print_message(message):
        print(message.tenant_id, message.type, message.payload)

    gateway.subscribe(["chat.*", "presence.changed"], print_message)

Events may be published before there is a connection and while it is lost. They are kept in order, within limits, and
sent again with the same ids until the gateway has acknowledged each of them. The gateway recognizes an id for
5 minutes: an event whose answer was lost in a longer outage may be published twice, with the same id.

By default events are kept in memory. A daemon that may be restarted keeps them in a file, and says which source it is.
Then each event is published exactly once, after whatever outage::

    gateway = EventBroadcaster(
        "unix:/run/callcenter-ws/amp.sock",
        reactor,
        source="dialer",
        tenants=["acme"],
        spool="/var/lib/dialer/events.spool",
    )

The next process that uses the file first sends the events that are left in it.

A source may carry out commands of agents and supervisors. The gateway always tells them how it ended::

    async def hang_up(command):
        try:
            await exchange.hang_up(command.payload["call_id"])
        except NoSuchChannel:
            raise CommandFailed("not_found", "the call has ended")

    gateway.on_command("call.hangup", hang_up)
"""

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.remote.broadcaster import EventBroadcaster, Pong, UnitEvent
from callcenter_ws.remote.callbacks import ClientMessage
from callcenter_ws.remote.command_runner import Command, CommandFailed
from callcenter_ws.remote.link_state import LinkState
from callcenter_ws.remote.recovered import SpooledEvent
from callcenter_ws.remote.spool_file import SpoolUnusable

Published = PublishResult
"""The former name of ``PublishResult``; deprecated."""

__all__ = [
    "ClientMessage",
    "Command",
    "CommandFailed",
    "ErrorCode",
    "EventBroadcaster",
    "LinkState",
    "Pong",
    "PublishResult",
    "Refusal",
    "SpoolUnusable",
    "SpooledEvent",
    "UnitEvent",
]
