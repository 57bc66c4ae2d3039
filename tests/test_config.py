"""The settings: every rule with its key and reason, all problems together, and the order of the sources."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import fields as dataclass_fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tls_material import make_certificate, new_certificate

from callcenter_ws.config.load import Settings, load
from callcenter_ws.config.settings import KEYS, SECTIONS, PublicTenantSettings
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.setting_problems import ConfigError, Problem
from callcenter_ws.runtime.setting_values import range_of

ETC_FILE = Path(__file__).parent.parent / "etc" / "callcenter-ws.toml"
SECRET = "correct horse battery staple, thrice, and some more of it: 64 bytes"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with all files that settings may refer to."""
    (tmp_path / "jwt.secret").write_text(SECRET + "\n")
    (tmp_path / "keys.secret").write_text(f"{SECRET}\ntoo short\n")
    (tmp_path / "short.secret").write_text("short\n")
    (tmp_path / "shared.secret").write_text(SECRET)
    key = Ed25519PrivateKey.generate()
    (tmp_path / "public.pem").write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "private.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "nonsense.pem").write_text("-----BEGIN PUBLIC KEY-----\nnonsense\n-----END PUBLIC KEY-----\n")
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame"))
    (tmp_path / "locked.pem").write_bytes(encrypted)
    (tmp_path / "large.pem").write_bytes(bytes(70_000))
    os.mkfifo(tmp_path / "pipe")
    for file in tmp_path.iterdir():
        file.chmod(0o600)
    (tmp_path / "shared.secret").chmod(0o620)
    return tmp_path


def write(folder: Path, text: str) -> Path:
    file = folder / "gw.toml"
    file.write_text(text)
    return file


def problems_of(path: Path | None, **sources: Any) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load(path, **sources)
    return caught.value.problems


def outcome_of(path: Path | None, **sources: Any) -> Settings | ConfigError:
    try:
        return load(path, **sources)
    except ConfigError as error:
        return error


def demo_problems(path: Path | None, **sources: Any) -> list[Problem]:
    return problems_of(path, demo=True, **sources)


# The rules

