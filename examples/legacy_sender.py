#!/usr/bin/env python
# -*- coding: utf-8 -*-
"""Send the story of one call to the gateway, from any Python that a daemon still runs on.

Runs unchanged on Python 2.7 with Twisted 19.10 or 20.3 and on Python 3. It needs nothing but Twisted: what
goes over the wire is defined below.

    python legacy_sender.py unix:/run/callcenter-ws/amp.sock
    python legacy_sender.py tcp:gateway:8081 --token-file /etc/callcenter-ws/amp.token --tenant acme --count 3

Prints the position (seq) of each event in the tenant's stream. Ends with status 1 and the gateway's words when
something is refused.
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

AMP_VALUE = 65535  # the most that one value of AMP can hold
PARTS = 9  # 512 KiB in parts of 65,535 bytes


class Refused(Exception):
    """The gateway refused something. Its text says what."""


ERRORS = {
    type(name, (Refused,), {}): name.encode("ascii")
    for name in ("UNAUTHENTICATED", "FORBIDDEN", "INVALID_EVENT", "TOO_LARGE", "OVERLOADED", "UNAVAILABLE")
}


class Authenticate(amp.Command):
    """Needed first on TCP."""

    arguments = [(b"token", amp.Unicode())]
    response = [(b"principal", amp.Unicode())]
    errors = ERRORS


class PublishEvent(amp.Command):
    """Publish one event. `payload` is JSON; what is longer than one value goes on in `payload.1`, `payload.2`..."""

    arguments = [
        (b"tenant_id", amp.Unicode()),
        (b"type", amp.Unicode()),
        (b"payload", amp.String()),
        (b"user_id", amp.Unicode(optional=True)),
        (b"event_id", amp.Unicode(optional=True)),
        (b"timestamp", amp.Unicode(optional=True)),
        (b"persist", amp.Boolean(optional=True)),
    ] + [(("payload.%d" % part).encode("ascii"), amp.String(optional=True)) for part in range(1, PARTS)]
    response = [(b"epoch", amp.Unicode()), (b"seq", amp.Integer()), (b"event_id", amp.Unicode())]
    errors = ERRORS


def payload_arguments(payload):
    """Return the payload as the arguments `payload`, `payload.1` and so on."""
    text = json.dumps(payload).encode("utf-8")
    parts = [text[start : start + AMP_VALUE] for start in range(0, len(text), AMP_VALUE)]
    return {"payload.%d" % number if number else "payload": part for number, part in enumerate(parts)}


def story(number):
    """Return what happens in one call: pairs of type and payload."""
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
        # More than AMP can carry in one value.
        (u"call.ended", dict(handled, duration=63, variables={u"transcript": transcript}), None),
        (u"agent.state.changed", dict(agent, state=u"wrap_up", previous_state=u"talking"), None),
        (u"notification", note, u"7"),
    ]


@inlineCallbacks
def send(reactor, options):
    """Connect, prove who we are, tell the stories."""
    endpoint = endpoints.clientFromString(reactor, options.endpoint)
    link = yield endpoint.connect(Factory.forProtocol(amp.AMP))
    if options.token_file:
        with open(options.token_file, "rb") as token_file:
            token = token_file.read().strip().decode("utf-8")
        yield link.callRemote(Authenticate, token=token)
    for number in range(options.count):
        for kind, payload, user_id in story(number):
            answer = yield link.callRemote(
                PublishEvent,
                tenant_id=options.tenant,
                type=kind,
                user_id=user_id,
                # Sent again under the same id, an event would be published once.
                event_id=uuid.uuid4().hex if sys.version_info[0] > 2 else uuid.uuid4().hex.decode("ascii"),
                **payload_arguments(payload)
            )
            print("%s %s" % (answer["seq"], kind))
            sys.stdout.flush()
    link.transport.loseConnection()


def main(reactor, *arguments):
    """Read the command line and send."""
    parser = argparse.ArgumentParser(description="Send the story of a call to the gateway over AMP.")
    parser.add_argument("endpoint", help="unix:/path/to/socket or tcp:host:port")
    parser.add_argument("--token-file", help="file with the shared secret or a token of role service")
    parser.add_argument("--tenant", default="acme", help="default: acme")
    parser.add_argument("--count", type=int, default=1, help="how many calls, default: 1")
    options = parser.parse_args(arguments)
    if isinstance(options.tenant, bytes):  # Python 2
        options.tenant = options.tenant.decode("utf-8")

    def explain(failure):
        print("%s: %s" % (failure.type.__name__, failure.getErrorMessage()), file=sys.stderr)
        raise SystemExit(1)

    return send(reactor, options).addErrback(explain)


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
