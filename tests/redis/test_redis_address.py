"""RedisAddress, and connections over TCP, TLS and Unix sockets, directly and through Sentinel."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from broker_contract import A
from processes import free_port
from redis_nodes import Nodes, one_refusal, until
from redis_server import RedisServer
from tls_material import make_certificate, new_certificate
from twisted.logger import formatEvent

from callcenter_ws.redis.address import RedisAddress, redis_address
from callcenter_ws.redis.endpoint import _trust

LOCAL = (("127.0.0.1", 6379),)


class TestUrl:
    """The forms of URLs."""

    @pytest.mark.parametrize(
        ("url", "address"),
        [
            ("redis://127.0.0.1", RedisAddress(LOCAL)),
            ("redis://127.0.0.1:6379/", RedisAddress(LOCAL)),
            ("redis://127.0.0.1:6380/7", RedisAddress((("127.0.0.1", 6380),), database=7)),
            ("redis://[::1]:6380", RedisAddress((("::1", 6380),))),
            ("redis://:p%40ss%2F%23@127.0.0.1", RedisAddress(LOCAL, password="p@ss/#")),
            ("redis://me:p:a@127.0.0.1/1", RedisAddress(LOCAL, username="me", password="p:a", database=1)),
            ("redis://me@127.0.0.1", RedisAddress(LOCAL, username="me")),
            ("rediss://127.0.0.1", RedisAddress(LOCAL, tls=True)),
            ("unix:/run/redis.sock", RedisAddress(path="/run/redis.sock")),
            ("unix:///run/redis.sock", RedisAddress(path="/run/redis.sock")),
            (
                "unix:/run/a%20b?db=3&username=u&password=p%26",
                RedisAddress(path="/run/a b", database=3, username="u", password="p&"),
            ),
            ("redis+sentinel://a,b:1,[::1]:2/m", RedisAddress((("a", 26379), ("b", 1), ("::1", 2)), master="m")),
            (
                "redis+sentinel://[::1],[::2]:7,a/m",
                RedisAddress((("::1", 26379), ("::2", 7), ("a", 26379)), master="m"),
            ),
            ("redis://me:[p]a%3F@127.0.0.1", RedisAddress(LOCAL, username="me", password="[p]a?")),
            ("redis://Redis.Example:/", RedisAddress((("redis.example", 6379),))),
            (
                "rediss+sentinel://u:p@a/my%20master/4",
                RedisAddress((("a", 26379),), master="my master", tls=True, database=4, username="u", password="p"),
            ),
        ],
    )
    def test_addresses(self, url: str, address: RedisAddress) -> None:
        assert redis_address(url) == address

    def test_the_password_argument_overrides_the_url(self) -> None:
        assert redis_address("redis://u:old@h", "new").password == "new"
        assert redis_address("unix:/s?password=old", "new").password == "new"
        assert redis_address("redis://h", "").password == ""

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("", "write redis://"),
            ("redis", "write redis://"),
            ("http://h", "write redis://"),
            ("redis:/h", "a host is missing"),
            ("redis://", "a host is missing"),
            ("redis://:hunter2@", "a host is missing"),
            ("redis://u:hunter2@h:port", "its port is not a number"),
            ("redis://u:hunter2@h:99999", "its port is not a number"),
            ("redis://u:hunter2#@h", "%23"),
            ("redis://u:hunter2@[h", "this is not a URL"),
            ("redis://u:hunter2@[h]", "this is not a URL"),
            ("redis://u:hunter2@[127.0.0.1]", "this is not a URL"),
            ("redis://u:hunter2@[::1]6379", "this is not a URL"),
            ("redis://u:hunter2@[::1]:six", "its port is not a number"),
            ("redis://u:hunter2@::1", "its port is not a number"),
            ("redis://u:hunter2@h:\u0661", "its port is not a number"),
            ("redis://u:hunter2@h:+1", "its port is not a number"),
            ("redis://u:hunter2@h\n", "this is not a URL"),
            ("redis+sentinel://u:hunter2@a,[::1/m", "this is not a URL"),
            ("redis://u:hunter2@h/zero", "the database is a number"),
            ("redis://u:hunter2@h/-1", "the database is a number"),
            ("redis://u:hunter2@h/123456", "the database is a number"),
            ("redis://u:hunter2@h/1/2", "too many parts"),
            ("redis://u:hunter2@h?db=1", "a query (?) is not allowed"),
            ("redis://u:hunter2@h,i", "name one host"),
            ("redis+sentinel://u:hunter2@h", "name the master"),
            ("redis+sentinel://u:hunter2@h,/m", "a host is missing"),
            ("unix://host/run/s?password=hunter2", "the absolute path"),
            ("unix:run/s?password=hunter2", "the absolute path"),
            ("unix:/run/s?passwort=hunter2", "only db, username and password are allowed"),
            ("unix:/run/s?db=x&password=hunter2", "the database is a number"),
        ],
    )
    def test_invalid_urls(self, url: str, reason: str) -> None:
        with pytest.raises(ValueError, match=re.escape(reason)) as refused:
            redis_address(url)
        assert "hunter2" not in str(refused.value)
        assert refused.value.__cause__ is None

    @pytest.mark.parametrize(
        "url", ["redis://u:hunter2@h", "unix:/s?password=hunter2", "redis+sentinel://u:hunter2@h/m"]
    )
    def test_its_text_has_no_password(self, url: str) -> None:
        address = redis_address(url)
        assert address.password == "hunter2"
        assert "hunter2" not in f"{address} {address!r}"

    def test_a_file_without_certificates(self, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_text("nothing")
        with pytest.raises(ValueError, match="holds no PEM certificate"):
            _trust(tmp_path / "ca.pem")


class TestSeparation:
    """Data that is separate within one Redis."""

    @pytest_twisted.ensureDeferred
    async def test_databases_are_separate(self, nodes: Nodes, server: RedisServer) -> None:
        first = await nodes.open()
        second = await nodes.open(url=server.url.replace("/0", "/5"))
        await first.alerts(2)
        await second.alerts(3)
        await until(lambda: (first.seqs(), second.seqs()) == ([1, 2], [1, 2, 3]))
        assert (first.interruptions, second.interruptions) == ([], [])
        server.ask("SELECT", "5")

    @pytest_twisted.ensureDeferred
    async def test_prefixes_are_separate(self, nodes: Nodes) -> None:
        first, second = await nodes.open(), nodes.make()
        second.prefix = f"{nodes.prefix}x"
        await second.open()
        await first.alerts(2)
        await second.alerts(3)
        await until(lambda: (first.seqs(), second.seqs()) == ([1, 2], [1, 2, 3]))

    @pytest_twisted.ensureDeferred
    async def test_keys_of_another_program(self, nodes: Nodes, server: RedisServer, error_log: Any) -> None:
        node = await nodes.open([])
        server.ask("SET", node.store.keys.meta("taken"), "x")
        refusal = one_refusal(await node.outcomes(node.event(tenant_id="taken")))
        assert "a key with store.key_prefix has an unexpected type" in refusal.message
        error_log.events.clear()


@pytest_twisted.ensureDeferred
async def test_username_and_password(nodes: Nodes, server: RedisServer) -> None:
    server.ask("ACL", "SETUSER", "gateway", "on", ">p@ss /#%", f"~{nodes.prefix}:*", f"&{nodes.prefix}:*", "+@all")
    node = await nodes.open(url=f"redis://gateway:p%40ss%20%2F%23%25@127.0.0.1:{server.port}")
    assert await node.alerts(1) == [1]
    await until(lambda: node.seqs() == [1])


@pytest_twisted.ensureDeferred
async def test_unix_socket(nodes: Nodes, tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    server = RedisServer(unixsocket=str(path))
    server.start()
    try:
        node = await nodes.open(url=f"unix:{path}?db=2")
        assert await node.alerts(1) == [1]
        await until(lambda: node.seqs() == [1])
        await node.broker.stop()
    finally:
        server.stop()


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_a_missing_unix_socket(nodes: Nodes, tmp_path: Path, error_log: Any) -> None:
    node = nodes.make(url=f"unix:{tmp_path}/nothing")
    node.start()
    await until(lambda: "No such file" in (node.broker.not_ready() or ""))
    assert str(tmp_path) not in str(node.broker.not_ready())
    assert any(str(tmp_path) in formatEvent(event) for event in error_log.events)


class TestTls:
    """The certificate of the server is verified."""

    @pytest.fixture
    def protected(self, tmp_path: Path) -> Iterator[tuple[RedisServer, int, Path]]:
        certificate, key = make_certificate(tmp_path)
        port = free_port()
        files = {"tls-cert-file": str(certificate), "tls-key-file": str(key), "tls-ca-cert-file": str(certificate)}
        server = RedisServer(**{"tls-port": str(port), "tls-auth-clients": "no", **files})
        server.start()
        yield server, port, certificate
        server.stop()

    @pytest_twisted.ensureDeferred
    async def test_a_trusted_certificate(self, nodes: Nodes, protected: tuple[RedisServer, int, Path]) -> None:
        _, port, certificate = protected
        node = await nodes.open(url=f"rediss://127.0.0.1:{port}", ca_file=certificate)
        assert await node.alerts(1) == [1]
        await until(lambda: node.seqs() == [1])
        await node.broker.stop()

    @pytest.mark.logs_errors
    @pytest.mark.parametrize("trusted", ["another", "the system's"])
    @pytest_twisted.ensureDeferred
    async def test_an_untrusted_certificate(
        self, nodes: Nodes, protected: tuple[RedisServer, int, Path], tmp_path: Path, error_log: Any, trusted: str
    ) -> None:
        _, port, _ = protected
        (tmp_path / "other").mkdir()
        other, _ = make_certificate(tmp_path / "other", new_certificate())
        node = nodes.make(url=f"rediss://127.0.0.1:{port}", ca_file=other if trusted == "another" else None)
        node.start()
        await until(lambda: "certificate verify failed" in (node.broker.not_ready() or ""))
        one_refusal(await node.outcomes(node.event()))
        assert not any("log_failure" in event for event in error_log.events)
        await node.broker.stop()

    @pytest.mark.logs_errors
    @pytest_twisted.ensureDeferred
    async def test_a_certificate_for_another_name(self, nodes: Nodes, protected: tuple[RedisServer, int, Path]) -> None:
        _, port, certificate = protected
        node = nodes.make(url=f"rediss://localhost:{port}", ca_file=certificate)
        node.start()
        await until(lambda: "for another name" in (node.broker.not_ready() or ""))
        one_refusal(await node.outcomes(node.event()))
        await node.broker.stop()

    @pytest.mark.logs_errors
    @pytest_twisted.ensureDeferred
    async def test_a_server_without_tls(self, nodes: Nodes, server: RedisServer) -> None:
        node = nodes.make(url=f"rediss://127.0.0.1:{server.port}", timeout=0.3)
        node.start()
        await until(lambda: "cannot be reached" in (node.broker.not_ready() or ""))
        one_refusal(await node.outcomes(node.event()))


class Sentinel:
    """A redis-sentinel with a quorum of one and short timeouts."""

    def __init__(self, folder: Path, master: RedisServer) -> None:
        self.port = free_port()
        file = folder / "sentinel.conf"
        file.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor mymaster 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds mymaster 1000\n"
            "sentinel failover-timeout mymaster 2000\n"
        )
        binary = shutil.which("redis-server")
        assert binary
        self._log = (folder / "sentinel.log").open("wb")
        self.process = subprocess.Popen([binary, str(file), "--sentinel"], stdout=self._log, stderr=self._log)
        self._server = RedisServer(folder, self.port)

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.port}/mymaster"

    def ask(self, *words: str) -> Any:
        return self._server.ask(*words)

    def knows(self, what: bytes) -> bool:
        """Return whether the sentinel's description of the master contains this."""
        try:
            return what in self.ask("SENTINEL", "MASTER", "mymaster")
        except OSError:
            return False

    def replicas(self) -> int:
        try:
            return len([one for one in self.ask("SENTINEL", "REPLICAS", "mymaster") if one[9] == b"slave"])
        except OSError:
            return 0

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()


