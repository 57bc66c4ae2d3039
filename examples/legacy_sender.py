#!/usr/bin/env python
# -*- coding: utf-8 -*-
"""Publish the events of a simulated call to the gateway, from Python 2.7 or Python 3.

Runs unchanged on Python 2.7 with Twisted 19.10 or 20.3 and on Python 3. It requires Twisted only: the AMP commands
that it calls are declared below.

    python legacy_sender.py unix:/run/callcenter-ws/amp.sock
    python legacy_sender.py tcp:gateway:8081 --token-file /etc/callcenter-ws/amp.token --tenant acme --count 3

Prints the position (seq) of each event in the tenant's stream. Exits with status 1 and the gateway's error text if
the gateway refuses an event or the token.

Without more, the gateway recognizes an event that is sent twice by its `event_id`, for five minutes. With

    python legacy_sender.py unix:/run/callcenter-ws/amp.sock --source dialer --state /var/lib/dialer/state.json

the sender says `Hello` and numbers its events, and the gateway recognizes them by their numbers, for ever. What that
guarantees depends on the sender. This one writes each event with its number to the file, and waits until the file is on
the disk, before it sends the event, and sends one event at a time. So an event that it began to send, when it was
killed or the power failed, is sent by the next process that uses the file, and published exactly once. Events that it
had not begun to send are not in the file. A fast sender keeps many events and writes them together; see "Sources" in
the manual. Never restore the file from a copy: the gateway takes new events with old numbers for duplicates. Without
the file, the sender begins a new generation.
"""

from __future__ import print_function

import argparse
import json
import os
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
    for name in (
        "UNAUTHENTICATED",
        "FORBIDDEN",
        "INVALID_EVENT",
        "TOO_LARGE",
        "OVERLOADED",
        "UNAVAILABLE",
        "SOURCE_IN_USE",
        "STALE_GENERATION",
    )
}


class Authenticate(amp.Command):
    """Authenticate the connection. Over TCP it must be the first command; on a unix socket it may be left out."""

    arguments = [(b"token", amp.Unicode())]
    response = [(b"principal", amp.Unicode())]
    errors = ERRORS


class Hello(amp.Command):
    """Name the source of the events, once per connection, after `Authenticate`. `tenants` is a JSON list."""

    arguments = [
        (b"source", amp.Unicode()),
        (b"kind", amp.Unicode()),
        (b"instance", amp.Unicode()),
        (b"generation", amp.Integer(optional=True)),
        (b"tenants", amp.String(optional=True)),
    ]
    response = [
        (b"lease", amp.Float()),
        (b"generation", amp.Integer()),
        (b"source_seq", amp.Integer()),
        (b"server_time_ms", amp.Integer()),
    ]
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
        (b"source_seq", amp.Integer(optional=True)),
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


class UnusableState(Exception):
    """The state file cannot be used. The text names it and the reason."""