FILE_RULES = [
    ("", "web = 3", "web", r"expected a table, written as \[web\]"),
    ("", "[webb]\nlisten = []", "webb", "no such section; did you mean web?"),
    ("web", "lisen = []", "web.lisen", "no such key; did you mean web.listen?"),
    ("web", "xyzzy = 1", "web.xyzzy", "no such key"),
    ("web", "listen = []", "web.listen", "no endpoint"),
    ("web", 'listen = "tcp:80"', "web.listen", "expected a list, got a string: 'tcp:80'"),
    ("web", "listen = [80]", "web.listen", "item 1: expected a string in quotes, got a whole number: 80"),
    ("web", 'listen = ["8080"]', "web.listen", "'8080' is not an endpoint; it starts with one of tcp:, ssl:"),
    ("web", 'listen = ["onion:80"]', "web.listen", "not an endpoint"),
    ("web", 'listen = ["tcp:"]', "web.listen", "not an endpoint"),
    ("web", 'listen = ["haproxy:"]', "web.listen", "not an endpoint"),
    ("web", 'listen = ["haproxy:haproxy:tcp:1"]', "web.listen", "not an endpoint"),
    ("web", 'listen = ["haproxy:unix:/run/web.sock"]', "web.listen", "haproxy: is for tcp:, ssl: and systemd: sockets"),
    ("amp", 'listen = ["haproxy:systemd:domain=UNIX:index=0"]', "amp.listen", "sockets of the network"),
    ("web", 'listen = ["haproxy:tcp:8080:x=1"]', "web.listen", "an option is unknown"),
    ("web", 'listen = ["haproxy:tcp:80"]', "web.listen", "web.trusted_proxies lists none"),
    ("web", 'listen = ["tcp:http"]', "web.listen", "the port is not a number from 0 to 65535"),
    ("web", 'listen = ["tcp:65536"]', "web.listen", "the port is not a number"),
    ("web", 'listen = ["tcp:port=x"]', "web.listen", "the port is not a number"),
    ("web", 'listen = ["tcp:80:interfaces=::1"]', "web.listen", "option is unknown"),
    ("web", 'listen = ["unix:/x:mode=rw"]', "web.listen", "invalid literal"),
    ("web", 'listen = ["ssl:443:privateKey=/nowhere/k.pem"]', "web.listen", "cannot read /nowhere/k.pem: No such file"),
    ("web", 'listen = ["ssl:443:privateKey={folder}/nonsense.pem"]', "web.listen", "nonsense.pem holds no private key"),
    ("web", 'listen = ["ssl:443:privateKey={folder}/private.pem"]', "web.listen", "private.pem holds no certificate"),
    ("web", 'listen = ["ssl:443:privateKey={folder}/locked.pem"]', "web.listen", "locked.pem is encrypted"),
    ("web", 'listen = ["systemd:domain=INET"]', "web.listen", "write systemd:domain=INET:name="),
    ("web", 'listen = ["systemd:domain=X:index=0"]', "web.listen", "write systemd:"),
    ("web", 'listen = ["systemd:domain=INET:index=a"]', "web.listen", "index is not a number"),
    ("web", 'metrics_listen = "9100"', "web.metrics_listen", "not an endpoint"),
    ("web", 'metrics_listen = "tcp:8080:interface=127.0.0.1"', "web.metrics_listen", "another listener"),
    ("web", 'allowed_origins = ["*"]', "web.allowed_origins", "every web site act as your users"),
    ("web", 'allowed_origins = ["null"]', "web.allowed_origins", "every web site"),
    ("web", 'allowed_origins = ["https://*"]', "web.allowed_origins", "every web site"),
    ("web", 'allowed_origins = ["https://*.com"]', "web.allowed_origins", "domain of your own"),
    ("web", 'allowed_origins = ["https://*.0.0.1"]', "web.allowed_origins", "domain of your own"),
    ("web", 'allowed_origins = ["http://*.example.com"]', "web.allowed_origins", "domain of your own"),
    ("web", 'allowed_origins = ["https://a.*.example.com"]', "web.allowed_origins", "not an origin"),
    ("web", 'allowed_origins = ["example.com"]', "web.allowed_origins", "not an origin"),
    ("web", 'allowed_origins = ["https://example.com/"]', "web.allowed_origins", "not an origin"),
    ("web", 'allowed_origins = ["https://u@example.com"]', "web.allowed_origins", "not an origin"),
    ("web", 'allowed_origins = ["ftp://example.com"]', "web.allowed_origins", "not an origin"),
    ("web", 'allowed_origins = ["https://exämple.com"]', "web.allowed_origins", "not an origin"),
    ("web", 'allowed_origins = ["https://a..b"]', "web.allowed_origins", "'a..b' is not a host name"),
    ("web", 'allowed_origins = ["https://[::x]"]', "web.allowed_origins", "not an origin"),
    ("web", 'allowed_origins = ["https://[::1::]"]', "web.allowed_origins", "not"),
    ("web", 'allowed_origins = ["https://example.com:0"]', "web.allowed_origins", "no such port"),
    ("web", 'allowed_origins = ["https://example.com:65536"]', "web.allowed_origins", "no such port"),
    ("web", 'demo = "yes"', "web.demo", "expected true or false, got a string: 'yes'"),
    ("web", 'trusted_proxies = ["proxy"]', "web.trusted_proxies", "'proxy': .*IPv4 or IPv6"),
    ("web", 'trusted_proxies = ["10.0.0.1/8"]', "web.trusted_proxies", "host bits"),
    ("amp", 'listen = ["tcp:8080:interface=127.0.0.1"]', "amp.listen", "another listener"),
    ("amp", 'token_file = "none"', "amp.token_file", "cannot read the file with the secret: No such file"),
    ("amp", 'token_file = "short.secret"', "amp.token_file", "has 5 bytes; it requires at least 16"),
    ("amp", "token_file = 1", "amp.token_file", "expected the path of a file, got a whole number"),
    ("jwt", "algorithms = []", "jwt.algorithms", "lists no algorithm"),
    ("jwt", 'algorithms = ["none"]', "jwt.algorithms", "tokens without a signature"),
    ("jwt", 'algorithms = ["NONE"]', "jwt.algorithms", "tokens without a signature"),
    ("jwt", 'algorithms = ["hs256"]', "jwt.algorithms", "'hs256' is not one of HS256, HS384"),
    ("jwt", 'secret_file = "none"', "jwt.secret_file", "cannot read the file with the secret: No such file"),
    ("jwt", 'secret_file = "."', "jwt.secret_file", ": Is a directory"),
    ("jwt", 'secret_file = "pipe"', "jwt.secret_file", "is a pipe"),
    ("jwt", f'secret_file = "{"x" * 300}/s"', "jwt.secret_file", "cannot read the file with the secret: File name too"),
    ("jwt", r'secret_file = "a\u0000b"', "jwt.secret_file", "null"),
    ("jwt", 'secret_file = "short.secret"', "jwt.secret_file", "has 5 bytes; HS256 requires at least 32"),
    ("jwt", 'secret_file = "shared.secret"', "jwt.secret_file", "users other than its owner may write"),
    ("jwt", 'secret_file = "jwt.secret"\nalgorithms = ["RS256"]', "jwt.secret_file", "lists none"),
    ("jwt", 'secret_file = "jwt.secret"\nalgorithms = ["HS256", "RS256"]', "jwt.algorithms", "RS256 needs public_key"),
    ("jwt", 'public_key_files = ["public.pem"]', "jwt.public_key_files", "lists none for public keys"),
    ("jwt", 'public_key_files = ["public.pem"]', "jwt.algorithms", "HS256 needs secret_file"),
    ("jwt", 'public_key_files = ["none.pem"]', "jwt.public_key_files", "cannot read .*none.pem: No such file"),
    ("jwt", 'public_key_files = ["private.pem"]', "jwt.public_key_files", "contains a private key"),
    ("jwt", 'public_key_files = ["nonsense.pem"]', "jwt.public_key_files", "no public key in PEM form"),
    ("jwt", 'public_key_files = ["large.pem"]', "jwt.public_key_files", "larger than"),
    ("jwt", 'algorithms = ["RS256"]\npublic_key_files = ["public.pem"]', "jwt.public_key_files", "is for EdDSA, and"),
    ("jwt", 'algorithms = ["EdDSA", "ES256"]\npublic_key_files = ["public.pem"]', "jwt.algorithms", "a key for ES256"),
    ("jwt", 'public_key_files = ["pipe"]', "jwt.public_key_files", "is a pipe"),
    ("jwt", f'public_key_files = ["{"x" * 300}"]', "jwt.public_key_files", "File name too long"),
    ("jwt", 'secret_file = "public.pem"', "jwt.secret_file", "is a public or private key"),
    ("jwt", 'public_key_files = [""]', "jwt.public_key_files", "item 1: expected the path of a file, got an empty"),
    ("jwt", 'jwks_url = "https://login.example.com/keys"', "jwt.jwks_url", "lists none for public keys"),
    ("jwt", 'jwks_url = "http://login.example.com/keys"', "jwt.jwks_url", "must be https"),
    ("jwt", 'jwks_url = "https://user:pw@login.example.com/"', "jwt.jwks_url", "user name or password"),
    ("jwt", 'jwks_url = "file:///etc/keys"', "jwt.jwks_url", "not an https:// URL"),
    ("jwt", 'jwks_url = "https://[::1"', "jwt.jwks_url", "not a URL"),
    ("jwt", 'jwks_url = "https://login.example.com:99999/"', "jwt.jwks_url", "not a URL"),
    ("jwt", r'jwks_url = "https://login.example.com/\r\nHost: x"', "jwt.jwks_url", "not an https:// URL"),
    ("jwt", "leeway = -1", "jwt.leeway", "-1.0 is out of range: 0 to 300"),
    ("jwt", "leeway = nan", "jwt.leeway", "nan is out of range"),
    ("jwt", "leeway = inf", "jwt.leeway", "inf is out of range"),
    ("jwt", "issuer = 3", "jwt.issuer", "expected a string in quotes"),
    ("jwt", "issuer = 2026-11-22", "jwt.issuer", "got a date or time"),
    ("jwt", 'cookie = "a b"', "jwt.cookie", "'a b' cannot be the name of a cookie"),
    ("store", 'url = "sqlite:"', "store.url", "write sqlite: and the path of a file"),
    ("store", 'url = "sqlite://var/lib/gw.db"', "store.url", "write sqlite: and the path of a file"),
    ("store", 'url = "sqlite:/var/lib/"', "store.url", "write sqlite: and the path of a file"),
    ("store", 'url = "sqlite:/no/such/folder/gw.db"', "store.url", "there is no folder /no/such/folder"),
    ("store", 'url = "sqlite:/etc"', "store.url", "/etc is a folder"),
    ("store", f'url = "sqlite:/{"x" * 300}/gw.db"', "store.url", "cannot be reached: File name too long"),
    ("store", 'url = "redis://:hunter2@db/x"', "store.url", "the database is a number"),
    ("store", 'url = "redis+sentinel://a:1,b:2"', "store.url", "name the master"),
    ("store", 'url = "unix:run/redis.sock"', "store.url", "the absolute path of the socket"),
    ("store", 'key_prefix = "{x}"', "store.key_prefix", "is not a prefix"),
    ("store", "timeout = 0.1", "store.timeout", "0.1 is out of range"),
    ("store", 'ca_file = "/etc/passwd"', "store.ca_file", "is for a Redis, and store.url names none"),
    ("cluster", "lease = 1", "cluster.lease", "out of range: 3 to 300"),
    ("store", 'url = "memory"', "store.url", "no such store"),
    ("store", 'url = ""', "store.url", "no such store"),
    ("log", 'level = "warning"', "log.level", 'did you mean "warn"'),
    ("store", 'synchronous = "off"', "store.synchronous", 'expected "normal" or "full", got a string: .off.'),
    (
        "store",
        "history_events = 1.5",
        "store.history_events",
        "expected a whole number, got a number with a fraction: 1.5",
    ),
    ("limits", "ping_interval = 2", "limits.ping_interval", "2.0 is out of range: 3 to 3600"),
    ("limits", "ping_timeout = 2.9", "limits.ping_timeout", "2.9 is out of range: 3 to"),
    ("limits", "outbox = 0", "limits.outbox", "0 is out of range: 1 to"),
    ("limits", "connections = -1", "limits.connections", "-1 is out of range: 0 to"),
    ("limits", f"connections = {10**30}", "limits.connections", "range|expected"),
    ("limits", "rate = true", "limits.rate", "expected a number, got a boolean: true"),
    ("limits", 'rate = "20"', "limits.rate", "expected a number, got a string: '20'"),
    ("public", "tenants = []", "public.tenants", r"written as \[public.tenants.NAME\]"),
    ("public", "tenants.acme = true", "public.tenants.acme", r"written as \[public.tenants.acme\]"),
    ("public", "tenants.acme.origin = []", "public.tenants.acme.origin", "no such field; did you mean origins?"),
    ("public", 'tenants.acme.origins = ["*"]', "public.tenants.acme.origins", "item 1: '\\*' would let every"),
    ("public", "tenants.acme.anonymous = 1", "public.tenants.acme.anonymous", "expected true or false"),
    ("public", 'tenants."*".anonymous = true', 'public.tenants."*"', "cannot be the name of a tenant"),
    ("public", 'tenants."".anonymous = true', 'public.tenants.""', "cannot be the name of a tenant"),
    ("session", 'key_file = "short.secret"', "session.key_file", "has 5 bytes; it requires at least 32"),
    ("session", "lifetime = 599", "session.lifetime", "599.0 is out of range: 600 to 2592000"),
    ("session", 'key_file = "keys.secret"', "session.key_file", "each line is a key, and requires at least 32 bytes"),
    ("web", 'embedders = ["https://*.example.com"]', "web.embedders", "a wildcard is not allowed here"),
    ("public", 'session_key_file = "short.secret"', "public.session_key_file", "has 5 bytes; it requires at least 32"),
    ("policy", 'agent_calls = "none"', "policy.agent_calls", 'expected "all" or "own"'),
    ("cluster", 'node_id = "a b"', "cluster.node_id", "not a name"),
    ("cluster", 'node_id = ""', "cluster.node_id", "not a name"),
]


