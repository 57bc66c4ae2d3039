"""The table "Who may do what" of the manual, each cell tried at a running gateway."""

from __future__ import annotations

import json
import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from processes import DEADLINE, wait_until
from sample_events import REQUIRED
from websockets.exceptions import InvalidStatus

from callcenter_ws.amp import commands
from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.principal import Role

PAGE = Path(__file__).parent.parent.parent / "docs" / "security.rst"
SECRET = "a-shared-secret-of-this-test"
TENANT, OTHER = "acme", "umbrella"
CHAT_SITE = "https://www.acme.example"

NO_TOKEN, AMP_SECRET = "no token", "secret"
ACTORS = (NO_TOKEN, "visitor", "wallboard", "agent", "supervisor", "admin", "service", AMP_SECRET)
FAMILIES = (
    "agent.*",
    "call.disposition",
    "call.*",
    "queue.*",
    "chat.delivered",
    "chat.*",
    "notification",
    "alert",
    "source.*",
    "presence.changed",
)
WIDGET = f"/ws/public/widget?tenant_id={TENANT}"
COMMANDS = ("command.done, command.failed", "command.executed")
DERIVED = ("agent.stats", "tenant.stats", "queue.alert.*", "statistics.settings.changed")
"""What the gateway makes itself where statistics are on; apart from the families of the same beginning."""

ALERT = """
[[tenants.figures-of-{name}.alerts]]
name = "waits"
queues = ["*"]
metric = "calls_waiting"
raise = {{ above = 0 }}
"""


def read_table() -> dict[str, dict[str, str]]:
    """Return the cells of the manual's table, by row and actor."""
    text = PAGE.read_text().partition(".. _who-may-do-what:")[2].partition("\n.. _")[0]
    lines = text.partition(".. list-table::")[2].splitlines()
    rows: list[list[str]] = []
    for line in lines:
        if line.startswith("   * - "):
            rows.append([line.removeprefix("   * - ").strip()])
        elif line.startswith("     - "):
            rows[-1].append(line.removeprefix("     - ").strip())
    actors = tuple(name.strip("`") for name in rows[0][1:])
    assert actors == ACTORS
    assert all(len(row) == len(rows[0]) for row in rows)
    return {row[0].replace("`", ""): dict(zip(actors, row[1:], strict=True)) for row in rows[1:]}


TABLE = read_table()


