"""Peers that violate the protocol or a limit are disconnected with one log line; other peers are not affected."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from amp_doubles import SECRET
from doubles import KnownTokens
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.protocols import amp

from callcenter_ws.amp import commands
from callcenter_ws.amp.authentication_throttle import MAX_DELAYED_OF_KNOWN, MAX_KNOWN, AuthenticationThrottle
from callcenter_ws.amp.authenticator import PeerAuthenticator
from callcenter_ws.amp.factory import MAX_CONNECTIONS
from callcenter_ws.amp.protocol import MAX_BOX_BYTES, MAX_UNAUTHENTICATED_BOX_BYTES, MAX_UNWRITTEN_BYTES
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Principal
from callcenter_ws.runtime.peer_budget import Credential
from callcenter_ws.runtime.peer_limits import PeerLimits
from callcenter_ws.testing import FakeClock

CALL = {"unique_id": "u1", "caller_id": "+3212345", "destination": "100"}
EVENT: dict[str, Any] = {"tenant_id": "acme", "type": "call.incoming", "payload": json.dumps(CALL).encode()}


def value(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def key(name: bytes) -> bytes:
    return len(name).to_bytes(2, "big") + name


@pytest.fixture
def second_peer(server: Any) -> Iterator[Any]:
    """A second peer, which must be answered before and after the test."""
    peer = server.unix()
    assert peer.call(commands.PublishEvent, **EVENT)["seq"] == 1
    yield peer
    assert peer.connected
    assert peer.call(commands.PublishEvent, **EVENT)["seq"] > 1


@pytest.fixture
def disconnect_line(logged_warnings: Any) -> Any:
    """Return the one line that the disconnection left in the log."""

    def line() -> str:
        (logged,) = logged_warnings()
        assert " is disconnected: " in logged or " is closed by the gateway: " in logged
        return str(logged)

    return line


def send_until_disconnected(pieces: Iterator[bytes], peer: Any, limit: int) -> int:
    """Send ``pieces`` until the peer is disconnected; return the number of bytes sent."""
    sent = 0
    for piece in pieces:
        peer.send(piece)
        sent += len(piece)
        if not peer.connected:
            return sent
        assert sent < limit
    raise AssertionError("never disconnected")


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\xff" * 1000,
        b"\x01\x00" + b"k" * 256,
    ],
)
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_bytes_that_are_not_amp(server: Any, second_peer: Any, disconnect_line: Any, garbage: bytes, kind: str) -> None:
    peer = getattr(server, kind)()
    peer.send(garbage)
    assert not peer.connected
    assert "is this an AMP client?" in disconnect_line()
    assert peer.transport.value() == b""


def test_empty_box(server: Any, second_peer: Any, disconnect_line: Any) -> None:
    peer = server.unix()
    peer.send(b"\x00\x00")
    assert not peer.connected
    disconnect_line()


def test_box_with_too_many_keys(server: Any, second_peer: Any, disconnect_line: Any) -> None:
    peer = server.unix()
    sent = send_until_disconnected((key(b"k%d" % number) + value(b"x") for number in range(1000)), peer, 1000)
    assert sent < 1000
    assert "more than 64 keys" in disconnect_line()


def test_box_that_repeats_one_key(server: Any, second_peer: Any, disconnect_line: Any) -> None:
    peer = server.unix()
    send_until_disconnected((key(b"k") + value(b"x") for _ in range(1000)), peer, 1000)
    assert "more than 64 keys" in disconnect_line()


def test_box_of_unauthenticated_peer_is_limited_to_16_kib(server: Any, second_peer: Any, disconnect_line: Any) -> None:
    peer = server.tcp()
    sent = send_until_disconnected(
        (key(b"k%d" % number) + value(b"x" * 4_000) for number in range(64)),
        peer,
        MAX_UNAUTHENTICATED_BOX_BYTES + 5_000,
    )
    assert sent > MAX_UNAUTHENTICATED_BOX_BYTES
    assert f"more than {MAX_UNAUTHENTICATED_BOX_BYTES} bytes" in disconnect_line()


def test_box_with_too_many_bytes(server: Any, second_peer: Any, disconnect_line: Any) -> None:
    peer = server.unix()
    sent = send_until_disconnected(
        (key(b"k%d" % number) + value(b"x" * 65_535) for number in range(64)), peer, MAX_BOX_BYTES + 70_000
    )
    assert sent > MAX_BOX_BYTES
    assert f"more than {MAX_BOX_BYTES} bytes" in disconnect_line()


def test_bytes_after_the_violation_are_ignored(server: Any, second_peer: Any, disconnect_line: Any) -> None:
    peer = server.unix()
    peer.send(b"\x00\x00" + peer.box(commands.PublishEvent, **EVENT))
    peer.send(peer.box(commands.PublishEvent, **EVENT))
    assert len(server.delivered) == 1
    disconnect_line()


def test_unfinished_key_ends_at_the_authentication_deadline(
    server: Any, second_peer: Any, disconnect_line: Any
) -> None:
    peer = server.tcp()
    peer.send(b"\x00\xffkkkk")
    server.clock.advance(9)
    assert peer.connected
    server.clock.advance(2)
    assert not peer.connected
    assert "no valid Authenticate within 10 s" in disconnect_line()


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_start_tls(server: Any, second_peer: Any, disconnect_line: Any, kind: str) -> None:
    peer = getattr(server, kind)()
    peer.send(start_tls_box())
    server.clock.advance(1)
    assert not peer.connected
    assert "StartTLS" in disconnect_line()


def start_tls_box() -> bytes:
    return key(b"_ask") + value(b"1") + key(b"_command") + value(b"StartTLS") + b"\x00\x00"


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize(
    "box",
    [
        {b"_answer": b"1"},
        {b"_answer": b"unasked", b"payload": b"x"},
        {b"_error": b"1", b"_error_code": b"X", b"_error_description": b"x"},
        {b"_error": b"1"},
        {b"not": b"a command"},
    ],
)
def test_answer_without_a_call(
    server: Any, second_peer: Any, disconnect_line: Any, box: dict[bytes, bytes], kind: str
) -> None:
    peer = getattr(server, kind)()
    peer.send(amp.AmpBox(box).serialize())
    assert not peer.connected
    assert "neither a command nor the answer to one" in disconnect_line()


def test_unknown_commands_are_answered_up_to_a_limit(server: Any, second_peer: Any, disconnect_line: Any) -> None:
    peer = server.unix()
    for _ in range(19):
        assert peer.call(b"Explode")[0] == amp.UNHANDLED_ERROR_CODE
    assert peer.call(commands.Ping)["node"] == "node-1"
    for _ in range(20):
        assert peer.call(b"Explode")[0] == amp.UNHANDLED_ERROR_CODE
    assert not peer.connected
    assert "20 unknown commands" in disconnect_line()


def test_longest_command_name_is_answered(server: Any, second_peer: Any, logged_warnings: Any) -> None:
    peer = server.unix()
    code, message = peer.call(b"\xff" * 65_535)
    assert code == amp.UNHANDLED_ERROR_CODE
    assert len(message) < 400
    assert peer.connected
    assert logged_warnings() == []


def test_silent_tcp_peer(server: Any, second_peer: Any, disconnect_line: Any) -> None:
    peer = server.tcp()
    server.clock.advance(11)
    assert not peer.connected
    assert "no valid Authenticate within 10 s" in disconnect_line()


def test_silent_unix_peer_stays_connected(server: Any, second_peer: Any, logged_warnings: Any) -> None:
    server.clock.advance(3600)
    assert logged_warnings() == []


@pytest.mark.parametrize(
    "name", ["PublishEvent", "PublishBatch", "UserOnline", "RevokeToken", "Subscribe", "Ping", "X"]
)
def test_commands_before_authenticate(server: Any, second_peer: Any, disconnect_line: Any, name: str) -> None:
    peer = server.tcp()
    for _ in range(3):
        assert peer.call(name.encode())[0] == b"UNAUTHENTICATED"
    assert not peer.connected
    assert "3 commands before Authenticate" in disconnect_line()
    assert len(server.delivered) == 1


def test_three_wrong_tokens(server: Any, second_peer: Any, disconnect_line: Any) -> None:
    peer = server.tcp()
    for guess in ("a-shared-secret-of-the-test", "", "hunter2"):
        code, message = peer.call(commands.Authenticate, token=guess)
        assert code == b"UNAUTHENTICATED"
        assert not guess or guess not in message
    assert not peer.connected
    line = disconnect_line()
    assert "3 refused tokens" in line
    assert "hunter2" not in line


def test_tokens_whose_key_is_being_fetched_slow_nobody_down(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Daemons that try again while the issuer of their tokens is down are not taken for peers that guess."""

    def is_fetched_soon(self: object, token: str) -> Principal:
        raise Refusal(ErrorCode.TRY_LATER, retry_after=1)

    with monkeypatch.context() as patch:
        patch.setattr(KnownTokens, "verify", is_fetched_soon)
        for _ in range(30):
            assert server.tcp().call(commands.Authenticate, token="acme-service")[0] == b"UNAVAILABLE"
    # With a delay there would be no answer yet.
    assert isinstance(server.tcp().call(commands.Authenticate, token=SECRET.decode()), dict)