@pytest.mark.parametrize(("section", "line", "key", "reason"), FILE_RULES)
def test_an_invalid_value_is_refused(folder: Path, section: str, line: str, key: str, reason: str) -> None:
    text = line.replace("{folder}", str(folder))
    file = write(folder, f"[{section}]\n{text}\n" if section else text)
    found = [problem for problem in demo_problems(file) if problem.key == key]
    assert any(re.search(reason, problem.reason) for problem in found), found
    assert {problem.source for problem in found} == {str(file)}


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("web", 'listen = ["tcp:0", "unix:/run/w.sock:mode=660", "systemd:domain=INET6:name=web"]'),
        ("web", 'trusted_proxies = ["10.0.0.0/8", "::1"]'),
        ("amp", "listen = []"),
        ("amp", 'listen = ["unix:/run/amp.sock"]'),
        ("amp", 'listen = ["systemd:domain=UNIX:index=0"]'),
        ("jwt", 'algorithms = ["EdDSA"]\npublic_key_files = ["public.pem"]'),
        ("jwt", 'algorithms = ["ES256"]\njwks_url = "http://127.0.0.1:9/keys"'),
        ("jwt", 'algorithms = ["HS512", "RS256"]\nsecret_file = "jwt.secret"\njwks_url = "https://a.example/"'),
        ("public", 'session_key_file = "jwt.secret"'),
        ("store", 'synchronous = "full"'),
        ("policy", 'agent_calls = "own"'),
        ("limits", "ping_interval = 3\nping_timeout = 3\nconnections_per_user = 0"),
    ],
)
def test_a_valid_value_is_accepted(folder: Path, section: str, line: str) -> None:
    load(write(folder, f"[{section}]\n{line}\n"), demo=True)


