"""``callcenter-ws emit``: publishes one event."""

from __future__ import annotations

import argparse
import json
import sys

from callcenter_ws.amp.commands import PublishEvent
from callcenter_ws.cli.amp_call import call_amp
from callcenter_ws.cli.arguments import Commands, add_amp, add_command, add_settings
from callcenter_ws.cli.target import CommandFailed, target_of, tenant_of


def add(commands: Commands) -> None:
    """Add the command."""
    example = """callcenter-ws emit alert '{"title": "Fire drill", "message": "Leave by door B"}' --tenant acme"""
    command = add_command(commands, "emit", emit_event, "publish one event over AMP", example)
    add_settings(command)
    command.add_argument("type", metavar="TYPE", help="type of the event, such as call.incoming")
    command.add_argument("payload", metavar="PAYLOAD", help="JSON object; - to read it from standard input")
    command.add_argument("--tenant", metavar="ID", help="tenant of the event")
    command.add_argument("--user-id", metavar="ID", help="deliver the event to this user only")
    command.add_argument(
        "--event-id", metavar="ID", help="id of the event; an event with the same id is published once only"
    )
    command.add_argument(
        "--persist", action="store_true", help="keep the event in the user's mailbox while the user is offline"
    )
    add_amp(command)


def emit_event(arguments: argparse.Namespace) -> int:
    """Publish one event over AMP and print its position in the stream."""
    payload = _payload(sys.stdin.read() if arguments.payload == "-" else arguments.payload)
    target = target_of(arguments, arguments.amp)
    event = {
        "tenant_id": tenant_of(arguments, target),
        "type": arguments.type,
        "payload": payload,
        "user_id": arguments.user_id,
        "event_id": arguments.event_id,
        "persist": arguments.persist,
    }
    published = call_amp(arguments, target, PublishEvent, event, "it may still be published")
    print(json.dumps({name: published[name] for name in ("epoch", "seq", "event_id")}))
    return 0


def _payload(text: str) -> bytes:
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommandFailed(f"the payload is not JSON: {error}") from None
    if not isinstance(payload, dict):
        raise CommandFailed('the payload is not a JSON object, such as {"title": …}')
    return text.encode(errors="replace")
