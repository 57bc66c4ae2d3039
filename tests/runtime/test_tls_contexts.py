"""TLS of listening ports: session resumption, and renewal of keys and certificates."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from tls_material import make_certificate, new_certificate
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import Clock

from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.tls import (
    BACKLOG,
    TICKET_KEY_LIFETIME_SECONDS,
    ServerContexts,
    server_context,
    server_endpoint,
)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(tmp_path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def contexts(files: tuple[Path, Path], clock: Clock) -> ServerContexts:
    return contexts_of(files, clock)


def contexts_of(files: tuple[Path, Path], clock: Clock) -> ServerContexts:
    return contexts_with(clock, certKey=files[0], privateKey=files[1])


def contexts_with(clock: Clock, **options: Path) -> ServerContexts:
    arguments = "".join(f":{name}={path}" for name, path in options.items())
    endpoint = EndpointDescription.parse(f"ssl:8443{arguments}")
    return ServerContexts(lambda: server_context(endpoint), clock.seconds)


def client_context(version: int) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    context.set_session_cache_mode(SSL.SESS_CACHE_CLIENT)
    return context


def shake_hands(contexts: ServerContexts, context: SSL.Context, session: Any = None) -> SSL.Connection:
    """Return a client that has completed a handshake, in which it offered ``session``."""
    server, client = SSL.Connection(contexts.getContext(), None), SSL.Connection(context, None)
    server.set_accept_state()
    client.set_connect_state()
    if session is not None:
        client.set_session(session)
    sent = False
    for _ in range(8):
        for side in (client, server):
            try:
                side.do_handshake()
                if side is server and not sent:
                    sent = bool(server.send(b"hello"))
            except SSL.WantReadError:
                pass
            move(side, server if side is client else client)
    assert client.recv(100) == b"hello"
    # OpenSSL does not resume sessions without an orderly shutdown.
    client.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
    return client


def reused(client: SSL.Connection) -> bool:
    return bool(SSL._lib.SSL_session_reused(client._ssl))  # type: ignore[attr-defined] - pyOpenSSL has no name for it


def move(source: SSL.Connection, target: SSL.Connection) -> None:
    with contextlib.suppress(SSL.WantReadError):
        target.bio_write(source.bio_read(65_536))


CLIENT = client_context(SSL.TLS1_3_VERSION)


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_a_returning_client_resumes_its_session(contexts: ServerContexts, version: int) -> None:
    context = client_context(version)
    first = shake_hands(contexts, context)
    again = shake_hands(contexts, context, first.get_session())
    assert (reused(first), reused(again)) == (False, True)


def test_a_ticket_expires_with_its_key(contexts: ServerContexts, clock: Clock) -> None:
    context = client_context(SSL.TLS1_3_VERSION)
    session = shake_hands(contexts, context).get_session()
    clock.advance(TICKET_KEY_LIFETIME_SECONDS - 1)
    assert reused(shake_hands(contexts, context, session))
    clock.advance(1)
    assert not reused(shake_hands(contexts, context, session))


def test_a_ticket_of_another_process_is_ignored(files: tuple[Path, Path], clock: Clock) -> None:
    context = client_context(SSL.TLS1_3_VERSION)
    session = shake_hands(contexts_of(files, clock), context).get_session()
    assert not reused(shake_hands(contexts_of(files, clock), context, session))


def test_a_renewed_certificate_is_loaded(files: tuple[Path, Path], contexts: ServerContexts, clock: Clock) -> None:
    def serial_number() -> int:
        certificate = shake_hands(contexts, client_context(SSL.TLS1_3_VERSION)).get_peer_certificate(
            as_cryptography=True
        )
        assert certificate is not None
        return certificate.serial_number

    before = serial_number()
    make_certificate(files[0].parent, new_certificate())
    assert serial_number() == before
    clock.advance(TICKET_KEY_LIFETIME_SECONDS)
    assert serial_number() != before


@pytest.mark.logs_errors
@pytest.mark.parametrize("damage", ["no PEM", None])
def test_the_previous_certificate_remains_if_the_files_are_unusable(
    files: tuple[Path, Path], contexts: ServerContexts, clock: Clock, damage: str | None
) -> None:
    if damage is None:
        files[0].unlink()
    else:
        files[0].write_text(damage)
    clock.advance(TICKET_KEY_LIFETIME_SECONDS)
    shake_hands(contexts, client_context(SSL.TLS1_3_VERSION))


@pytest.mark.parametrize("in_one_file", [True, False])
def test_the_certificate_chain_is_sent(files: tuple[Path, Path], clock: Clock, in_one_file: bool) -> None:
    options = {"certKey": files[0], "privateKey": files[1]}
    if in_one_file:
        files[0].write_bytes(files[0].read_bytes() * 2)
    else:
        options["extraCertChain"] = files[0]
    client = shake_hands(contexts_with(clock, **options), client_context(SSL.TLS1_3_VERSION))
    assert len(client.get_peer_cert_chain(as_cryptography=True) or ()) == 2


@pytest.mark.parametrize("first", [0, 1])
def test_key_and_certificate_may_be_in_one_file(files: tuple[Path, Path], clock: Clock, first: int) -> None:
    both = files[0].with_name("both.pem")
    both.write_bytes(files[first].read_bytes() + files[1 - first].read_bytes())
    shake_hands(contexts_with(clock, privateKey=both), CLIENT)


def test_endpoints_match_their_description(files: tuple[Path, Path]) -> None:
    secure = f"ssl:8443:interface=127.0.0.1:certKey={files[0]}:privateKey={files[1]}"
    for description, kind, port, backlog in (
        ("tcp:8080:interface=127.0.0.1", TCP4ServerEndpoint, 8080, BACKLOG),
        ("tcp:port=8080:interface=127.0.0.1:backlog=7", TCP4ServerEndpoint, 8080, 7),
        (secure, TCP4ServerEndpoint, 8443, BACKLOG),
        (f"{secure}:backlog=7", TCP4ServerEndpoint, 8443, 7),
    ):
        endpoint = server_endpoint(Clock(), EndpointDescription.parse(description))
        assert isinstance(endpoint, kind)
        assert (endpoint._port, endpoint._backlog, endpoint._interface) == (port, backlog, "127.0.0.1")