def test_an_hmac_secret_must_be_long_enough_for_its_algorithm(folder: Path) -> None:
    (folder / "32.secret").write_text("x" * 32)
    (folder / "32.secret").chmod(0o600)
    load(write(folder, '[jwt]\nsecret_file = "32.secret"'))
    (problem,) = problems_of(write(folder, '[jwt]\nsecret_file = "32.secret"\nalgorithms = ["HS512"]'))
    assert (problem.key, problem.reason) == (
        "jwt.secret_file",
        f"{folder}/32.secret: the secret has 32 bytes; HS512 requires at least 64",
    )


def test_every_number_has_a_range() -> None:
    defaults = {key: getattr(getattr(Settings(), key.partition(".")[0]), key.partition(".")[2]) for key in KEYS}
    numbers = {key for key, default in defaults.items() if type(default) in (int, float)}
    ranges = {key: limits for key in KEYS if (limits := range_of(KEYS[key]))}
    choices = {key for key, hint in KEYS.items() if get_origin(hint) is Literal}
    assert numbers - choices == ranges.keys()
    assert all(ranges[key].smallest <= defaults[key] <= ranges[key].largest for key in ranges)


# Normalised values


@pytest.mark.parametrize(
    ("written", "used"),
    [
        ("https://Example.COM", "https://example.com"),
        ("https://example.com:443", "https://example.com"),
        ("http://example.com:80", "http://example.com"),
        ("https://example.com:8443", "https://example.com:8443"),
        ("https://*.Example.com:443", "https://*.example.com"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://[::1]:443", "https://[::1]"),
        ("https://xn--exmple-cua.com", "https://xn--exmple-cua.com"),
    ],
)
def test_origins_are_as_browsers_send_them(written: str, used: str) -> None:
    overrides = [f"web.allowed_origins={written}", f'public.tenants={{acme = {{origins = ["{written}"]}}}}']
    loaded = load(None, overrides=overrides, demo=True)
    assert loaded.web.allowed_origins == (used,)
    assert loaded.public.tenants == {"acme": PublicTenantSettings(origins=(used,))}


def test_limits_are_an_instance_of_limits() -> None:
    limits = load(None, overrides=["limits.outbox=7"], demo=True).limits
    assert isinstance(limits, Limits)
    assert limits == Limits(outbox=7)


def test_an_empty_string_means_not_set(folder: Path) -> None:
    loaded = load(write(folder, '[jwt]\nissuer = ""\nsecret_file = ""\n[web]\nmetrics_listen = ""'), demo=True)
    assert (loaded.jwt.issuer, loaded.jwt.secret_file, loaded.web.metrics_listen) == (None, None, None)


def test_settings_cannot_be_changed() -> None:
    loaded = load(None, overrides=["public.tenants={acme = {anonymous = true}}"], demo=True)
    with pytest.raises(AttributeError):
        loaded.web.demo = True  # type: ignore[misc]  # that it fails is the point
    with pytest.raises(TypeError):
        loaded.public.tenants["other"] = PublicTenantSettings()  # type: ignore[index]  # likewise


# Files


def test_paths_start_in_the_folder_of_the_file_or_in_the_current_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "etc").mkdir()
    (folder / "jwt.secret").rename(folder / "etc" / "jwt.secret")
    (folder / "here.secret").write_text(SECRET)
    (folder / "here.secret").chmod(0o600)
    file = write(folder / "etc", '[jwt]\nsecret_file = "jwt.secret"')
    monkeypatch.chdir(folder)
    assert load(file).jwt.secret_file == folder / "etc" / "jwt.secret"
    assert load(Path("etc/gw.toml")).jwt.secret_file == folder / "etc" / "jwt.secret"
    loaded = load(
        file, overrides=["amp.token_file=here.secret"], environ={"CALLCENTER_WS_JWT__SECRET_FILE": "here.secret"}
    )
    assert loaded.jwt.secret_file == loaded.amp.token_file == folder / "here.secret"


def test_no_reason_contains_a_secret(folder: Path) -> None:
    file = write(
        folder,
        f"""
        [jwt]
        secret = "{SECRET}"
        secret_file = "{SECRET}"
        jwks_url = "http://x:hunter2@example.com"
        [amp]
        token_file = "short.secret"
        [store]
        url = "redis://:hunter2@db/x"
        """,
    )
    text = str(ConfigError(problems_of(file)))
    assert "jwt.secret_file" in text
    assert "hunter2" not in text
    assert "horse" not in text
    assert "short\n" not in text


def test_the_existing_part_of_the_path_of_a_missing_secret_is_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    (folder / "etc").mkdir()
    (in_file,) = problems_of(write(folder, f'[jwt]\nsecret_file = "etc/{SECRET}"'))
    assert in_file.reason.endswith(f"; looked in {folder / 'etc'}")
    (nowhere,) = problems_of(write(folder, '[jwt]\nsecret_file = "none/jwt.secret"'))
    assert nowhere.reason.endswith(f"No such file or directory; looked in {folder}")
    (on_command_line,) = problems_of(None, overrides=["amp.token_file=none"])
    assert on_command_line.reason.endswith("; looked in /")


def test_invalid_secrets_and_algorithms_are_reported_together(folder: Path) -> None:
    file = write(
        folder,
        """
        [jwt]
        algorithms = ["none"]
        secret_file = "short.secret"
        [amp]
        token_file = "missing"
        """,
    )
    assert [
        (problem.key, problem.reason.removeprefix(f"{folder}/short.secret: ")[:23]) for problem in problems_of(file)
    ] == [
        ("jwt.algorithms", "item 1: 'none' would ac"),
        ("jwt.secret_file", "the secret has 5 bytes;"),
        ("amp.token_file", "cannot read the file wi"),
    ]