@pytest.fixture(scope="module")
def gateway(start_shared_gateway: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    secret = tmp_path_factory.mktemp("secret") / "amp.secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    settings = "[statistics]\nservice_level_seconds = 20\n"
    settings += "[commands]\nenabled = true\n"
    settings += f'[public.tenants.{TENANT}]\norigins = ["{CHAT_SITE}"]\nanonymous = true\n'
    for name in map(_hyphenated, ACTORS):
        settings += f"[tenants.figures-of-{name}.statistics]\nenabled = true\n{ALERT.format(name=name)}"
    arguments = ["--set", "store.url=memory:", "--set", f"amp.token_file={secret}"]
    # Wrong tokens are what this module is about.
    arguments += ["--set", "limits.failed_tokens_per_network=1000000"]
    return start_shared_gateway(settings, *arguments, amp=["tcp:0:interface=127.0.0.1"])


def _hyphenated(name: str) -> str:
    return name.replace(" ", "-")


class Actor:
    """One of the columns of the table: what it presents as its token."""

    def __init__(self, gateway: Any, name: str) -> None:
        self.gateway = gateway
        self.name = name
        self.user = f"{name}-{secrets.token_hex(4)}"
        # Each has a tenant with statistics of its own.
        self.tenant_of_figures = f"figures-of-{_hyphenated(name)}"

    def token(self, **claims: Any) -> str | None:
        """Return its token; the shared secret is presented as one."""
        if self.name == NO_TOKEN:
            return None
        if self.name == AMP_SECRET:
            return SECRET
        return self.gateway.token(self.name, **{"sub": self.user, **claims})  # type: ignore[no-any-return]

    def http(self, path: str, body: Any = None, headers: dict[str, str] | None = None, **claims: Any) -> bool:
        """Return whether a request is served; any refusal but one for lack of rights fails the test."""
        method = "GET" if body is None else "POST"
        token = self.token(**claims)
        status, answer = self.gateway.http(path, method=method, token=token, body=body, headers=headers)
        assert status in (200, 401, 403), answer
        return bool(status == 200)

    def connects(self, path: str, **options: Any) -> bool:
        """Return whether a WebSocket is accepted with its token."""
        token, claims = None, options.pop("claims", {})
        token = self.token(**claims)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            client = self.gateway.open(path, additional_headers=headers, **options)
        except InvalidStatus as refused:
            assert refused.response.status_code in (401, 403), refused.response
            return False
        with closing(client.socket):
            return bool(client.receive()["type"] == "welcome")

    def amp(self, command: bytes, *, scope: str = TENANT, **arguments: Any) -> bool:
        """Return whether a command is carried out over AMP; any refusal but one for lack of rights fails the test."""
        with self.amp_line(scope) as line:
            return line.carries_out(command, **arguments)

    @contextmanager
    def amp_line(self, scope: str = TENANT) -> Iterator[AmpLine]:
        """Connect over AMP, with its token where that is accepted."""
        with AmpLine(self.gateway.ports["AmpServerFactory"][0]) as line:
            token = self.token(tenant_id=scope)
            if token is not None and b"_error_code" in line.ask(b"Authenticate", token=token):
                # The refusal must not be the only thing that stands before the command.
                assert line.ask(b"Ping")[b"_error_code"] == b"UNAUTHENTICATED"
            yield line


class AmpLine:
    """A connection over AMP, without Twisted."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        self._stream: BinaryIO = self._socket.makefile("rb")
        self.events: list[dict[bytes, bytes]] = []

    def __enter__(self) -> AmpLine:
        return self

    def __exit__(self, *reason: object) -> None:
        self._stream.close()
        self._socket.close()

    def carries_out(self, command: bytes, **arguments: Any) -> bool:
        """Return whether a command is carried out; any refusal but one for lack of rights fails the test."""
        answer = self.ask(command, **arguments)
        assert answer.get(b"_error_code") in (None, b"UNAUTHENTICATED", b"FORBIDDEN"), answer
        return b"_error_code" not in answer

    def ask(self, command: bytes, **arguments: Any) -> dict[bytes, bytes]:
        """Send a command and return the answer to it; acknowledge the events of a subscription that come before."""
        box = {b"_ask": b"1", b"_command": command}
        for name, value in arguments.items():
            box[name.encode()] = (value if isinstance(value, str) else json.dumps(value)).encode()
        self._send(box)
        while True:
            received = dict(iter(lambda: (key := self._text(), self._text() if key else b""), (b"", b"")))
            assert received, "the gateway has closed the connection"
            if b"_command" not in received:
                return received
            self.events.append(received)
            self._send({b"_answer": received[b"_ask"]})

    def _send(self, box: dict[bytes, bytes]) -> None:
        self._socket.sendall(
            b"".join(len(text).to_bytes(2, "big") + text for pair in box.items() for text in pair) + b"\0\0"
        )

    def _text(self) -> bytes:
        return self._stream.read(int.from_bytes(self._stream.read(2), "big"))


# What the rows mean. Each function returns what the cell of an actor should say.


def _yes_or_no(allowed: bool) -> str:
    return "yes" if allowed else "no"


def _within_tenant(own: bool, other: bool) -> str:
    assert own or not other
    return "every tenant" if other else _yes_or_no(own)


def connects_as_staff(actor: Actor) -> str:
    assert not actor.connects(f"/ws?tenant_id={OTHER}")
    return _yes_or_no(actor.connects("/ws"))


def connects_as_visitor(actor: Actor) -> str:
    path = "/ws/public?tenant_id={}" if actor.name == NO_TOKEN else "/ws/public"
    allowed = actor.connects(path.format(TENANT), origin=CHAT_SITE)
    # Never from the site of another tenant, nor into a tenant that has no chat widget.
    assert not actor.connects(path.format(TENANT), origin="https://evil.example")
    assert not actor.connects(f"/ws/public?tenant_id={OTHER}", origin=CHAT_SITE)
    return "if permitted" if allowed and actor.name == NO_TOKEN else _yes_or_no(allowed)


def names_every_tenant_in_url(actor: Actor) -> str:
    """With a token for all tenants, which most roles cannot have."""
    return _yes_or_no(actor.connects(f"/ws?tenant_id={OTHER}", claims={"tenant_id": "*"}))


def writes_in_chats(actor: Actor) -> str:
    if not _opens_websocket(actor):
        return "no"
    mine, others = secrets.token_hex(4), secrets.token_hex(4)
    for session in (mine, others):
        agent = actor.user if session == mine else "another-agent"
        actor.gateway.publish("chat.session.started", {"session_id": session, "agent_id": agent})
    client = _client(actor, session_id=mine)
    with closing(client.socket):
        answers = []
        for session in (mine, others):
            answer = client.request("chat.message", {"session_id": session, "body": "hello"})
            if answer["type"] == "error":
                assert answer["payload"]["code"] == "forbidden", answer
            answers.append(answer["type"] == "accepted")
    assert answers[0] or not answers[1]
    return "own" if answers == [True, False] else _yes_or_no(answers[0])


def has_a_chat_as_visitor(actor: Actor) -> str:
    if not _opens_websocket(actor):
        return "no"
    mine, others = secrets.token_hex(4), secrets.token_hex(4)
    actor.gateway.publish("chat.session.started", {"session_id": others})
    client = _client(actor, session_id=mine)
    with closing(client.socket):
        answer = client.request("chat.start", {"body": "hello", "client_message_id": "1"})
        started = answer["type"] == "accepted"
        assert started or answer["payload"]["code"] == "forbidden", answer
        assert not started or answer["payload"]["session_id"] == mine
        for session in (mine, others):
            for type_ in ("chat.delivered", "chat.end"):
                client.send(type_, {"session_id": session, "message_id": "m"}, id=type_)
            refused = [message for message in client.received_before_pong() if message["type"] == "error"]
            assert len(refused) == (0 if started and session == mine else 2)
            assert {message["payload"]["code"] for message in refused} <= {"forbidden"}
    return "own" if started else "no"


def acknowledges_alerts(actor: Actor) -> str:
    if not _opens_websocket(actor):
        return "no"
    client = _client(actor, session_id="of-alerts")
    with closing(client.socket):
        # No alert is raised: the answer says so only to roles that may acknowledge alerts.
        code = client.request("alert.ack", {"alert_id": "alert-of-this-test"})["payload"]["code"]
    assert code in ("forbidden", "unknown_alert")
    return _yes_or_no(code == "unknown_alert")


def issues_commands(actor: Actor) -> str:
    if not _opens_websocket(actor):
        return "no"
    client = _client(actor, session_id="of-commands")
    with closing(client.socket):
        # There is no such call: only those who may issue the command learn that.
        code = client.request("command", {"name": "call.hangup", "call_id": "none-of-this-id"})["payload"]["code"]
    assert code in ("not_allowed", "not_found")
    return _yes_or_no(code == "not_found")


def issues_commands_over_http(actor: Actor) -> str:
    body = {"name": "call.hangup", "call_id": "none-of-this-id"}
    status, _ = actor.gateway.http("/ws/commands", method="POST", token=actor.token(), body=body)
    assert status in (401, 403, 404)
    return _yes_or_no(status == 404)


def reads_own_commands(actor: Actor) -> str:
    status, _ = actor.gateway.http("/ws/commands/none-of-this-id", token=actor.token())
    assert status in (401, 403, 404)
    return _yes_or_no(status == 404)


def reads_public_resources(actor: Actor) -> str:
    return _yes_or_no(all(actor.http(path) for path in ("/livez", "/readyz", "/schemas/", "/schemas/alert")))


def reads_metrics(actor: Actor) -> str:
    assert actor.http("/metrics"), "every user of the machine may read them"
    # As forwarded by a proxy that is not listed: not a request of this machine.
    return _yes_or_no(actor.http("/metrics", headers={"X-Forwarded-For": "203.0.113.9"}))


def _reads(path: str) -> Callable[[Actor], str]:
    def read(actor: Actor) -> str:
        assert not actor.http(f"{path}{'&' if '?' in path else '?'}tenant_id={OTHER}")
        return _yes_or_no(actor.http(path))

    return read


def _reads_statistics(query: str) -> Callable[[Actor], str]:
    def read(actor: Actor) -> str:
        assert not actor.http(f"/ws/statistics?tenant_id={OTHER}{query}", tenant_id=actor.tenant_of_figures)
        return _yes_or_no(actor.http(f"/ws/statistics?interval=day{query}", tenant_id=actor.tenant_of_figures))

    return read


def reads_calls(actor: Actor) -> str:
    status, _ = actor.gateway.http("/ws/calls/earlier?call_id=unknown", token=actor.token())
    answer = _reads("/ws/calls")(actor)
    # 404: the user may ask, and there is no such call.
    assert (status == 404) is (answer == "yes")
    return answer


def reads_stats_of_node(actor: Actor) -> str:
    return _yes_or_no(actor.http("/ws/stats", tenant_id="*"))


def publishes_over_http(actor: Actor) -> str:
    event = {"type": "alert", "payload": REQUIRED["alert"]}
    assert not actor.http("/ws/events", body={**event, "tenant_id": OTHER})
    return _yes_or_no(actor.http("/ws/events", body=event))


def publishes_over_http_for_others(actor: Actor) -> str:
    event = {"type": "alert", "payload": REQUIRED["alert"], "tenant_id": OTHER}
    return _yes_or_no(actor.http("/ws/events", body=event, tenant_id="*"))


def _commands(command: bytes, **arguments: Any) -> Callable[[Actor], str]:
    """The row of a command that names a tenant: the one of the token, and another one."""

    def ask(actor: Actor) -> str:
        own, other = (actor.amp(command, tenant_id=tenant, **arguments) for tenant in (TENANT, OTHER))
        return _within_tenant(own, other)

    return ask


def publishes_over_amp(actor: Actor) -> str:
    event = {"type": "alert", "payload": REQUIRED["alert"]}
    single = _commands(b"PublishEvent", **event)(actor)
    batch = actor.amp(b"PublishBatch", events=[{**event, "tenant_id": TENANT}])
    assert batch == (single != "no")
    return single


def is_a_source(actor: Actor) -> str:
    own, other = (_is_source_of(actor, tenant) for tenant in (TENANT, OTHER))
    return _within_tenant(own, other)


def _is_source_of(actor: Actor, tenant: str) -> bool:
    """Return whether it may be a source of a tenant, and may tell the state of it there and nowhere else."""
    another = OTHER if tenant == TENANT else TENANT
    hello = {"source": f"pbx-{secrets.token_hex(4)}", "kind": "asterisk", "instance": "1", "tenants": [tenant]}
    sync = {"scope": "queues", "source_seq": 1, "part": 1, "last": "True", "entities": []}
    outcome = {"user_id": "101", "command_id": "none-of-this-id", "state": "done"}
    with actor.amp_line() as line:
        if line.carries_out(b"Hello", **hello):
            assert not line.carries_out(b"SyncState", tenant_id=another, **sync)
            assert line.carries_out(b"SyncState", tenant_id=tenant, **sync)
            assert not line.carries_out(b"CommandOutcome", tenant_id=another, **outcome)
            assert line.carries_out(b"CommandOutcome", tenant_id=tenant, **outcome)
            return True
    with actor.amp_line() as line:
        assert not line.carries_out(b"SyncState", tenant_id=tenant, **sync)
        assert not line.carries_out(b"CommandOutcome", tenant_id=tenant, **outcome)
    with actor.amp_line() as line:
        assert not line.carries_out(b"Subscribe", kinds=["command"])
    return False


def revokes_tokens_of_every_tenant(actor: Actor) -> str:
    return _yes_or_no(actor.amp(b"RevokeToken", scope="*", tenant_id="*", jti=secrets.token_hex(8)))


def acts_for_any_tenant(actor: Actor) -> str:
    event = {"type": "alert", "payload": REQUIRED["alert"]}
    done = {
        actor.amp(b"PublishEvent", scope="*", tenant_id=OTHER, **event),
        actor.amp(b"UserOnline", scope="*", tenant_id=OTHER, user_id="101"),
        actor.amp(b"DisconnectUser", scope="*", tenant_id=OTHER, user_id="101"),
        actor.amp(b"RevokeToken", scope="*", tenant_id=OTHER, jti=secrets.token_hex(8)),
        actor.amp(b"ListSources", scope="*"),
    }
    (allowed,) = done
    return _yes_or_no(allowed)


def subscribes_over_amp(actor: Actor) -> str:
    return _yes_or_no(actor.amp(b"Subscribe", kinds=["chat.*"]))


def forgets_sources(actor: Actor) -> str:
    if actor.name != AMP_SECRET:
        assert not actor.amp(b"ForgetSource", source="none-of-this-name")
    return _yes_or_no(actor.amp(b"ForgetSource", scope="*", source="none-of-this-name"))


def manages_users(actor: Actor) -> str:
    asked = ((b"ListUsers", {}), (b"ListSessions", {}), (b"EndSessions", {"session": "none-of-this-id"}))
    if actor.name != AMP_SECRET:
        assert not any(actor.amp(command, **arguments) for command, arguments in asked)
    (allowed,) = {actor.amp(command, scope="*", **arguments) for command, arguments in asked}
    return _yes_or_no(allowed)


def _sees(family: str) -> Callable[[Actor], str]:
    def see(actor: Actor) -> str:
        return _seen(actor)[family]

    return see


USER_COMMANDS = "AddUser, ChangeUser, RemoveUser, ListUsers, ListSessions, EndSessions, ApprovePairing"

ROWS: dict[str, Callable[[Actor], str]] = {
    "connect to /ws": connects_as_staff,
    "connect to /ws for any tenant, with a token of *": names_every_tenant_in_url,
    "connect to /ws/public": connects_as_visitor,
    **{f"see {family}": _sees(family) for family in (*FAMILIES, *DERIVED, *COMMANDS)},
    "write chat.message, chat.typing": writes_in_chats,
    "chat.start, chat.delivered, chat.end": has_a_chat_as_visitor,
    "alert.ack": acknowledges_alerts,
    "command": issues_commands,
    "GET /livez, GET /readyz, GET /schemas/": reads_public_resources,
    "GET /metrics from elsewhere": reads_metrics,
    "GET /ws/public/widget": lambda actor: _yes_or_no(actor.http(WIDGET)),
    "GET /ws/stats": _reads("/ws/stats"),
    "GET /ws/stats of the node, with a token of *": reads_stats_of_node,
    "GET /ws/statistics": _reads_statistics(""),
    "GET /ws/statistics of other agents": _reads_statistics("&agent=another-user"),
    "GET /ws/calls, GET /ws/calls/earlier": reads_calls,
    "GET /ws/users/USER/online": _reads("/ws/users/101/online"),
    "GET /ws/wallboards": _reads("/ws/wallboards"),
    "GET /ws/snapshot": _reads("/ws/snapshot?events=alert"),
    "POST /ws/events": publishes_over_http,
    "POST /ws/events for any tenant, with a token of *": publishes_over_http_for_others,
    "POST /ws/commands": issues_commands_over_http,
    "GET /ws/commands/ID": reads_own_commands,
    "AMP PublishEvent, PublishBatch": publishes_over_amp,
    "AMP Hello, SyncState, CommandOutcome": is_a_source,
    "AMP Subscribe": subscribes_over_amp,
    "AMP UserOnline": _commands(b"UserOnline", user_id="101"),
    "AMP DisconnectUser": _commands(b"DisconnectUser", user_id="101"),
    "AMP RevokeToken": _commands(b"RevokeToken", jti="a-token-of-this-test"),
    "AMP ListSources": _commands(b"ListSources"),
    "AMP ForgetSource, with a token of *": forgets_sources,
    f"AMP {USER_COMMANDS}, with a token of *": manages_users,
    "AMP, the same for any tenant, with a token of *": acts_for_any_tenant,
    "AMP RevokeToken for tokens of *, with a token of *": revokes_tokens_of_every_tenant,
}


# What each actor sees of one event of each type


def _opens_websocket(actor: Actor) -> bool:
    return actor.name not in (NO_TOKEN, AMP_SECRET)


def _client(actor: Actor, **claims: Any) -> Any:
    return actor.gateway.connect(actor.name, token=actor.token(**claims))


_SEEN: dict[str, dict[str, str]] = {}


def _seen(actor: Actor) -> dict[str, str]:
    """Return what the cells of all families should say; the events are published once for each actor."""
    if actor.name not in _SEEN:
        _SEEN[actor.name] = _observe(actor) if _opens_websocket(actor) else _observe_over_amp(actor)
        _SEEN[actor.name].update(_observe_derived(actor))
        _SEEN[actor.name].update(_observe_commands(actor))
    return _SEEN[actor.name]


OF_SERVICES = sorted(name for name, type_ in CATALOGUE.items() if Role.SERVICE in type_.audience)


def _observe(actor: Actor) -> dict[str, str]:
    names = Names()
    client = _client(actor, session_id=names.own_chat)
    with closing(client.socket):
        if actor.name == "service":
            _publish_all(actor, names)
            assert _received(client) == []
            assert client.request("subscribe", {"events": ["*"]})["type"] == "error"
            for name in sorted(set(CATALOGUE) - set(OF_SERVICES)):
                assert client.request("subscribe", {"events": [name]})["type"] == "error"
            assert client.request("subscribe", {"events": OF_SERVICES})["type"] == "subscribed"
        _publish_all(actor, names)
        messages = _received(client)
    assert {message["tenant_id"] for message in messages} <= {TENANT}
    return {family: _cell(actor, family, _of_family(messages, family), names) for family in FAMILIES}


def _observe_over_amp(actor: Actor) -> dict[str, str]:
    with AmpLine(actor.gateway.ports["AmpServerFactory"][0]) as line:
        token = actor.token()
        if token is None:
            assert line.ask(b"Subscribe", kinds=["*"])[b"_error_code"] == b"UNAUTHENTICATED"
            return dict.fromkeys(FAMILIES, "no")
        assert b"_error_code" not in line.ask(b"Authenticate", token=token)
        assert b"_error_code" not in line.ask(b"Subscribe", kinds=["*"])
        _publish_all(actor, Names())
        line.ask(b"Ping")
        messages = [{"type": event[b"type"].decode()} for event in line.events]
    return {family: "over AMP" if _of_family(messages, family) else "no" for family in FAMILIES}


def _received(client: Any) -> list[dict[str, Any]]:
    """Return the messages of the stream that a client was sent."""
    return [message for message in client.received_before_pong() if "seq" in message]


def _family(type_: str) -> str:
    """Return the family of a type; those that are derived have families of their own."""
    families = (*DERIVED, *FAMILIES)
    for family in COMMANDS:
        if type_ in family.split(", "):
            return family
    return next(one for one in families if type_ == one or (one.endswith("*") and type_.startswith(one[:-1])))


def _of_family(messages: list[dict[str, Any]], family: str) -> list[dict[str, Any]]:
    return [message for message in messages if _family(message["type"]) == family]


def _observe_derived(actor: Actor) -> dict[str, str]:
    """Return what the cells of figures and alerts should say, which are in a tenant of the actor alone."""
    gateway, tenant = actor.gateway, actor.tenant_of_figures
    with ExitStack() as stack:
        witness = stack.enter_context(closing(gateway.connect("admin", claims={"tenant_id": tenant}).socket))
        amp = stack.enter_context(AmpLine(gateway.ports["AmpServerFactory"][0]))
        token = actor.token(tenant_id=tenant)
        subscribes = (
            token is not None
            and b"_error_code" not in amp.ask(b"Authenticate", token=token)
            and b"_error_code" not in amp.ask(b"Subscribe", kinds=["*"])
        )
        live = [_figures_client(actor, stack)] if _opens_websocket(actor) else []
        for user in (actor.user, "another-user"):
            gateway.publish("agent.login", {"user_id": user, "username": user}, tenant_id=tenant)
        gateway.publish("queue.joined", REQUIRED["queue.joined"], tenant_id=tenant)
        _change_settings(gateway)
        missing = {("agent.stats", actor.user), ("agent.stats", "another-user")}
        missing |= {(name, None) for name in ("tenant.stats", "queue.alert.raised", "statistics.settings.changed")}
        while missing:
            message = json.loads(witness.recv(timeout=DEADLINE))
            missing.discard((message["type"], message["payload"].get("user_id")))
        # Figures are sent in several turns; one who connects now has them after its welcome.
        clients = [*live, *(_figures_client(actor, stack, client.welcome) for client in live)]
        messages = [message for client in clients for message in client.received_before_pong()]
        messages = [message for message in messages if "tenant_id" in message]
        assert {message["tenant_id"] for message in messages} <= {tenant}
        cells = {family: _derived_cell(actor, _of_family(messages, family)) for family in DERIVED}
        if subscribes:
            amp.ask(b"Ping")
            types = [{"type": event[b"type"].decode()} for event in amp.events]
            for family in DERIVED:
                if cells[family] == "no" and _of_family(types, family):
                    cells[family] = "over AMP"
        return cells


def _change_settings(gateway: Any) -> None:
    """Change a setting from which figures are derived, and reload."""
    # Not before the process has set its handler of the signal.
    wait_until(lambda: "callcenter-ws serves" in gateway.log, "the gateway to serve")
    config = gateway.folder / "callcenter-ws.toml"
    text, before = config.read_text(), int(config.read_text().partition("service_level_seconds = ")[2].split()[0])
    config.write_text(text.replace(f"service_level_seconds = {before}", f"service_level_seconds = {before + 1}"))
    gateway.process.send_signal(signal.SIGHUP)


def _figures_client(actor: Actor, stack: ExitStack, welcome: dict[str, Any] | None = None) -> Any:
    """Connect to the tenant of figures; from a position of an earlier welcome on, all figures follow ``resumed``."""
    path = "/ws/public?" if actor.name == "visitor" else "/ws?"
    if actor.name == "service":
        path += f"&events={','.join(OF_SERVICES)}"
    if welcome is not None:
        path += f"&epoch={welcome['payload']['epoch']}&seq={welcome['payload']['seq']}"
    client = actor.gateway.connect(actor.name, path, token=actor.token(tenant_id=actor.tenant_of_figures))
    stack.enter_context(closing(client.socket))
    if welcome is not None:
        client.receive_type("resumed")
    return client


def _derived_cell(actor: Actor, seen: list[dict[str, Any]]) -> str:
    if not seen:
        return "no"
    assert all(("seq" in message) == (CATALOGUE[message["type"]].figure is None) for message in seen)
    users = {message["payload"]["user_id"] for message in seen if message["type"] == "agent.stats"}
    if users == {actor.user}:
        return "own"
    assert users in (set(), {actor.user, "another-user"})
    return "named" if actor.name == "service" else "yes"


def _observe_commands(actor: Actor) -> dict[str, str]:
    """Return what the cells of outcomes should say: of a command of the actor, if it may issue any, and of another."""
    gateway = actor.gateway
    with ExitStack() as stack:
        witness = stack.enter_context(closing(gateway.connect("agent", claims={"sub": "another-user"}).socket))
        source = stack.enter_context(AmpLine(gateway.ports["AmpServerFactory"][0]))
        source.ask(b"Authenticate", token=SECRET)
        # The same one for all actors: of several sources, none would be chosen.
        hello = {"source": "pbx-of-commands", "kind": "asterisk", "instance": "1", "tenants": [TENANT]}
        assert b"_error_code" not in source.ask(b"Hello", **hello, capabilities=["agent.state.set"])
        source.ask(b"Subscribe", kinds=["command"])
        line = stack.enter_context(AmpLine(gateway.ports["AmpServerFactory"][0]))
        token = actor.token()
        if token is not None:
            line.ask(b"Authenticate", token=token)
            line.ask(b"Subscribe", kinds=["*"])
        messages = []
        if _opens_websocket(actor):
            client = _client(actor)
            stack.enter_context(closing(client.socket))
            if actor.name == "service":
                client.request("subscribe", {"events": OF_SERVICES})
            issued = client.request("command", {"name": "agent.state.set", "state": "away"})
        witness.send(json.dumps({"type": "command", "payload": {"name": "agent.state.set", "state": "away"}}))
        _tell_outcomes(source, 2 if _opens_websocket(actor) and issued["type"] == "accepted" else 1)
        while json.loads(witness.recv(timeout=DEADLINE))["type"] != "command.failed":
            pass
        if _opens_websocket(actor):
            messages = client.received_before_pong()
        line.ask(b"Ping")
    types = [{"type": event[b"type"].decode()} for event in line.events]
    own, executed = (_of_family(messages, family) for family in COMMANDS)
    assert {message["user_id"] for message in own} <= {actor.user}
    told, made = (bool(_of_family(types, family)) for family in COMMANDS)
    assert not told, "outcomes are for the asker alone"
    return {
        COMMANDS[0]: "no" if not own else "named" if actor.name == "service" else "own",
        COMMANDS[1]: "yes" if len(executed) > 1 else "over AMP" if made else _yes_or_no(bool(executed)),
    }


def _tell_outcomes(source: AmpLine, count: int) -> None:
    """Take commands, and tell that they failed."""
    told = 0
    while told < count:
        source.ask(b"Ping")
        for command in source.events[told:]:
            key = {name: command[name.encode()].decode() for name in ("tenant_id", "user_id", "command_id")}
            told += 1
            source.ask(b"CommandOutcome", **key, state="failed")


class Names:
    """The chats and the caller of the events that are published for one actor."""

    def __init__(self) -> None:
        self.own_chat, self.other_chat = secrets.token_hex(4), secrets.token_hex(4)
        self.caller = f"+{secrets.randbelow(10**12)}"


def _publish_all(actor: Actor, names: Names) -> None:
    """Publish events of all types, for the actor and for others, in its tenant and in another one."""
    gateway = actor.gateway
    for type_, payload in REQUIRED.items():
        if (
            CATALOGUE[type_].by_gateway
            or type_.startswith(("chat.", "source.", "presence."))
            or type_ == "notification"
        ):
            continue
        shown = {**payload, "caller_id": names.caller} if "unique_id" in payload else payload
        gateway.publish(type_, shown)
        gateway.publish(type_, shown, tenant_id=OTHER)
    for user in (actor.user, "another-user"):
        gateway.publish("notification", {**REQUIRED["notification"], "message": user}, user_id=user)
    with closing(gateway.connect("supervisor", claims={"sub": f"arrives-{secrets.token_hex(4)}"}).socket) as arrived:
        for session, agent in ((names.own_chat, actor.user), (names.other_chat, "another-agent")):
            chat = {"session_id": session, "agent_id": agent, "visitor_email": "mail@example.com"}
            gateway.publish("chat.session.started", chat)
            gateway.publish("chat.delivered", {"session_id": session, "message_id": "m"})
            gateway.publish("chat.message", {**REQUIRED["chat.message"], "session_id": session, "private": True})
            message = {"type": "chat.message", "id": "1", "payload": {"session_id": session, "body": "hello"}}
            arrived.send(json.dumps(message))
            while json.loads(arrived.recv(timeout=DEADLINE))["type"] != "accepted":
                pass
        with AmpLine(gateway.ports["AmpServerFactory"][0]) as line:
            assert b"_error_code" not in line.ask(b"Authenticate", token=SECRET)
            hello = {"source": f"pbx-{secrets.token_hex(4)}", "kind": "asterisk", "instance": "1"}
            assert b"_error_code" not in line.ask(b"Hello", **hello, tenants=[TENANT])
        gateway.wait_until_delivered()


def _cell(actor: Actor, family: str, seen: list[dict[str, Any]], names: Names) -> str:
    if not seen:
        return "no"
    cell = "yes"
    if family == "notification":
        assert {message["payload"]["message"] for message in seen} == {actor.user}
        cell = "own"
    elif family in ("call.*", "queue.*"):
        cell = _callers(seen, names.caller)
    elif family == "chat.delivered":
        cell = _chats(seen, names)
    elif family == "chat.*":
        cell = _chats(seen, names)
        # A visitor sees neither what is private nor addresses.
        text = json.dumps(seen)
        assert ('"private": true' in text) == ("mail@example.com" in text) == (actor.name != "visitor")
    if actor.name == "service":
        assert cell == ("own" if family == "notification" else "yes")
        return "named"
    return cell


def _chats(seen: list[dict[str, Any]], names: Names) -> str:
    sessions = {message["payload"]["session_id"] for message in seen}
    return "own" if sessions == {names.own_chat} else _yes_or_no(sessions == {names.own_chat, names.other_chat})


def _callers(seen: list[dict[str, Any]], caller: str) -> str:
    shown = {message["payload"]["caller_id"] for message in seen if "caller_id" in message["payload"]}
    assert shown in ({caller}, {"***"})
    return "yes" if shown == {caller} else "masked"


@pytest.fixture(scope="module")
def actors(gateway: Any) -> Iterator[dict[str, Actor]]:
    yield {name: Actor(gateway, name) for name in ACTORS}
    _SEEN.clear()


def test_every_row_is_tried() -> None:
    assert list(TABLE) == list(ROWS)


@pytest.mark.parametrize("name", ACTORS)
@pytest.mark.parametrize("row", TABLE)
def test_a_cell(actors: dict[str, Actor], row: str, name: str) -> None:
    expected = TABLE[row][name]
    assert ROWS[row](actors[name]) == expected


def test_the_table_has_every_command() -> None:
    text = " ".join(row for row in TABLE if row.startswith("AMP "))
    declared = {
        value.commandName.decode()
        for value in vars(commands).values()
        if isinstance(value, type) and issubclass(value, commands.GatewayCommand)
    }
    # Every peer may authenticate, and one that has may ping; the gateway itself calls ClientEvent and Command.
    declared -= {"GatewayCommand", "Authenticate", "Ping", "ClientEvent", "Command"}
    assert {name for name in declared if name not in text} == set()


def test_the_table_has_every_event_type() -> None:
    for type_ in CATALOGUE.values():
        row = f"see {_family(type_.name)}"
        sees = {name for name, cell in TABLE[row].items() if cell not in ("no", "over AMP")}
        assert sees == {role.value for role in type_.audience}, type_.name
