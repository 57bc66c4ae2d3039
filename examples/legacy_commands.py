#!/usr/bin/env python
# -*- coding: utf-8 -*-
"""Carry out commands of agents and supervisors, from Python 2.7 or Python 3.

Runs unchanged on Python 2.7 with Twisted 19.10 or 20.3 and on Python 3. It requires Twisted only: the AMP commands
are declared below.

    python legacy_commands.py unix:/run/callcenter-ws/amp.sock --state /var/lib/dialer/commands.json
    python legacy_commands.py tcp:gateway:8081 --token-file /etc/callcenter-ws/amp.token --state commands.json

`commands.enabled = true` must be set at the gateway. The daemon is a source. It says which commands it carries out
(`capabilities` of `Hello`), subscribes to them (`kinds` of `Subscribe`), and answers `Command`: that means that it has
taken the command. It reports how the command ended with `CommandOutcome`. Four rules keep a command from being carried
out twice or late, and its outcome from being lost; the file `--state` is for three of them:

1. The id of a command is on the disk before the command is answered and begun. One that is taken already is answered,
   and not begun again.
2. Nothing is begun after its deadline, which is in the gateway's time. `Hello` and `Ping` tell that time; the seconds
   since that request was sent are added, by a monotonic clock.
3. Events and outcomes are numbered, on the disk before they are sent, and sent in order until they are answered.
4. A command that was taken by an earlier process, and has no outcome, has the outcome `outcome_unknown`.

This daemon sends one event or outcome at a time, and writes the whole file for each change. Never restore the file from
a copy. Replace `Exchange` by what your daemon is connected to.
"""

from __future__ import print_function

import argparse
import json
import os
import sys
import time
import uuid

from twisted.internet import defer, endpoints, task
from twisted.internet.defer import inlineCallbacks
from twisted.internet.protocol import Factory
from twisted.protocols import amp

MAX_TAKEN = 1000  # ids of commands in the file
RETRY_SECONDS = 1
PING_SECONDS = 30
ANSWER_SECONDS = 30


class Refused(Exception):
    """A command was refused. The text names the field and the reason."""


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
OVERLOADED = next(error for error, code in ERRORS.items() if code == b"OVERLOADED")
PASSING = ("OVERLOADED", "UNAVAILABLE")  # errors after which the same is sent again
LINK_ENDED = ("UNAUTHENTICATED", "SOURCE_IN_USE", "STALE_GENERATION")  # the same, over a new connection


class Authenticate(amp.Command):
    """Authenticate the connection. Over TCP it must be the first command; on a unix socket it may be left out."""

    arguments = [(b"token", amp.Unicode())]
    response = [(b"principal", amp.Unicode())]
    errors = ERRORS


class Hello(amp.Command):
    """Name the source, and the commands that it carries out, once per connection. `capabilities` is a JSON list."""

    arguments = [
        (b"source", amp.Unicode()),
        (b"kind", amp.Unicode()),
        (b"instance", amp.Unicode()),
        (b"generation", amp.Integer(optional=True)),
        (b"tenants", amp.String(optional=True)),
        (b"capabilities", amp.String(optional=True)),
    ]
    response = [
        (b"lease", amp.Float()),
        (b"generation", amp.Integer()),
        (b"source_seq", amp.Integer()),
        (b"server_time_ms", amp.Integer()),
    ]
    errors = ERRORS


class Subscribe(amp.Command):
    """Have the gateway call `Command` on this connection: `kinds` is the JSON list `["command"]`."""

    arguments = [(b"kinds", amp.String())]
    response = []
    errors = ERRORS


class Command(amp.Command):
    """Called by the gateway. `payload` is a JSON object, `deadline_ms` Unix time of the gateway in milliseconds."""

    arguments = [
        (b"command_id", amp.Unicode()),
        (b"tenant_id", amp.Unicode()),
        (b"name", amp.Unicode()),
        (b"payload", amp.String()),
        (b"user_id", amp.Unicode()),
        (b"role", amp.Unicode()),
        (b"extension", amp.Unicode(optional=True)),
        (b"deadline_ms", amp.Integer()),
    ]
    response = []
    errors = ERRORS