def test_a_wrong_scheme_is_named_without_what_follows_it(folder: Path) -> None:
    settings = '[jwt]\njwks_url = "ftp://u:hunter2@idp.example/keys"\n[store]\nurl = "postgres://u:hunter2@db/x"\n'
    reasons = {problem.key: problem.reason for problem in problems_of(write(folder, settings))}
    assert reasons["jwt.jwks_url"] == "is not an https:// URL; it begins with ftp:"
    assert reasons["store.url"].startswith("there is no such store postgres:; write sqlite:PATH")
    assert "hunter2" not in str(reasons)


def test_a_tls_key_that_every_user_can_read_is_a_warning(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(1)).sign(key, SHA256())
    (folder / "chain.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "key.pem").chmod(0o600)
    endpoint = f"ssl:443:privateKey={folder}/key.pem:certKey={folder}/chain.pem"
    for override in (f"web.listen={endpoint}", f"web.metrics_listen={endpoint}", f"amp.listen={endpoint}"):
        (folder / "key.pem").chmod(0o600)
        assert load(None, overrides=[override], demo=True).warnings == ()
        (folder / "key.pem").chmod(0o644)
        (warning,) = load(None, overrides=[override], demo=True).warnings
        assert f"{override.partition('=')[0]}: every user of this machine can read the key {folder}/key.pem" in warning
        (folder / "key.pem").chmod(0o660)
        (warning,) = load(None, overrides=[override], demo=True).warnings
        assert f"users other than its owner may write to {folder}/key.pem" in warning


def test_a_tls_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    certificate, _ = make_certificate(tmp_path, new_certificate())
    key = tmp_path / "other.pem"
    (tmp_path / "other").mkdir()
    make_certificate(tmp_path / "other", new_certificate())[1].rename(key)
    (problem,) = problems_of(None, overrides=[f"web.listen=ssl:443:privateKey={key}:certKey={certificate}"], demo=True)
    assert problem.key == "web.listen"
    assert "do not match" in problem.reason


def test_a_public_key_that_others_can_replace_is_a_warning(folder: Path) -> None:
    path = write(folder, '[jwt]\nalgorithms = ["EdDSA"]\npublic_key_files = ["public.pem"]\n')
    assert load(path).warnings == ()
    (folder / "public.pem").chmod(0o664)
    (warning,) = load(path).warnings
    assert f"jwt.public_key_files: users other than its owner may write to {folder}/public.pem" in warning


def test_a_secret_that_every_user_can_read_is_a_warning(folder: Path) -> None:
    file = write(folder, '[jwt]\nsecret_file = "jwt.secret"\n[amp]\ntoken_file = "jwt.secret"')
    assert load(file).warnings == ()
    (folder / "jwt.secret").chmod(0o644)
    first, second = load(file).warnings
    assert "jwt.secret_file: every user of this machine can read" in first
    assert "amp.token_file" in second


@pytest.mark.parametrize(
    ("section", "line", "warning"),
    [
        ("jwt", "allow_query_token = true", "jwt.allow_query_token: tokens in URLs"),
        ("store", "history_events = 10_000_000", "store.history_events: 10,000,000 events take about 3,500,000,000"),
        ("web", 'trusted_proxies = ["0.0.0.0/0"]', "web.trusted_proxies: 0.0.0.0/0 permits every client to choose"),
        ("amp", 'listen = ["unix:/run/amp.sock:mode=666"]', "amp.listen: .*every user of this machine may publish"),
    ],
)
def test_what_is_left_open_is_a_warning(folder: Path, section: str, line: str, warning: str) -> None:
    (found,) = load(write(folder, f"[{section}]\n{line}\n"), demo=True).warnings
    assert re.search(warning, found)


def test_a_missing_file(folder: Path) -> None:
    assert problems_of(folder / "none.toml") == [
        Problem(str(folder / "none.toml"), "", "cannot read the file: No such file or directory")
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[web\n", r"is not TOML: .*line 1"),
        (b"[web]\nlisten = [\n", "is not TOML"),
        (b"\xff\xfe", r"is not UTF-8 text \(byte 0\)"),
        (b"x = " + b"[" * 100_000, "is not TOML: nested too deeply"),
        (b"x = " + b"9" * 10_000, "is not TOML"),
    ],
)
def test_a_file_that_is_not_toml_has_that_one_problem(folder: Path, content: bytes, reason: str) -> None:
    file = folder / "gw.toml"
    file.write_bytes(content)
    (problem,) = problems_of(file)
    assert re.match(reason, problem.reason)


# All problems together


def test_all_problems_are_reported_together(folder: Path) -> None:
    file = write(
        folder,
        """
        [web]
        listen = ["tcp:x", "onion:1"]
        lisen = 1
        allowed_origins = ["*", "https://ok.example", "nonsense"]
        [jwt]
        algorithms = ["none", "HS1"]
        [limits]
        outbox = 0
        ping_timeout = 1
        [public.tenants.acme]
        origins = ["*"]
        anonymous = "yes"
        [publik]
        """,
    )
    found = problems_of(
        file, overrides=["store.url=redis://x/y", "nonsense", "a.b=c"], environ={"CALLCENTER_WS_LIMITS__RATE": "fast"}
    )
    counted = sorted((Path(problem.source).name, problem.key) for problem in found)
    assert counted == sorted(
        [
            ("gw.toml", "web.lisen"),
            ("gw.toml", "publik"),
            ("--set", "nonsense"),
            ("--set", "a.b"),
            *[("gw.toml", "web.listen")] * 2,
            *[("gw.toml", "web.allowed_origins")] * 2,
            *[("gw.toml", "jwt.algorithms")] * 2,
            ("gw.toml", "limits.outbox"),
            ("gw.toml", "limits.ping_timeout"),
            ("gw.toml", "public.tenants.acme.origins"),
            ("gw.toml", "public.tenants.acme.anonymous"),
            ("--set", "store.url"),
            ("CALLCENTER_WS_LIMITS__RATE", "limits.rate"),
        ]
    )


def test_the_error_text_has_a_line_for_each_problem() -> None:
    error = ConfigError([Problem("gw.toml", "web.listen", "no"), Problem("--set", "", "nor this")])
    assert str(error) == "the configuration has 2 problems:\n  - gw.toml: web.listen: no\n  - --set: nor this"
    assert str(ConfigError(error.problems[:1])).startswith("the configuration has 1 problem:\n")


def test_consequences_of_a_problem_are_not_reported(folder: Path) -> None:
    file = write(folder, '[jwt]\nsecret_file = 5\nalgorithms = ["HS256"]')
    assert [problem.key for problem in problems_of(file)] == ["jwt.secret_file"]


# The order of the sources


def test_the_command_line_overrides_the_environment_which_overrides_the_file(folder: Path) -> None:
    file = write(folder, "[limits]\noutbox = 1\nburst = 1\nrate = 1")
    environ = {"CALLCENTER_WS_LIMITS__OUTBOX": "2", "CALLCENTER_WS_LIMITS__BURST": "2", "HOME": "/x"}
    limits = load(file, environ=environ, overrides=["limits.outbox=3", "limits.outbox=4"], demo=True).limits
    assert (limits.outbox, limits.burst, limits.rate) == (4, 2, 1)


def test_an_invalid_value_that_is_overridden_is_no_problem(folder: Path) -> None:
    file = write(folder, "[limits]\noutbox = 0")
    assert load(file, overrides=["limits.outbox=3"], demo=True).limits.outbox == 3


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("cluster.node_id=gw-1", "gw-1"),
        ("cluster.node_id=7", "7"),
        ('cluster.node_id="quoted"', "quoted"),
        ("jwt.issuer=https://login.example.com", "https://login.example.com"),
        ("jwt.issuer=a=b", "a=b"),
        ("jwt.issuer=1\nx = 2", "1\nx = 2"),
        ("jwt.issuer=", None),
        ("web.demo=true", True),
        ("limits.rate=0.5", 0.5),
        ("limits.outbox=1_000", 1000),
        ("web.listen=tcp:1:interface=127.0.0.1", (EndpointDescription.parse("tcp:1:interface=127.0.0.1"),)),
        ("web.listen=tcp:1, tcp:2", (EndpointDescription.parse("tcp:1"), EndpointDescription.parse("tcp:2"))),
        ('web.listen=["tcp:1", "tcp:2"]', (EndpointDescription.parse("tcp:1"), EndpointDescription.parse("tcp:2"))),
        ('web.listen="tcp:1"', (EndpointDescription.parse("tcp:1"),)),
        ("web.allowed_origins=", ()),
        ("web.trusted_proxies=10.0.0.0/8,::1", ("10.0.0.0/8", "::1/128")),
        ("jwt.algorithms=HS256,HS256", ("HS256",)),
        ("store.synchronous=full", "full"),
        ("policy.agent_calls=own", "own"),
        ('public.tenants={"a.b" = {anonymous = true}}', {"a.b": PublicTenantSettings(anonymous=True)}),
    ],
)
@pytest.mark.parametrize("way", ["--set", "environment"])
def test_text_of_the_command_line_and_the_environment(override: str, value: Any, way: str) -> None:
    key, _, text = override.partition("=")
    variable = "CALLCENTER_WS_" + key.upper().replace(".", "__")
    loaded = (
        load(None, overrides=[override], demo=True)
        if way == "--set"
        else load(None, environ={variable: text}, demo=True)
    )
    section, _, name = key.partition(".")
    assert getattr(getattr(loaded, section), name) == value