class State(object):
    """What a source must not forget, in a file: its generation, its last number, and the event that is being sent."""

    def __init__(self, path):
        self.path = path
        self.values = {"instance": uuid.uuid4().hex, "generation": None, "number": 0, "unanswered": None}
        if os.path.exists(path):
            with open(path, "rb") as state_file:
                text = state_file.read()
            try:
                values = json.loads(text.decode("utf-8"))
            except ValueError:
                values = None
            if not isinstance(values, dict) or not set(self.values) <= set(values):
                raise UnusableState("%s is not a state file; without it the source begins a new generation" % path)
            self.values = values
        try:
            self.change()
        except (IOError, OSError) as error:
            raise UnusableState("%s cannot be written: %s" % (path, error.strerror))  # noqa: B904 - not in Python 2.7

    def change(self, **values):
        """Change values, and return when the file is on the disk."""
        self.values.update(values)
        with open(self.path + ".new", "wb") as new_file:
            new_file.write(json.dumps(self.values).encode("utf-8"))
            new_file.flush()
            os.fsync(new_file.fileno())
        os.rename(self.path + ".new", self.path)
        folder = os.open(os.path.dirname(os.path.abspath(self.path)), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@inlineCallbacks
def say_hello(connection, options, state):
    """Introduce the source; keep the generation that the gateway assigns to a new file."""
    generation = state.values["generation"]
    answer = yield connection.callRemote(
        Hello,
        source=options.source,
        kind=u"legacy",
        instance=text_of(state.values["instance"]),
        tenants=json.dumps([options.tenant]).encode("utf-8"),
        # An argument that is None is left out.
        generation=generation,
    )
    # The number must never fall behind those that the gateway knows.
    number = max(state.values["number"], answer["source_seq"])
    state.change(generation=answer["generation"], number=number)


@inlineCallbacks
def publish(connection, event, number=None):
    """Publish one event: a tuple of tenant, type, payload, user and event id. A number makes it that of a source."""
    tenant, kind, payload, user_id, event_id = event
    answer = yield connection.callRemote(
        PublishEvent,
        tenant_id=text_of(tenant),
        type=text_of(kind),
        user_id=None if user_id is None else text_of(user_id),
        # An event that is sent again with the same id within 5 minutes is published once.
        event_id=text_of(event_id),
        source_seq=number,
        **payload_arguments(payload)
    )
    # 0: it was published before, at a position that is not known any more.
    print("%s %s" % (answer["seq"], kind))
    sys.stdout.flush()


@inlineCallbacks
def publish_numbered(connection, event, state):
    """Publish one event of a source exactly once, even if this process ends in between."""
    number = state.values["number"] + 1
    state.change(number=number, unanswered=event)
    yield publish(connection, event, number)


def text_of(value):
    """Return a text as `unicode` on Python 2."""
    return value.decode("utf-8") if isinstance(value, bytes) else value


@inlineCallbacks
def send(reactor, options):
    """Connect, authenticate, and publish the events of the calls."""
    # Before the gateway hears of the source: what it assigns must be kept.
    state = State(options.state) if options.source else None
    endpoint = endpoints.clientFromString(reactor, options.endpoint)
    connection = yield endpoint.connect(Factory.forProtocol(amp.AMP))
    if options.token_file:
        with open(options.token_file, "rb") as token_file:
            token = token_file.read().strip().decode("utf-8")
        yield connection.callRemote(Authenticate, token=token)
    if state is not None:
        unanswered, number = state.values["unanswered"], state.values["number"]
        yield say_hello(connection, options, state)
        if unanswered:
            yield publish(connection, unanswered, number)
    for number in range(options.count):
        for kind, payload, user_id in events_of_call(number):
            event = (options.tenant, kind, payload, user_id, uuid.uuid4().hex)
            if state is None:
                yield publish(connection, event)
            else:
                yield publish_numbered(connection, event, state)
    if state is not None:
        state.change(unanswered=None)
    connection.transport.loseConnection()


def main(reactor, *arguments):
    """Parse the command line and publish the events."""
    parser = argparse.ArgumentParser(description="Publish the events of a simulated call to the gateway over AMP.")
    parser.add_argument("endpoint", help="unix:/path/to/socket or tcp:host:port")
    parser.add_argument("--token-file", help="file with the shared secret, or with a JWT of role service")
    parser.add_argument("--tenant", default="acme", help="default: acme")
    parser.add_argument("--count", type=int, default=1, help="number of calls, default: 1")
    parser.add_argument("--source", help="name of the source: its events are numbered; requires --state")
    parser.add_argument("--state", help="file for the generation and the numbers of the source")
    options = parser.parse_args(arguments)
    if bool(options.source) != bool(options.state):
        parser.error("--source and --state belong together")
    options.tenant = text_of(options.tenant)
    options.source = options.source and text_of(options.source)

    def print_error(failure):
        print("%s: %s" % (failure.type.__name__, failure.getErrorMessage()), file=sys.stderr)
        raise SystemExit(1)

    return send(reactor, options).addErrback(print_error)


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