def test_pipelined_wrong_tokens_get_three_answers(server: Any, second_peer: Any, disconnect_line: Any) -> None:
    peer = server.tcp()
    peer.send(b"".join(peer.box(commands.Authenticate, token=f"guess-{number}") for number in range(100)))
    assert len(peer.boxes()) == 3
    assert not peer.connected
    disconnect_line()


def test_passed_file_descriptor_is_closed(server: Any, second_peer: Any, disconnect_line: Any) -> None:
    peer = server.unix()
    mine, theirs = socket.socketpair()
    passed = os.dup(theirs.fileno())
    theirs.close()
    peer.protocol.fileDescriptorReceived(passed)
    assert mine.recv(1) == b""
    mine.close()
    assert not peer.connected
    assert "file descriptor" in disconnect_line()


def test_connection_that_does_not_close_is_aborted(server: Any, second_peer: Any, disconnect_line: Any) -> None:
    peer = server.tcp()
    aborted = []
    peer.transport.loseConnection = lambda: None
    peer.transport.abortConnection = lambda: aborted.append(True)
    peer.send(b"\x00\x00")
    server.clock.advance(4)
    assert not aborted
    server.clock.advance(2)
    assert aborted
    disconnect_line()


# Back-pressure


def test_reading_pauses_above_1000_events_in_flight(server: Any, second_peer: Any) -> None:
    peer = server.unix()
    server.broker.is_blocked = True
    box = peer.box(commands.PublishEvent, **EVENT)
    peer.send(box * 1000)
    assert peer.server_reads
    peer.send(box * 500)
    assert not peer.server_reads
    assert len(server.broker.blocked) == 1001
    server.broker.unblock()
    assert peer.server_reads
    assert len(peer.boxes()) == 1500


