"""The commands of operators with running gateways: users, tokens, figures, the catalogue."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest
from processes import free_port, run, wait_until
from tls_material import make_certificate

from callcenter_ws.cli.event_examples import EXAMPLES
from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.source_rules import SOURCE_TYPES

TLS = "ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"


@pytest.fixture
def config(gateway: Any) -> list[str]:
    return ["--config", f"{gateway.folder}/callcenter-ws.toml"]


def outcome(*arguments: str, **options: Any) -> tuple[int, str, str]:
    done: subprocess.CompletedProcess[str] = run(*arguments, **options)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def printed(*arguments: str, **options: Any) -> str:
    status, out, err = outcome(*arguments, **options)
    assert (status, err) == (0, "")
    return out


def user_id() -> str:
    return f"user-{secrets.token_hex(4)}"


# Users


def test_a_user_is_online_and_is_disconnected(gateway: Any, config: list[str]) -> None:
    user = user_id()
    acme = ["--tenant", "acme", *config]
    assert printed("online", user, *acme) == f"{user} is offline\n"
    clients = [gateway.connect(claims={"sub": user}) for _ in range(2)]
    assert printed("online", user, *acme) == f"{user} is online: 2 connections\n"
    assert json.loads(printed("online", user, "--json", *acme)) == {
        "tenant_id": "acme",
        "user_id": user,
        "online": True,
        "connections": 2,
    }
    assert printed("online", user, "--tenant", "globex", *config) == f"{user} is offline\n"
    assert printed("disconnect", user, "--reason", "ticket 4711", *acme) == f"{user}: closed 2 connections\n"
    assert [client.close_code() for client in clients] == [4503, 4503]
    assert printed("disconnect", user, *acme) == f"{user}: closed 0 connections\n"
    wait_until(lambda: "'ticket 4711'" in gateway.log, "the reason in the log")


def test_a_token_is_revoked_by_its_file(gateway: Any, config: list[str], tmp_path: Path) -> None:
    user, jti = user_id(), secrets.token_hex(4)
    token = gateway.token(sub=user, jti=jti)
    file = tmp_path / "token"
    file.write_text(f"{token}\n")
    client = gateway.connect(token=token)
    out = printed("revoke", "--token-file", str(file), *config)
    assert out == f"revoked the token {jti} in tenant acme; closed 1 connection\n"
    assert client.close_code() == 4503
    # Other tokens of the user are accepted.
    gateway.connect(claims={"sub": user}).socket.close()
    assert printed("check-token", "--token-file", str(file), *config).startswith("OK")


def test_tokens_are_revoked_by_jti_and_by_user(gateway: Any, config: list[str]) -> None:
    user = user_id()
    clients = [gateway.connect(claims={"sub": user, "jti": f"{user}-{number}"}) for number in range(2)]
    out = printed("revoke", "--jti", f"{user}-0", "--tenant", "acme", *config)
    assert out == f"revoked the token {user}-0 in tenant acme; closed 1 connection\n"
    out = printed("revoke", "--user", user, "--tenant", "acme", *config)
    assert out == f"revoked the tokens of user {user} in tenant acme; closed 1 connection\n"
    assert [client.close_code() for client in clients] == [4503, 4503]
    status, _ = gateway.http("/ws/stats", token=gateway.token(sub=user))
    assert status == 401


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"tenant_id": "acme"}, "the token has no jti; revoke all tokens of its user with --user 7"),
        ({"jti": "j"}, "the token has no tenant_id"),
        ({"jti": "j", "tenant_id": "globex"}, "the token is for the tenant globex, not for acme"),
    ],
)
def test_a_token_that_cannot_be_revoked_by_its_file(
    claims: dict[str, str], reason: str, config: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "token"
    token = jwt.encode({"sub": "7", **claims}, "an old secret that no gateway has any more", "HS256")
    file.write_text(token)
    status, out, err = outcome("revoke", "--token-file", str(file), "--tenant", "acme", *config)
    assert (status, out) == (1, "")
    assert reason in err
    assert token not in err


def test_a_file_without_a_token_is_no_token(config: list[str], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("not a token")
    status, _, err = outcome("revoke", "--token-file", str(tmp_path / "token"), *config)
    assert (status, "token: not a JWT" in err) == (1, True)


# What goes wrong


USERS = [("online", "7"), ("disconnect", "7"), ("revoke", "--user", "7")]


@pytest.mark.parametrize("command", USERS, ids=lambda command: command[0])
def test_no_gateway(command: tuple[str, ...]) -> None:
    address = f"tcp:host=127.0.0.1:port={free_port()}"
    status, out, err = outcome(*command, "--tenant", "acme", "--amp", address)
    assert (status, out) == (1, "")
    assert err.startswith(f"callcenter-ws {command[0]}: unavailable: cannot connect to {address}: connection refused")


def test_a_port_that_does_not_speak_amp_as_expected(start_gateway: Callable[..., Any], tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    gateway = start_gateway(amp=[TLS.format(key=key, certificate=certificate), "tcp:0:interface=127.0.0.1"])
    with_tls, without_tls = gateway.ports["AmpServerFactory"]
    question = ["online", "7", "--tenant", "acme", "--set", f"jwt.secret_file={gateway.folder}/secret"]
    trusted = {"SSL_CERT_FILE": str(certificate)}
    for address, environment, reason in (
        (f"tls:127.0.0.1:{with_tls}", {}, "TLS failed: certificate verify failed. Name the file of a private CA in "),
        (f"tcp:127.0.0.1:{with_tls}", {}, "A port with TLS needs tls:HOST:PORT"),
        (f"tls:127.0.0.1:{without_tls}", trusted, "a port without TLS tcp:HOST:PORT"),
    ):
        status, out, err = outcome(*question, "--amp", address, environment=environment)
        assert (status, out) == (1, "")
        assert f"the connection to {address} is lost: " in err
        assert reason in err
    for address in (f"tls:127.0.0.1:{with_tls}", f"tcp:127.0.0.1:{without_tls}"):
        assert printed(*question, "--amp", address, environment=trusted) == "7 is offline\n"
    # "reset, timed out or broken" would point to the network.
    ends = re.compile(r"'callcenter-ws online' .* is closed by the peer: (.*); after")
    wait_until(lambda: len(ends.findall(gateway.log)) == 2, "the ends of both connections in the log")
    assert ends.findall(gateway.log) == ["the end of the connection"] * 2


@pytest.mark.parametrize("command", USERS, ids=lambda command: command[0])
def test_a_gateway_that_does_not_answer(command: tuple[str, ...], silent_port: int) -> None:
    address = f"tcp:host=127.0.0.1:port={silent_port}"
    status, out, err = outcome(*command, "--tenant", "acme", "--amp", address, "--timeout", "0.5")
    assert (status, out) == (1, "")
    assert f"no answer from {address} within 0.5 s; " in err


@pytest.fixture
def silent_port() -> Any:
    """A port that accepts connections and never answers."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def network_gateway(start_gateway: Callable[..., Any]) -> tuple[Any, str]:
    """A gateway with an AMP port, and its endpoint."""
    gateway = start_gateway(amp=["tcp:0:interface=127.0.0.1"])
    return gateway, f"tcp:host=127.0.0.1:port={gateway.ports['AmpServerFactory'][0]}"


