#!/usr/bin/env python
# -*- coding: utf-8 -*-
"""Publish the events of a simulated call to the gateway, from Python 2.7 or Python 3.

Runs unchanged on Python 2.7 with Twisted 19.10 or 20.3 and on Python 3. It requires Twisted only: the AMP commands
that it calls are declared below.

    python legacy_sender.py unix:/run/callcenter-ws/amp.sock
    python legacy_sender.py tcp:gateway:8081 --token-file /etc/callcenter-ws/amp.token --tenant acme --count 3

Prints the position (seq) of each event in the tenant's stream. Exits with status 1 and the gateway's error text if
the gateway refuses an event or the token.
"""

from __future__ import print_function

import argparse
import json
import sys
import uuid

from twisted.internet import endpoints, task
from twisted.internet.defer import inlineCallbacks
from twisted.internet.protocol import Factory
from twisted.protocols import amp

MAX_VALUE_BYTES = 65535  # of one AMP value
MAX_PARTS = 9  # of a payload of 512 KiB, the limit of the gateway


class Refused(Exception):
    """The gateway refused a command. The text names the field and the reason."""


ERRORS = {
    type(name, (Refused,), {}): name.encode("ascii")
    for name in ("UNAUTHENTICATED", "FORBIDDEN", "INVALID_EVENT", "TOO_LARGE", "OVERLOADED", "UNAVAILABLE")
}


class Authenticate(amp.Command):
    """Authenticate the connection. Over TCP it must be the first command; on a unix socket it may be left out."""

    arguments = [(b"token", amp.Unicode())]
    response = [(b"principal", amp.Unicode())]
    errors = ERRORS


class PublishEvent(amp.Command):
    """Publish one event.

    `payload` is a JSON text in UTF-8. A text that is longer than one AMP value continues in `payload.1`, `payload.2`
    and so on.
    """

    arguments = [
        (b"tenant_id", amp.Unicode()),
        (b"type", amp.Unicode()),
        (b"payload", amp.String()),
        (b"user_id", amp.Unicode(optional=True)),
        (b"event_id", amp.Unicode(optional=True)),
        (b"timestamp", amp.Unicode(optional=True)),
        (b"persist", amp.Boolean(optional=True)),
    ] + [(("payload.%d" % part).encode("ascii"), amp.String(optional=True)) for part in range(1, MAX_PARTS)]
    response = [(b"epoch", amp.Unicode()), (b"seq", amp.Integer()), (b"event_id", amp.Unicode())]
    errors = ERRORS


def payload_arguments(payload):
    """Return the payload as the arguments `payload`, `payload.1` and so on."""
    text = json.dumps(payload).encode("utf-8")
    parts = [text[start : start + MAX_VALUE_BYTES] for start in range(0, len(text), MAX_VALUE_BYTES)]
    return {"payload.%d" % number if number else "payload": part for number, part in enumerate(parts)}


def events_of_call(number):
    """Return the events of one call: tuples of type, payload and the user that the event is for, or None."""
    unique_id = u"%d-%s" % (number, uuid.uuid4().hex[:12])
    call = {
        u"unique_id": unique_id,
        u"direction": u"inbound",
        u"caller_id": u"+3225550101",
        u"caller_name": u"Zo\xe9 Dupont",
        u"destination": u"100",
        u"queue_name": u"support",
    }
    handled = dict(call, agent_id=u"7", agent_name=u"Ada")
    agent = {u"user_id": u"7", u"username": u"ada"}
    note = {u"type": u"callback", u"title": u"Callback", u"message": u"Call +3225550101 back"}
    transcript = [u"line %d of what was said" % line for line in range(4000)]
    return [
        (u"agent.login", dict(agent, queues=[u"support"]), None),
        (u"call.incoming", call, None),
        (u"queue.joined", dict(call, position=1, calls_waiting=1), None),
        (u"call.ringing", handled, None),
        (u"agent.state.changed", dict(agent, state=u"ringing", previous_state=u"available"), None),
        (u"call.answered", dict(handled, wait_seconds=12.5), None),
        (u"agent.state.changed", dict(agent, state=u"talking", previous_state=u"ringing"), None),
        (u"call.hold", dict(handled, held_by=u"7"), None),
        (u"call.unhold", handled, None),
        # A payload that is longer than one AMP value.
        (u"call.ended", dict(handled, duration=63, variables={u"transcript": transcript}), None),
        (u"agent.state.changed", dict(agent, state=u"wrap_up", previous_state=u"talking"), None),
        (u"notification", note, u"7"),
    ]


@inlineCallbacks
def send(reactor, options):
    """Connect, authenticate, and publish the events of the calls."""
    endpoint = endpoints.clientFromString(reactor, options.endpoint)
    connection = yield endpoint.connect(Factory.forProtocol(amp.AMP))
    if options.token_file:
        with open(options.token_file, "rb") as token_file:
            token = token_file.read().strip().decode("utf-8")
        yield connection.callRemote(Authenticate, token=token)
    for number in range(options.count):
        for kind, payload, user_id in events_of_call(number):
            answer = yield connection.callRemote(
                PublishEvent,
                tenant_id=options.tenant,
                type=kind,
                user_id=user_id,
                # An event that is sent again with the same id within 5 minutes is published once.
                event_id=uuid.uuid4().hex if sys.version_info[0] > 2 else uuid.uuid4().hex.decode("ascii"),
                **payload_arguments(payload)
            )
            print("%s %s" % (answer["seq"], kind))
            sys.stdout.flush()
    connection.transport.loseConnection()


def main(reactor, *arguments):
    """Parse the command line and publish the events."""
    parser = argparse.ArgumentParser(description="Publish the events of a simulated call to the gateway over AMP.")
    parser.add_argument("endpoint", help="unix:/path/to/socket or tcp:host:port")
    parser.add_argument("--token-file", help="file with the shared secret, or with a JWT of role service")
    parser.add_argument("--tenant", default="acme", help="default: acme")
    parser.add_argument("--count", type=int, default=1, help="number of calls, default: 1")
    options = parser.parse_args(arguments)
    if isinstance(options.tenant, bytes):  # Python 2
        options.tenant = options.tenant.decode("utf-8")

    def print_error(failure):
        print("%s: %s" % (failure.type.__name__, failure.getErrorMessage()), file=sys.stderr)
        raise SystemExit(1)

    return send(reactor, options).addErrback(print_error)


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