def test_each_event_of_a_batch_counts_as_in_flight(server: Any, second_peer: Any) -> None:
    peer = server.unix()
    server.broker.is_blocked = True
    event = {"tenant_id": "acme", "type": "call.incoming", "payload": CALL}
    events = json.dumps([event] * 600).encode()
    peer.send(peer.box(commands.PublishBatch, events=events))
    assert peer.server_reads
    peer.send(peer.box(commands.PublishBatch, events=events) + peer.box(commands.Ping))
    assert not peer.server_reads
    assert peer.boxes() == []
    server.broker.unblock()
    assert peer.server_reads
    assert [b"results" in box for box in peer.boxes()] == [True, True, False]


def test_reading_pauses_above_8_mib_in_flight(server: Any, second_peer: Any) -> None:
    peer = server.unix()
    server.broker.is_blocked = True
    payload = json.dumps({**CALL, "note": "x" * 500_000}).encode()
    box = peer.box(commands.PublishEvent, **{**EVENT, "payload": payload})
    for _ in range(30):
        peer.send(box)
    assert not peer.server_reads
    assert len(server.broker.blocked) == 17
    server.broker.unblock()
    assert peer.server_reads


def test_synchronous_answer_while_reading_is_paused(server: Any, second_peer: Any) -> None:
    peer = server.unix()
    server.broker.is_blocked = True
    peer.send(peer.box(commands.PublishEvent, **EVENT) * 1000)
    bad = json.dumps([{}] * 10).encode()
    peer.send(peer.box(commands.PublishBatch, events=bad) + peer.box(commands.Ping) + peer.box(commands.Ping))
    assert peer.server_reads
    server.broker.unblock()
    boxes = peer.boxes()
    assert b"results" in boxes[0]
    assert [b"node" in box for box in boxes[1:3]] == [True, True]
    assert len(boxes) == 1003