def test_wrong_credentials(network_gateway: tuple[Any, str], tmp_path: Path) -> None:
    gateway, endpoint = network_gateway
    other = tmp_path / "other"
    other.write_text("another secret, which the gateway does not have")
    other.chmod(0o600)
    common = ["online", "7", "--tenant", "acme", "--amp", endpoint]
    status, _, err = outcome(*common)
    assert (status, "unauthorized" in err) == (1, True)
    # Signed with the secret of another installation.
    status, _, err = outcome(*common, "--set", f"jwt.secret_file={other}")
    assert (status, "unauthorized: signature: does not match any key" in err) == (1, True)
    status, _, err = outcome(*common, "--amp-token-file", str(other))
    assert status == 1 and err.startswith("callcenter-ws online: unauthorized: ")
    token_file = tmp_path / "globex"
    token_file.write_text(gateway.token("service", tenant_id="globex"))
    status, _, err = outcome(*common, "--amp-token-file", str(token_file))
    assert (status, "forbidden: tenant_id: the token is for another tenant" in err) == (1, True)
    token_file.write_text(gateway.token("service"))
    assert printed(*common, "--amp-token-file", str(token_file)) == "7 is offline\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["online", "7", "--tenant", "*"], "tenant_id: name one tenant"),
        (["online", "", "--tenant", "acme"], "user_id: expected a string of 1 to 255 characters"),
        (["disconnect", "a\x01", "--tenant", "acme"], "user_id: "),
        (["revoke", "--jti", "", "--tenant", "acme"], "jti: "),
        (["online", "7"], "no tenant given"),
    ],
)
def test_arguments_that_the_gateway_refuses(arguments: list[str], reason: str, config: list[str]) -> None:
    status, out, err = outcome(*arguments, *config)
    assert (status, out) == (1, "")
    assert reason in err


# Several nodes


def _has_two_connections(question: list[str]) -> bool:
    return "2 connections" in printed(*question)


def test_users_of_all_nodes(two_nodes: Callable[..., list[Any]]) -> None:
    nodes = two_nodes()
    at = ["--tenant", "acme", "--amp", f"unix:path={nodes[0].amp_path}"]
    users = [user_id() for _ in range(2)]
    clients = [node.connect(claims={"sub": user}) for user in users for node in nodes]
    for node in nodes:
        question = ["online", users[0], "--tenant", "acme", "--amp", f"unix:path={node.amp_path}"]
        wait_until(partial(_has_two_connections, question), "the node knows both connections")
    assert printed("disconnect", users[0], *at) == f"{users[0]}: closed 2 connections\n"
    assert [client.close_code() for client in clients[:2]] == [4503, 4503]
    out = printed("revoke", "--user", users[1], *at)
    assert out == f"revoked the tokens of user {users[1]} in tenant acme; closed 2 connections\n"
    assert [client.close_code() for client in clients[2:]] == [4503, 4503]
    secret = ["--set", f"jwt.secret_file={nodes[0].folder}/secret"]
    figures = printed("stats", "--url", nodes[1].url("/"), *secret)
    assert figures.startswith("node-1: version ")
    assert figures.endswith("These are the figures of this node. Other nodes have figures of their own.\n")