class TestSentinel:
    """The master is found through Sentinel."""

    @pytest.fixture
    def watched(self, own_server: RedisServer, tmp_path: Path) -> Iterator[tuple[Sentinel, RedisServer]]:
        own_server.command("CONFIG", "SET", "repl-diskless-sync-delay", "0")
        replica = RedisServer(**{"repl-diskless-sync-delay": "0"})
        replica.start()
        replica.command("REPLICAOF", "127.0.0.1", str(own_server.port))
        sentinel = Sentinel(tmp_path, own_server)
        yield sentinel, replica
        sentinel.stop()
        replica.stop()

    @pytest.mark.logs_errors
    @pytest_twisted.ensureDeferred
    async def test_the_master_is_found_before_and_after_a_failover(
        self, nodes: Nodes, own_server: RedisServer, watched: tuple[Sentinel, RedisServer]
    ) -> None:
        sentinel, replica = watched
        await until(lambda: sentinel.replicas() == 1)
        await until(lambda: b"master_link_status:up" in replica.command("INFO", "replication"))
        # The first sentinel of the URL does not exist.
        url = sentinel.url.replace("//", f"//127.0.0.1:{free_port()},")
        node = await nodes.open(url=url, timeout=1.0)
        before = await node.alerts(3)
        await until(lambda: len(node.delivered) == 3)
        await until(lambda: replica.ask("XLEN", node.store.keys.of(A, "log")) == 3)
        own_server.kill()
        after = await node.publish_until_accepted(node.event())
        assert [*before, after[0].seq] == [1, 2, 3, 4]
        assert replica.ask("XLEN", node.store.keys.of(A, "log")) == 4
        await until(lambda: node.seqs() == [1, 2, 3, 4])
        assert node.interruptions == []
        await node.broker.stop()

    @pytest.mark.logs_errors
    @pytest_twisted.ensureDeferred
    async def test_the_sentinels_do_not_know_the_master(
        self, nodes: Nodes, watched: tuple[Sentinel, RedisServer], own_server: RedisServer
    ) -> None:
        sentinel, _ = watched
        await until(lambda: sentinel.knows(b"mymaster"))
        node = nodes.make(url=sentinel.url.replace("mymaster", "yours"), timeout=0.5)
        node.start()
        await until(lambda: "know no master 'yours'" in (node.broker.not_ready() or ""))
        no_sentinel = nodes.make(url=f"redis+sentinel://127.0.0.1:{own_server.port}/mymaster", timeout=0.5)
        no_sentinel.start()
        await until(lambda: "cannot be reached" in (no_sentinel.broker.not_ready() or ""))
        await node.broker.stop()
        await no_sentinel.broker.stop()


@pytest_twisted.async_yield_fixture
async def silent() -> AsyncIterator[int]:
    """A port whose server never accepts connections."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        yield listening.getsockname()[1]


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_a_server_that_never_accepts(nodes: Nodes, silent: int) -> None:
    node = nodes.make(url=f"redis://127.0.0.1:{silent}", timeout=0.1)
    node.start()
    await until(lambda: "answer" in (node.broker.not_ready() or ""))
    one_refusal(await node.outcomes(node.event()))
    await node.broker.stop()