def test_reading_pauses_while_the_peer_does_not_read(server: Any, second_peer: Any, logged_warnings: Any) -> None:
    peer = server.unix()
    peer.stop_reading()
    # Transports call this again at every write while their buffer is full.
    peer.transport.producer.pauseProducing()
    assert not peer.server_reads
    peer.read_all()
    assert peer.server_reads
    server.clock.advance(600)
    assert peer.connected
    assert logged_warnings() == []


def test_peer_that_never_reads_is_disconnected(server: Any, second_peer: Any, disconnect_line: Any) -> None:
    peer = server.unix()
    peer.stop_reading()
    server.clock.advance(59)
    assert peer.connected
    server.clock.advance(2)
    assert not peer.connected
    assert "has read nothing for 60 s" in disconnect_line()


def test_peer_that_reads_slowly_stays_connected(server: Any, second_peer: Any, disconnect_line: Any) -> None:
    peer = server.unix()
    server.broker.is_blocked = True
    peer.send(peer.box(commands.PublishEvent, **EVENT) * 500)
    peer.stop_reading()
    server.broker.unblock()
    for _ in range(20):
        server.clock.advance(59)
        peer.transport.sent_bytes += 1
    assert peer.connected
    server.clock.advance(121)
    assert not peer.connected
    assert "has read nothing for 60 s" in disconnect_line()


def test_bytes_already_read_do_not_count_as_unwritten(server: Any, second_peer: Any) -> None:
    peer = server.unix()
    server.broker.is_blocked = True
    box = peer.box(commands.PublishEvent, **EVENT).replace(
        b"\x00\x04_ask\x00\x011", key(b"_ask") + value(b"x" * 60_000)
    )
    peer.send(box * 200)
    peer.stop_reading()
    server.broker.is_blocked = False
    for unblocked in server.broker.blocked:
        unblocked.callback(None)
        peer.transport.sent_bytes = len(peer.transport.value())
    assert len(peer.transport.value()) > MAX_UNWRITTEN_BYTES
    assert peer.connected


def test_unread_answers_are_limited(server: Any, second_peer: Any, disconnect_line: Any) -> None:
    peer = server.unix()
    server.broker.is_blocked = True
    # The answer repeats the tag of the command, so a peer chooses the length of its answers.
    box = peer.box(commands.PublishEvent, **EVENT).replace(
        b"\x00\x04_ask\x00\x011", key(b"_ask") + value(b"x" * 60_000)
    )
    peer.send(box * 200)
    assert not peer.server_reads
    assert len(server.broker.blocked) < 150
    peer.stop_reading()
    server.broker.unblock()
    assert len(peer.transport.value()) < MAX_UNWRITTEN_BYTES
    assert not peer.connected
    assert "it does not read" in disconnect_line()