@pytest.mark.parametrize(
    ("override", "key", "reason"),
    [
        ("limits.outbox=many", "limits.outbox", "expected a whole number, got a string: 'many'"),
        ("web.demo=1", "web.demo", "expected true or false, got a whole number: 1"),
        ("web.listen=[tcp:1]", "web.listen", "not a TOML list; did the shell remove the quotes?"),
        ("web.listen", "web.listen", "expected section.key=value"),
        ("listen=tcp:1", "listen", "no such key"),
        ("=x", "", "no such key"),
        ("", "", "expected section.key=value"),
        ("public.tenants.acme.anonymous=true", "public.tenants.acme.anonymous", "all tenants are set together"),
        ("web.lisen=tcp:1", "web.lisen", "did you mean web.listen?"),
        ("cluster.node_id=\udcff", "cluster.node_id", "expected a string|not a name"),
    ],
)
def test_an_invalid_override_is_refused(override: str, key: str, reason: str) -> None:
    (problem,) = demo_problems(None, overrides=[override])
    assert (problem.source, problem.key) == ("--set", key)
    assert re.search(reason, problem.reason)


def test_a_variable_with_a_section_must_name_a_key() -> None:
    (problem,) = demo_problems(None, environ={"CALLCENTER_WS_WEB__LISEN": "tcp:1", "CALLCENTER_WS_TOKEN": "x"})
    assert (problem.source, problem.key) == ("CALLCENTER_WS_WEB__LISEN", "web.lisen")
    assert "did you mean web.listen?" in problem.reason


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("CALLCENTER_WS_LIMITS_OUTBOX", "; did you mean CALLCENTER_WS_LIMITS__OUTBOX?"),
        ("CALLCENTER_WS_JWT_SECRET_FIL", "; did you mean CALLCENTER_WS_JWT__SECRET_FILE?"),
        ("CALLCENTER_WS_XYZZY", ""),
        ("CALLCENTER_WS_", ""),
    ],
)
def test_an_unread_variable_is_a_warning(variable: str, hint: str) -> None:
    known = {"CALLCENTER_WS_DEMO_DIR": "/x", "CALLCENTER_WS_TOKEN": "x", "CALLCENTER_WS_PYTHON27": "x", "PATH": "x"}
    assert load(None, environ=known, demo=True).warnings == ()
    (warning,) = load(None, environ={**known, variable: "5"}, demo=True).warnings
    assert warning == f"{variable}: is not a setting, and is not read{hint}"