class CommandOutcome(amp.Command):
    """Report how a command ended. `accepted` is false if the gateway had its outcome before; then nothing is wrong."""

    arguments = [
        (b"tenant_id", amp.Unicode()),
        (b"user_id", amp.Unicode()),
        (b"command_id", amp.Unicode()),
        (b"source_seq", amp.Integer(optional=True)),
        (b"state", amp.Unicode()),
        (b"code", amp.Unicode(optional=True)),
        (b"message", amp.Unicode(optional=True)),
        (b"data", amp.String(optional=True)),
    ]
    response = [(b"accepted", amp.Boolean())]
    errors = ERRORS


class PublishEvent(amp.Command):
    """Publish one event. `payload` is a JSON text of at most 65,535 bytes; see `legacy_sender.py` for longer ones."""

    arguments = [
        (b"tenant_id", amp.Unicode()),
        (b"type", amp.Unicode()),
        (b"payload", amp.String()),
        (b"event_id", amp.Unicode(optional=True)),
        (b"source_seq", amp.Integer(optional=True)),
    ]
    response = [(b"epoch", amp.Unicode()), (b"seq", amp.Integer()), (b"event_id", amp.Unicode())]
    errors = ERRORS


class Ping(amp.Command):
    """Ask for the time of the gateway."""

    response = [(b"version", amp.Unicode()), (b"node", amp.Unicode()), (b"server_time_ms", amp.Integer())]
    errors = ERRORS


SENT = {"PublishEvent": PublishEvent, "CommandOutcome": CommandOutcome}

# Python 2.7 has no time.monotonic. On Unix this is the time since the system was started.
monotonic = getattr(time, "monotonic", lambda: os.times()[4])


class CommandFailed(Exception):
    """A command was not carried out: one of the codes of the manual, and a text for the person who asked."""

    def __init__(self, code, message):
        Exception.__init__(self, code, message)
        self.code, self.message = code, message


class State(object):
    """What the daemon must not forget, in a file.

    generation, number: of the source. waiting: events and outcomes without an answer, each with its number. taken: the
    commands, each with its key, name, deadline, and whether it has no outcome yet.
    """

    def __init__(self, path):
        self.path = path
        self.values = {"instance": uuid.uuid4().hex, "generation": None, "number": 0, "waiting": [], "taken": []}
        if os.path.exists(path):
            with open(path, "rb") as state_file:
                self.values = json.loads(state_file.read().decode("utf-8"))
        self.write()

    def write(self):
        """Return when the file is on the disk."""
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

    def is_taken(self, key):
        """Return whether a command was taken before."""
        return any(entry["key"] == key for entry in self.values["taken"])

    def take(self, key, name, deadline_ms, now_ms):
        """Keep a command; return whether there was room. The oldest that can not come again are forgotten."""
        taken = self.values["taken"]
        while len(taken) >= MAX_TAKEN and not taken[0]["open"] and taken[0]["deadline_ms"] < now_ms:
            del taken[0]
        if len(taken) >= MAX_TAKEN or len(self.values["waiting"]) >= MAX_TAKEN:
            return False
        taken.append({"key": key, "name": name, "deadline_ms": deadline_ms, "open": True})
        self.write()
        return True

    def enqueue(self, command, arguments, closed=None):
        """Number an event or an outcome, and keep it until it is answered; `closed` is the command that it closes."""
        self.values["number"] += 1
        self.values["waiting"].append([command, dict(arguments, source_seq=self.values["number"])])
        for entry in self.values["taken"]:
            if entry["key"] == closed:
                entry["open"] = False
        self.write()

    def answered(self):
        """Forget the first event or outcome."""
        del self.values["waiting"][0]
        self.write()


class Exchange(object):
    """An exchange that exists in this process only. Its methods return the data of the outcome, None, or a Deferred."""

    def __init__(self, reactor, daemon, seconds):
        self.reactor = reactor
        self.daemon = daemon
        self.seconds = seconds
        self.functions = {u"agent.state.set": self.set_state, u"call.hangup": self.hang_up}

    def set_state(self, tenant_id, user_id, payload):
        """Set the state of an agent."""
        agent = payload.get(u"user_id", user_id)
        report(u"set %s of %s" % (payload[u"state"], agent))
        return task.deferLater(self.reactor, self.seconds, self.state_was_set, tenant_id, agent, payload[u"state"])

    def state_was_set(self, tenant_id, agent, state):
        """Publish that the state has changed; the outcome follows in order."""
        changed = {u"user_id": agent, u"username": agent, u"state": state}
        self.daemon.publish(tenant_id, u"agent.state.changed", changed)
        return {u"previous_state": u"unknown"}

    def hang_up(self, tenant_id, user_id, payload):
        """Refuse to hang up: there are no calls."""
        raise CommandFailed(u"not_found", u"this call has ended")