def test_silent_peers_lock_nobody_out_not_even_at_their_own_address(server: Any) -> None:
    daemon = server.tcp()
    daemon.call(commands.Authenticate, token="a-shared-secret-of-the-tests")
    limit = server.factory.limits.budget._limits.sockets_per_network
    silent = [server.tcp() for _ in range(limit + 50)]
    assert [peer.connected for peer in silent] == [False] * 50 + [True] * limit
    newcomer = server.tcp()
    newcomer.call(commands.Authenticate, token="a-shared-secret-of-the-tests")
    for peer in (daemon, newcomer):
        assert peer.call(commands.PublishEvent, **EVENT)["seq"]
    assert server.unix().connected
    # The authenticated ones are not counted any more, and the silent ones make room one by one.
    assert server.factory.limits.budget.sockets == limit - 1


def test_guessing_the_secret_becomes_slow_and_is_then_refused(server: Any) -> None:
    for number in range(12):
        guessing = server.tcp()
        guessing.send(guessing.box(commands.Authenticate, token=f"guess {number}"))
    delayed = server.tcp()
    delayed.send(delayed.box(commands.Authenticate, token="guess"))
    # A daemon at the same address is late, not locked out.
    daemon = server.tcp()
    daemon.send(daemon.box(commands.Authenticate, token="a-shared-secret-of-the-tests"))
    assert delayed.boxes() == daemon.boxes() == []
    refused = server.tcp()
    code, _ = refused.call(commands.Authenticate, token="guess")
    assert code == b"OVERLOADED"
    assert not refused.connected
    assert server.factory.limits.budget.overdrawn == {"credentials": 1}
    server.clock.advance(3)
    assert delayed.boxes()[0][b"_error_code"] == b"UNAUTHENTICATED"
    assert b"principal" in daemon.boxes()[0]


def test_a_daemon_that_was_here_before_is_late_not_refused(server: Any) -> None:
    server.tcp().call(commands.Authenticate, token="a-shared-secret-of-the-tests")
    for _ in range(10):
        server.factory.limits.budget.credential_refused("192.0.2.7", "secret")
    guessing = [server.tcp() for _ in range(MAX_DELAYED_OF_KNOWN - 1)]
    for peer in guessing:
        peer.send(peer.box(commands.Authenticate, token="guess"))
    # A connection has one place only.
    code, _ = guessing[0].call(commands.Authenticate, token="guess")
    assert code == b"OVERLOADED"
    daemon = server.tcp()
    daemon.send(daemon.box(commands.Authenticate, token="a-shared-secret-of-the-tests"))
    last = server.tcp()
    assert last.call(commands.Authenticate, token="guess")[0] == b"OVERLOADED"
    server.clock.advance(3)
    assert b"principal" in daemon.boxes()[0]


def test_a_signed_token_does_not_wait_for_guesses_of_the_secret(server: Any) -> None:
    budget = server.factory.limits.budget
    for _ in range(10):
        budget.credential_refused("192.0.2.7", "secret")
    for _ in range(10):
        peer = server.tcp()
        peer.send(peer.box(commands.Authenticate, token="guess"))
    # Shaped like a JWT: it is verified at once, whatever comes out.
    assert server.tcp().call(commands.Authenticate, token="aGVhZGVy.cGF5bG9hZA.c2ln")[0] == b"UNAUTHENTICATED"
    for _ in range(budget._limits.failed["token"]):
        budget.credential_refused("192.0.2.7", "token")
    assert server.tcp().call(commands.Authenticate, token="aGVhZGVy.cGF5bG9hZA.c2ln")[0] == b"OVERLOADED"


@pytest.mark.parametrize(
    ("secret", "has_keys", "token", "kind"),
    [
        (b"secret", True, "a.b.c", Credential.TOKEN),
        (b"secret", True, "a.b", Credential.SECRET),
        (b"secret", False, "a.b.c", Credential.SECRET),
        (b"s.e.cret", True, "a.b.c", Credential.SECRET),
        (None, True, "guess", Credential.TOKEN),
    ],
)
def test_what_may_be_a_guess_of_the_secret(secret: bytes | None, has_keys: bool, token: str, kind: Credential) -> None:
    verifier: Any = object() if has_keys else None
    assert PeerAuthenticator(secret, verifier).kind_of(token) is kind


