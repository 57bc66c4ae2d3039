#!/usr/bin/env python
# -*- coding: utf-8 -*-
"""Tell the gateway all entities of a source, from Python 2.7 or Python 3.

Runs unchanged on Python 2.7 with Twisted 19.10 or 20.3 and on Python 3. It requires Twisted only: the AMP commands
that it calls are declared below.

    python legacy_sync.py unix:/run/callcenter-ws/amp.sock --source dialer agents.json calls.json

For a daemon that keeps nothing, such as one that asks a telephone system for lists. Each file is named after a scope:
agents, calls, queues, members or chats. It holds a JSON list of all that exist now; the manual has their fields
("Telling the whole state"). The gateway compares them with its snapshot and publishes the events of the difference:
entities of this source that are not listed have ended.

Prints the number of events for each file. Exits with status 1 and the gateway's error text if the gateway refuses the
source or a list.

The sender keeps no generation, so the gateway assigns the next one, and the numbers begin at 1. A daemon that publishes
events as well numbers them and its syncs together; see `legacy_sender.py`.
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

PART_BYTES = 60000  # fits in one AMP value
PART_ENTITIES = 1000  # the limit of the gateway


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
        (b"tenants", amp.String(optional=True)),
    ]
    response = [
        (b"lease", amp.Float()),
        (b"generation", amp.Integer()),
        (b"source_seq", amp.Integer()),
        (b"server_time_ms", amp.Integer()),
    ]
    errors = ERRORS


class SyncState(amp.Command):
    """Tell all entities of a scope, in parts. `entities` is a JSON list in UTF-8.

    All parts have the same `source_seq`. The list takes effect with the last one.
    """

    arguments = [
        (b"tenant_id", amp.Unicode()),
        (b"scope", amp.Unicode()),
        (b"source_seq", amp.Integer()),
        (b"part", amp.Integer()),
        (b"last", amp.Boolean()),
        (b"entities", amp.String()),
        (b"timestamp", amp.Unicode(optional=True)),
    ]
    response = [(b"epoch", amp.Unicode()), (b"seq", amp.Integer()), (b"published", amp.Integer())]
    errors = ERRORS


def parts_of(entities):
    """Divide a list of entities into JSON lists, at least one."""
    parts = [[]]
    size = 0
    for entity in entities:
        text = json.dumps(entity).encode("utf-8")
        if parts[-1] and (len(parts[-1]) == PART_ENTITIES or size + len(text) > PART_BYTES):
            parts.append([])
            size = 0
        parts[-1].append(text)
        size += len(text) + 1
    return [b"[" + b",".join(part) + b"]" for part in parts]


@inlineCallbacks
def sync(connection, tenant, scope, entities, number):
    """Tell all entities of a scope. After OVERLOADED or UNAVAILABLE, tell them again with the same number."""
    parts = parts_of(entities)
    for part, text in enumerate(parts, 1):
        answer = yield connection.callRemote(
            SyncState,
            tenant_id=text_of(tenant),
            scope=text_of(scope),
            source_seq=number,
            part=part,
            last=part == len(parts),
            entities=text,
        )
    print("%s: %d events" % (scope, answer["published"]))
    sys.stdout.flush()


def text_of(value):
    """Return a text as `unicode` on Python 2."""
    return value.decode("utf-8") if isinstance(value, bytes) else value


def read_lists(paths):
    """Return the scope and the entities of each file."""
    lists = []
    for path in paths:
        with open(path, "rb") as list_file:
            entities = json.loads(list_file.read().decode("utf-8"))
        lists.append((os.path.splitext(os.path.basename(path))[0], entities))
    return lists


@inlineCallbacks
def send(reactor, options):
    """Connect, authenticate, and tell each list."""
    lists = read_lists(options.lists)
    endpoint = endpoints.clientFromString(reactor, options.endpoint)
    connection = yield endpoint.connect(Factory.forProtocol(amp.AMP))
    if options.token_file:
        with open(options.token_file, "rb") as token_file:
            token = token_file.read().strip().decode("utf-8")
        yield connection.callRemote(Authenticate, token=token)
    yield connection.callRemote(
        Hello,
        source=text_of(options.source),
        kind=u"legacy",
        # Two runs at the same time are two instances: the second one is refused with SOURCE_IN_USE.
        instance=text_of(options.instance or uuid.uuid4().hex),
        tenants=json.dumps([options.tenant]).encode("utf-8"),
    )
    for number, (scope, entities) in enumerate(lists, 1):
        yield sync(connection, options.tenant, scope, entities, number)
    connection.transport.loseConnection()


def main(reactor, *arguments):
    """Parse the command line and tell the lists."""
    parser = argparse.ArgumentParser(description="Tell the gateway all entities of a source over AMP.")
    parser.add_argument("endpoint", help="unix:/path/to/socket or tcp:host:port")
    parser.add_argument("lists", nargs="+", help="files agents.json, calls.json, queues.json, members.json, chats.json")
    parser.add_argument("--source", required=True, help="name of the source")
    parser.add_argument("--instance", help="name of this process, if it may connect again at once; default: random")
    parser.add_argument("--token-file", help="file with the shared secret, or with a JWT of role service")
    parser.add_argument("--tenant", default="acme", help="default: acme")
    options = parser.parse_args(arguments)

    def print_error(failure):
        print("%s: %s" % (failure.type.__name__, failure.getErrorMessage()), file=sys.stderr)
        raise SystemExit(1)

    return send(reactor, options).addErrback(print_error)


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