class Connection(amp.AMP):
    """A connection to the gateway."""

    def __init__(self, daemon):
        amp.AMP.__init__(self)
        self.daemon = daemon
        self.lost = defer.Deferred()

    def connectionLost(self, reason):
        """Tell the daemon that it must connect again."""
        amp.AMP.connectionLost(self, reason)
        self.lost.callback(None)

    @Command.responder
    def command(self, **arguments):
        """Take a command."""
        self.daemon.take(arguments)
        return {}


class Daemon(object):
    """Takes commands, and sends events and outcomes in order."""

    def __init__(self, reactor, options):
        self.reactor = reactor
        self.options = options
        self.state = State(options.state)
        self.exchange = Exchange(reactor, self, options.seconds)
        self.connection = None
        self.is_sending = False
        self.offset_ms = None
        for entry in self.state.values["taken"]:
            if entry["open"]:
                text = u"the source was restarted meanwhile; it is not known whether this was done"
                self.close(entry["key"], state=u"failed", code=u"outcome_unknown", message=text)

    # Commands

    def now_ms(self):
        """Return the time of the gateway: never behind, and ahead by no more than its answer took."""
        return self.offset_ms + monotonic() * 1000

    def take(self, command):
        """Keep a command, then begin it after it was answered; raise an error if it is not taken."""
        key = [command["tenant_id"], command["user_id"], command["command_id"]]
        if self.state.is_taken(key):
            return
        if not self.state.take(key, command["name"], command["deadline_ms"], self.now_ms()):
            raise OVERLOADED("too many commands")
        self.reactor.callLater(0, self.carry_out, key, command)

    @inlineCallbacks
    def carry_out(self, key, command):
        """Carry out a command that was taken, and send its outcome."""
        try:
            data = yield defer.maybeDeferred(self.begin, command)
            outcome = {"state": u"done", "data": None if data is None else text_of(json.dumps(data))}
        except CommandFailed as failure:
            outcome = {"state": u"failed", "code": failure.code, "message": failure.message}
        except Exception as error:
            print("%s failed: %r" % (command["name"], error), file=sys.stderr)
            outcome = {"state": u"failed", "code": u"failed", "message": u"the source could not carry it out"}
        self.close(key, **outcome)

    def begin(self, command):
        """Call the function of a command, if its time has not passed."""
        function = self.exchange.functions.get(command["name"])
        if function is None:
            raise CommandFailed(u"unsupported", u"the source cannot do this")
        if self.now_ms() >= command["deadline_ms"]:
            raise CommandFailed(u"timeout", u"the time for it had passed before it was begun")
        payload = json.loads(command["payload"].decode("utf-8"))
        return function(command["tenant_id"], command["user_id"], payload)

    def close(self, key, **outcome):
        """Send the outcome of a command, after everything that was published before."""
        tenant_id, user_id, command_id = key
        told = dict(outcome, tenant_id=tenant_id, user_id=user_id, command_id=command_id)
        self.state.enqueue("CommandOutcome", told, closed=key)
        self.send()

    # Events and outcomes

    def publish(self, tenant_id, kind, payload):
        """Publish an event."""
        event = {"tenant_id": tenant_id, "type": kind, "payload": text_of(json.dumps(payload))}
        self.state.enqueue("PublishEvent", dict(event, event_id=text_of(uuid.uuid4().hex)))
        self.send()

    @inlineCallbacks
    def send(self):
        """Send what waits, one after the other, until the connection is lost."""
        if self.is_sending:
            return
        self.is_sending = True
        try:
            while self.connection is not None and self.state.values["waiting"]:
                name, arguments = self.state.values["waiting"][0]
                try:
                    yield self.call(SENT[name], **arguments)
                except Refused as error:
                    code = type(error).__name__
                    if code in LINK_ENDED:
                        self.connection.transport.abortConnection()
                        return
                    if code in PASSING:
                        yield task.deferLater(self.reactor, RETRY_SECONDS, lambda: None)
                        continue
                    # Final: its number counts as used.
                    print("%s refused: %s" % (name, error), file=sys.stderr)
                except Exception:
                    # Without an answer it is sent again, over the next connection.
                    return
                self.state.answered()
                report(u"%s %s" % (name, arguments.get("command_id") or arguments["type"]))
        finally:
            self.is_sending = False

    def call(self, command, **arguments):
        """Call a command of the gateway; an answer that does not come ends the connection."""
        connection = self.connection
        for name in ("payload", "data"):
            if arguments.get(name) is not None:
                arguments[name] = arguments[name].encode("utf-8")
        sent_at = monotonic()
        timer = self.reactor.callLater(ANSWER_SECONDS, connection.transport.abortConnection)
        return connection.callRemote(command, **arguments).addBoth(self.was_called, timer, sent_at)

    def was_called(self, answer, timer, sent_at):
        """Note the time of the gateway, if the answer has it."""
        if timer.active():
            timer.cancel()
        if isinstance(answer, dict) and "server_time_ms" in answer:
            self.offset_ms = answer["server_time_ms"] - sent_at * 1000
        return answer

    # The connection

    @inlineCallbacks
    def run(self):
        """Connect, and connect again whenever the connection is lost."""
        endpoint = endpoints.clientFromString(self.reactor, self.options.endpoint)
        while True:
            try:
                connection = yield endpoint.connect(Factory.forProtocol(lambda: Connection(self)))
                self.connection = connection
                try:
                    yield self.introduce()
                    pings = task.LoopingCall(lambda: self.call(Ping).addErrback(lambda _: None))
                    pings.clock = self.reactor
                    pings.start(PING_SECONDS, now=False)
                    self.send()
                    yield connection.lost
                    pings.stop()
                finally:
                    self.connection = None
                    # None once the connection is lost.
                    if connection.transport is not None:
                        connection.transport.abortConnection()
            except Exception as error:
                print("%s: %s" % (type(error).__name__, error), file=sys.stderr)
                sys.stderr.flush()
            yield task.deferLater(self.reactor, RETRY_SECONDS, lambda: None)

    @inlineCallbacks
    def introduce(self):
        """Authenticate, introduce the source, and subscribe to its commands."""
        values, options = self.state.values, self.options
        if options.token_file:
            with open(options.token_file, "rb") as token_file:
                yield self.call(Authenticate, token=token_file.read().strip().decode("utf-8"))
        answer = yield self.call(
            Hello,
            source=options.source,
            kind=u"legacy",
            instance=text_of(values["instance"]),
            # An argument that is None is left out.
            generation=values["generation"],
            tenants=json.dumps([options.tenant]).encode("utf-8"),
            capabilities=json.dumps(sorted(self.exchange.functions)).encode("utf-8"),
        )
        values["generation"] = answer["generation"]
        # The number must never fall behind those that the gateway knows.
        values["number"] = max(values["number"], answer["source_seq"])
        self.state.write()
        yield self.call(Subscribe, kinds=b'["command"]')
        report(u"connected")


def report(text):
    """Print a line. Python 2 cannot print every text that is not ASCII."""
    print(text.encode("utf-8") if str is bytes else text)
    sys.stdout.flush()


def text_of(value):
    """Return a text as `unicode` on Python 2."""
    return value.decode("utf-8") if isinstance(value, bytes) else value


def main(reactor, *arguments):
    """Parse the command line and carry out commands."""
    parser = argparse.ArgumentParser(description="Carry out commands that the gateway sends over AMP.")
    parser.add_argument("endpoint", help="unix:/path/to/socket or tcp:host:port")
    parser.add_argument("--token-file", help="file with the shared secret, or with a JWT of role service")
    parser.add_argument("--tenant", default="acme", help="default: acme")
    parser.add_argument("--source", default="legacy", help="name of the source, default: legacy")
    parser.add_argument("--state", required=True, help="file for what must survive the end of the process")
    parser.add_argument("--seconds", type=float, default=0.1, help="how long a command takes, default: 0.1")
    options = parser.parse_args(arguments)
    options.tenant, options.source = text_of(options.tenant), text_of(options.source)
    return Daemon(reactor, options).run()


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