def test_a_wrong_secret_is_not_called_a_malformed_token() -> None:
    def verify(token: str) -> Principal:
        raise Refusal(ErrorCode.UNAUTHORIZED, "token: not a JWT")

    verifier: Any = SimpleNamespace(verify=verify)
    authenticator = PeerAuthenticator(b"the secret", verifier)
    with pytest.raises(Refusal, match="neither the shared secret of this gateway nor a JWT"):
        authenticator.verify("another secret")
    with pytest.raises(Refusal, match="not a JWT"):
        authenticator.verify("a.b.c")


def test_the_known_networks_are_bounded() -> None:
    clock = FakeClock()
    throttle = AuthenticationThrottle(PeerLimits.create(clock), clock)
    for number in range(MAX_KNOWN + 10):
        throttle.accepted(f"network {number}", Credential.SECRET)
        throttle.accepted(f"other {number}", Credential.TOKEN)
    assert len(throttle._known) == MAX_KNOWN
    assert "network 9" not in throttle._known


def test_a_delayed_try_of_a_lost_connection_authenticates_nobody(server: Any) -> None:
    for _ in range(10):
        server.factory.limits.budget.credential_refused("192.0.2.7", "secret")
    gone = server.tcp()
    gone.send(gone.box(commands.Authenticate, token="a-shared-secret-of-the-tests"))
    gone.transport.loseConnection()
    server.clock.advance(3)
    assert not server.factory.sessions


def test_connections_are_limited(server: Any, logged_warnings: Any) -> None:
    for _ in range(MAX_CONNECTIONS):
        server.tcp().call(commands.Authenticate, token="a-shared-secret-of-the-tests")
    assert server.factory.buildProtocol(None) is None
    assert logged_warnings() == [
        f"an AMP connection from unix is refused: connection_limit, there are {MAX_CONNECTIONS} connections already"
    ]
    assert server.unix().connected


# Any sequence of boxes


KEYS = st.sampled_from([b"_command", b"_ask", b"_answer", b"_error", b"_error_code", b"payload", b"payload.1", b"type"])
VALUES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"PublishEvent", b"PublishBatch", b"Subscribe", b"Ping", b"Authenticate", b"StartTLS", b"[]", b"1"]
    ),
)
BOXES = st.lists(st.dictionaries(KEYS, VALUES, min_size=1).map(lambda box: amp.AmpBox(box).serialize()), max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(boxes=BOXES, tail=st.binary(max_size=60), kind=st.sampled_from(["tcp", "unix"]))
def test_any_boxes_are_answered_or_disconnected(
    server_class: Any, error_log: Any, boxes: list[bytes], tail: bytes, kind: str
) -> None:
    server = server_class()
    peer = getattr(server, kind)()
    for box in boxes:
        peer.send(box)
    peer.send(tail)
    peer.boxes()
    server.clock.advance(60)
    assert not error_log.events
    other = server.unix()
    assert other.call(commands.Ping)["node"] == "node-1"


def test_incomplete_boxes_of_all_peers_are_bounded(server: Any, second_peer: Any, logged_warnings: Any) -> None:
    incoming = server.factory.limits.incoming
    peers = []
    for _ in range(1 + incoming.bound // (9 * 65_541)):
        peers.append(server.unix())
        peers[-1].send(b"".join(key(b"k%d" % number) + value(b"x" * 65_535) for number in range(9)))
        assert incoming.total <= incoming.bound
    assert not peers[0].connected
    assert peers[-1].connected
    lines = logged_warnings()
    assert len(lines) == incoming.refused == sum(not peer.connected for peer in peers)
    assert all("too many bytes" in line for line in lines)