# Warnings of missing keys


def test_without_a_key_the_warning_has_a_working_command_to_make_one(folder: Path) -> None:
    file = write(folder, "")
    secret, token = load(file).warnings
    assert "jwt.secret_file: " in secret
    assert "amp.token_file: " in token
    (command,) = re.findall(r"^ *(\(umask 077; .*\))$", secret, re.MULTILINE)
    (folder / "jwt.secret").unlink()
    subprocess.run(["sh", "-c", command.replace("python3", shlex.quote(sys.executable))], check=True, timeout=30)
    assert (folder / "jwt.secret").stat().st_mode & 0o777 == 0o600
    assert load(write(folder, '[jwt]\nsecret_file = "jwt.secret"')).warnings == ()


def test_daemons_on_a_network_need_a_way_to_authenticate(folder: Path) -> None:
    overrides = ["amp.listen=unix:/run/amp.sock:mode=660,systemd:domain=UNIX:index=0"]
    (warning,) = load(None, overrides=overrides).warnings
    assert "jwt.secret_file: " in warning
    overrides.append(f"amp.token_file={folder / 'jwt.secret'}")
    (warning,) = load(None, overrides=overrides[1:]).warnings
    assert "jwt.secret_file: " in warning


def test_the_demo_needs_no_settings() -> None:
    assert load(None, demo=True) == Settings()


# The file etc/callcenter-ws.toml


def _listed(text: str) -> dict[str, str]:
    """Return every key of the file, set or in a comment, with the TOML line that sets it."""
    listed = {}
    section = ""
    for line in text.splitlines():
        if line.startswith(("[tenants", "# [tenants", "# [[tenants")):
            section = ""  # see test_the_tenant_in_comments_of_the_etc_file_is_valid
        elif header := re.fullmatch(r"(?:# )?\[([a-z.]+)\]", line):
            section = header[1]
        elif section and (entry := re.fullmatch(r"(?:# )?([a-z_]+) = (.+)", line)):
            listed[f"{section}.{entry[1]}"] = f"{entry[1]} = {entry[2]}"
    return listed


def test_the_etc_file_lists_all_keys() -> None:
    listed = _listed(ETC_FILE.read_text())
    tenant = {key: listed.pop(key) for key in list(listed) if key.startswith("public.tenants.")}
    assert {*listed, "public.tenants", "tenants.by_name"} == KEYS.keys()
    assert {key.removeprefix("public.tenants.acme.") for key in tenant} == set(PublicTenantSettings.__struct_fields__)


def test_the_values_in_the_etc_file_are_the_defaults() -> None:
    assert load(ETC_FILE, demo=True) == Settings(folder=ETC_FILE.parent)
    written = tomllib.loads(ETC_FILE.read_text())
    missing = {key for key in KEYS if key.partition(".")[2] not in written[key.partition(".")[0]]}
    without_default = {key for key, hint in KEYS.items() if type(None) in get_args(hint)}
    assert missing == without_default | {"public.tenants", "tenants.by_name", "cluster.node_id"}


def test_the_values_in_comments_of_the_etc_file_are_valid(tmp_path: Path) -> None:
    sections: dict[str, list[str]] = {}
    for key, line in _listed(ETC_FILE.read_text()).items():
        sections.setdefault(key.rpartition(".")[0], []).append(line)
    text = "\n".join("\n".join([f"[{section}]", *lines]) for section, lines in sections.items())
    for name in ("jwt", "amp", "sessions", "redis", "pages"):
        (tmp_path / f"{name}.secret").write_text(SECRET)
        (tmp_path / f"{name}.secret").chmod(0o600)
    (tmp_path / "redis-ca.pem").write_text("-----BEGIN CERTIFICATE-----")
    text = text.replace('algorithms = ["HS256"]', 'algorithms = ["HS256", "RS256"]')
    text = text.replace('url = "sqlite:callcenter-ws.sqlite"', 'url = "rediss://redis.example/0"')
    loaded = load(write(tmp_path, text))
    unused = "has no effect: no tenant has statistics, whose process writes the archive"
    assert loaded.warnings == (f"{tmp_path / 'gw.toml'}: archive.folder: {unused}",)
    assert loaded.public.tenants == {
        "acme": PublicTenantSettings(origins=("https://www.acme.example",), anonymous=True)
    }


def test_the_installation_in_the_readme_makes_a_valid_file_of_it(folder: Path) -> None:
    readme = (ETC_FILE.parents[1] / "README.rst").read_text()
    (command,) = re.findall(r"\$ (sed -i .+) ~/gateway/callcenter-ws.toml", readme)
    file = write(folder, ETC_FILE.read_text())
    subprocess.run([*shlex.split(command), str(file)], check=True)
    assert load(file).jwt.secret_file == folder / "jwt.secret"


@pytest.mark.parametrize(
    ("overrides", "is_warned"),
    [
        (["web.listen=tcp:8080:interface=127.0.0.1"], False),
        (["web.listen=unix:web.sock"], False),
        (["web.listen=tcp:8080"], True),
        (["web.listen=tcp:8080", "web.pages=false"], False),
        (["web.listen=tcp:8080", "web.trusted_proxies=192.0.2.1"], False),
    ],
)
def test_signing_in_that_would_need_https_is_warned_of(overrides: list[str], is_warned: bool) -> None:
    warnings = load(None, overrides=overrides, demo=True).warnings
    assert any("signing in at the pages works on this machine only" in text for text in warnings) is is_warned