def test_a_store_that_is_gone_is_named(start_gateway: Callable[..., Any], own_server: Any) -> None:
    node = start_gateway("", "--set", f"store.url={own_server.url}", "--set", "store.key_prefix=gone")
    wait_until(lambda: node.http("/readyz")[0] == 200, "the node is ready")
    own_server.stop()
    at = ["--tenant", "acme", "--amp", f"unix:path={node.amp_path}", "--timeout", "20"]
    for command in USERS:
        status, out, err = outcome(*command, *at)
        assert (status, out) == (1, "")
        assert err.startswith(f"callcenter-ws {command[0]}: unavailable: ")


# Figures


def test_the_figures_of_the_gateway(gateway: Any, config: list[str], tmp_path: Path) -> None:
    client = gateway.connect("supervisor", claims={"tenant_id": "figures"})
    url = ["--url", gateway.url("/"), *config]
    lines = printed("stats", "--tenant", "figures", *url).splitlines()
    assert lines[0].startswith("test-node: version ")
    assert "  connections      1: supervisor 1" in lines
    assert not any(line.startswith("  sources") for line in lines)
    assert any(line.startswith("  sources") for line in printed("stats", *url).splitlines())
    token = tmp_path / "token"
    token.write_text(gateway.token("agent", tenant_id="figures"))
    figures = json.loads(printed("stats", "--json", "--url", gateway.url(""), "--token-file", str(token)))
    assert (figures["tenant_id"], figures["connections"]["by_role"]) == ("figures", {"supervisor": 1})
    status, _, err = outcome("stats", "--url", gateway.url(""), "--token-file", str(token), "--tenant", "acme")
    assert (status, "/ws/stats: forbidden: " in err) == (1, True)
    client.socket.close()


def test_the_figures_of_a_worker(start_gateway: Callable[..., Any], server: Any) -> None:
    port = free_port()
    store = f'[store]\nurl = "{server.url}"\nkey_prefix = "stats"\n'
    gateway = start_gateway(store, "--workers", "2", web=f"tcp:{port}:interface=127.0.0.1")
    config = ["--config", f"{gateway.folder}/callcenter-ws.toml"]
    lines = printed("stats", *config).splitlines()
    assert ", worker " in lines[0]
    assert lines[-1].startswith("These are the figures of one worker process")


def test_the_figures_over_tls(start_gateway: Callable[..., Any], tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    gateway = start_gateway(web=TLS.format(key=key, certificate=certificate))
    arguments = ["stats", "--url", gateway.url("/"), "--config", f"{gateway.folder}/callcenter-ws.toml"]
    status, _, err = outcome(*arguments)
    assert (status, "is not trusted: self-signed certificate. Name the file of a private CA" in err) == (1, True)
    assert printed(*arguments, environment={"SSL_CERT_FILE": str(certificate)}).startswith("test-node: ")
    status, _, err = outcome("stats", "--config", f"{gateway.folder}/callcenter-ws.toml")
    assert (status, "no URL known: give --url https://" in err) == (1, True)


# The catalogue


def test_the_gateway_accepts_every_example(gateway: Any, config: list[str]) -> None:
    by_senders = {name for name in EXAMPLES.keys() - SOURCE_TYPES if not CATALOGUE[name].by_gateway}
    for name in by_senders:
        user = {"user_id": "1001"} if name == "notification" else {}
        gateway.publish(name, EXAMPLES[name], tenant_id="examples", **user)
    payload = json.dumps(EXAMPLES["queue.stats"])
    emitted = printed("emit", "queue.stats", payload, "--tenant", "examples", *config)
    assert json.loads(emitted)["seq"] == len(by_senders) + 1


@pytest.mark.parametrize("name", ["agent.stats", "queue.alert.raised", "statistics.settings.changed"])
def test_emit_cannot_publish_what_the_gateway_derives(name: str, config: list[str]) -> None:
    status, out, err = outcome("emit", name, json.dumps(EXAMPLES[name]), "--tenant", "acme", *config)
    assert (status, out) == (1, "")
    assert "only the gateway itself" in err


def test_emit_cannot_publish_the_state_of_a_source(config: list[str]) -> None:
    status, out, err = outcome("emit", "source.up", json.dumps(EXAMPLES["source.up"]), "--tenant", "acme", *config)
    assert (status, out) == (1, "")
    assert "Hello" in err
    assert "emit cannot publish it" in printed("events", "source.up")
