"""Who may connect to two nodes that share a Redis: the limit of a user, and revocations."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import amp_line
from processes import wait_until
from raw_socket import RawPeer
from test_access import browse, browse_until
from websockets.exceptions import ConnectionClosed


def connections(node: Any, user_id: str) -> int:
    """Return the number of a user's connections at all nodes."""
    status, answer = node.http(f"/ws/users/{user_id}/online", token=node.token("supervisor"))
    return int(answer["connections"]) if status == 200 else -1


def test_dead_connections_at_another_node_make_room(two_nodes: Callable[..., list[Any]]) -> None:
    first, second = two_nodes("limits.connections_per_user=2")
    token = first.token(sub="101")
    dead = []
    for _ in range(2):
        peer = RawPeer(first.port)
        assert peer.handshake(token=token)[0] == 101
        assert peer.read_message()["type"] == "welcome"
        dead.append(peer)
    wait_until(lambda: connections(second, "101") == 2, "the other node knows them")

    def is_accepted() -> bool:
        # It may be refused after its welcome: the connections at other nodes are counted then.
        client = second.open("/ws", additional_headers={"Authorization": f"Bearer {token}"})
        wait_until(lambda: connections(second, "101") < 3, "there is room, or it is refused")
        try:
            return client.request("ping")["type"] == "pong"
        except ConnectionClosed:
            assert client.close_code() == 4006
            return False
        finally:
            client.socket.close()

    wait_until(is_accepted, "a place is free")
    for peer in dead:
        assert [peer.read_frame()[0], peer.read_close()] == [9, 4002]
        peer.socket.close()


def test_the_oldest_connection_at_another_node_is_replaced(two_nodes: Callable[..., list[Any]]) -> None:
    first, second = two_nodes("limits.connections_per_user=2", "policy.over_user_limit=replace_oldest")
    token = first.token(sub="101")
    clients = []
    for number, node in enumerate((first, second)):
        clients.append(node.connect(token=token))
        wait_until(lambda number=number: connections(second, "101") == number + 1, "it is counted")
    clients.append(second.connect(token=token))
    assert clients[0].close_code() == 4505
    wait_until(lambda: connections(first, "101") == 2, "the others are left")
    for client in clients[1:]:
        assert client.request("ping")["type"] == "pong"
        client.socket.close()


def test_a_revocation_covers_tokens_that_lie_ahead_at_another_node(two_nodes: Callable[..., list[Any]]) -> None:
    first, second = two_nodes()
    ahead = int(time.time()) + 5
    token = first.token(sub="eve", iat=ahead)
    client = second.connect(token=token)
    answer = amp_line.call(first.amp_path, b"RevokeToken", tenant_id=b"acme", user_id=b"eve")
    assert answer[b"closed"] == b"1"
    assert client.close_code() == 4503
    assert browse(second, token)[2] == 4500
    browse_until(first, token, lambda _, code: code == 4500)
    wait_until(lambda: time.time() > ahead, "the time of the token")
    for node in (first, second):
        assert browse(node, token)[2] == 4500


def test_a_node_that_has_not_read_the_revocations_accepts_no_token(
    two_nodes: Callable[..., list[Any]], start_gateway: Callable[..., Any], server: Any
) -> None:
    first, _ = two_nodes()
    token, other_token = first.token(sub="mallory"), first.token(sub="101")
    amp_line.call(first.amp_path, b"RevokeToken", tenant_id=b"acme", user_id=b"mallory")
    assert browse(first, token)[2] == 4500
    settings = [argument for argument in first.process.args if argument.startswith("store.")]
    settings.append(f"jwt.secret_file={first.folder}/secret")
    server.pause()
    try:
        third = start_gateway("", *(part for setting in settings for part in ("--set", setting)))
        for refused in (token, other_token):
            type_, payload, code = browse(third, refused)
            assert (type_, code) == ("error", 4006), payload
            assert payload["retry_after_ms"] == 1_000
            assert third.http("/ws/stats", token=refused)[0] == 503
        status, answer = third.http("/readyz")
        assert status == 503
        assert "revocations: they have not been read from the store yet" in answer["reasons"]
    finally:
        server.resume()
    wait_until(lambda: third.http("/readyz")[0] == 200, "the node is ready")
    assert browse(third, token)[2] == 4500
    assert browse(third, other_token)[0] == "welcome"