@pytest.mark.parametrize(
    ("overrides", "is_warned"),
    [
        (["store.url=redis://127.0.0.1/0"], True),
        (["store.url=redis://127.0.0.1/0", "web.pages=false"], False),
        (["store.url=redis://127.0.0.1/0", "session.key_file=pages.secret"], False),
        (["store.url=memory:"], False),
        (["store.url=sqlite:a.sqlite"], False),
    ],
)
def test_a_redis_without_keys_of_the_pages_is_warned_of(tmp_path: Path, overrides: list[str], is_warned: bool) -> None:
    (tmp_path / "pages.secret").write_text(SECRET)
    (tmp_path / "pages.secret").chmod(0o600)
    warnings = load(None, overrides=overrides, folder=tmp_path, demo=True).warnings
    assert any("session.key_file: is not set, so signing in" in text for text in warnings) is is_warned


def test_a_store_that_every_user_can_read_is_warned_of(tmp_path: Path) -> None:
    """It has the hashes of passwords. The gateway makes the file with mode 600, and copies may have another."""

    def warnings() -> tuple[str, ...]:
        return load(None, overrides=["store.url=sqlite:a.sqlite"], folder=tmp_path, demo=True).warnings

    assert warnings() == ()
    (tmp_path / "a.sqlite").touch(mode=0o600)
    assert warnings() == ()
    (tmp_path / "a.sqlite").chmod(0o644)
    (warning,) = warnings()
    assert f"store.url: every user of this machine can read {tmp_path}/a.sqlite" in warning


def test_the_keys_of_pages_are_beside_the_file_of_the_store(tmp_path: Path) -> None:
    beside = load(None, overrides=["store.url=sqlite:a.sqlite"], folder=tmp_path, demo=True)
    assert beside.session_key_file == tmp_path / "a.sqlite.session-key"
    assert load(None, overrides=["store.url=memory:"], demo=True).session_key_file is None


def test_loading_settings_installs_no_reactor() -> None:
    code = (
        "import sys; from callcenter_ws.config.load import load; "
        "load(None, demo=True); assert 'twisted.internet.reactor' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_sections_and_the_limits() -> None:
    assert set(SECTIONS) == {
        "web",
        "amp",
        "jwt",
        "session",
        "store",
        "limits",
        "public",
        "policy",
        "compression",
        "cluster",
        "statistics",
        "archive",
        "commands",
        "audit",
        "tenants",
        "control",
        "log",
    }
    assert {key.partition(".")[2] for key in KEYS if key.startswith("limits.")} == {
        limit.name for limit in dataclass_fields(Limits)
    }


# Arbitrary input

_SCALARS = (
    st.text(max_size=40)
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.dates()
    | st.sampled_from(
        ["tcp:1", "unix:/x:mode=8", "https://*.a.b", "::1", "HS256", "memory:", "*", "a\0b", "ssl:1", "tcp:1:x=\\"]
    )
)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
)
_NAMES = {
    section: sorted(key.partition(".")[2] for key in KEYS if key.startswith(f"{section}.")) for section in SECTIONS
}
_TENANTS = st.dictionaries(st.text(max_size=9), st.dictionaries(st.sampled_from(["origins", "anonymous"]), _VALUES))
_SECTION = st.sampled_from(sorted(SECTIONS)).flatmap(
    lambda section: st.tuples(
        st.just(section),
        st.dictionaries(st.sampled_from(_NAMES[section]) | st.text(max_size=9), _VALUES | _TENANTS, max_size=5),
    )
)
_TABLES = st.lists(_SECTION, max_size=4).map(dict) | st.dictionaries(st.text(max_size=9), _VALUES, max_size=3)


@given(_TABLES)
@example({"limits": {"rate": 10**400}})
@example({"public": {"tenants": {"a\n[b]": {"origins": ["*"]}}}})
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
def test_no_table_raises_anything_but_config_errors(monkeypatch: pytest.MonkeyPatch, table: dict[str, Any]) -> None:
    with monkeypatch.context() as patched:
        # TOML cannot express all of these tables, so the parsed result is replaced.
        patched.setattr("callcenter_ws.config.load.parse_toml", lambda path: table)
        outcome = outcome_of(Path("gw.toml"))
    assert isinstance(outcome, Settings) or outcome.problems
    assert str(outcome)


@given(st.lists(st.text(max_size=60) | st.builds("{}={}".format, st.sampled_from(sorted(KEYS)), st.text(max_size=40))))
@settings(deadline=None)
def test_no_override_raises_anything_but_config_errors(overrides: list[str]) -> None:
    environ = {
        "CALLCENTER_WS_" + name.upper().replace(".", "__"): text
        for name, _, text in (o.partition("=") for o in overrides)
    }
    for sources in ({"overrides": overrides}, {"environ": environ}):
        outcome = outcome_of(None, demo=True, **sources)
        assert isinstance(outcome, Settings) or outcome.problems


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_file_raises_anything_but_config_errors(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "gw.toml"
    file.write_bytes(content)
    outcome = outcome_of(file)
    assert isinstance(outcome, Settings) or outcome.problems


# The store


def test_a_relative_store_starts_in_the_folder_of_the_file(tmp_path: Path) -> None:
    settings = load(write(tmp_path, '[store]\nurl = "sqlite:events.sqlite"'), demo=True)
    assert settings.store_file == tmp_path / "events.sqlite"


def test_the_default_store_is_in_the_folder_of_the_file(tmp_path: Path) -> None:
    assert load(write(tmp_path, ""), demo=True).store_file == tmp_path / "callcenter-ws.sqlite"


def test_a_relative_store_in_an_override_starts_in_the_current_folder(tmp_path: Path) -> None:
    settings = load(write(tmp_path, ""), overrides=["store.url=sqlite:events.sqlite"], demo=True)
    assert settings.store_file == Path.cwd() / "events.sqlite"


def test_memory_has_no_file(tmp_path: Path) -> None:
    assert load(write(tmp_path, '[store]\nurl = "memory:"'), demo=True).store_file is None
