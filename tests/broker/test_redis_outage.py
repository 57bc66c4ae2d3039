"""Redis is unavailable, or refuses commands: requests are refused with the reason, nothing is lost, nodes recover."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_twisted
from broker_contract import A, B, MailContract, positions
from processes import free_port
from redis_nodes import Node, Nodes, one_refusal, until, until_accepted
from redis_server import RedisServer
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import formatEvent

from callcenter_ws.broker import submission
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.redis.connection import RedisError

pytestmark = pytest.mark.logs_errors

TIMEOUT = 1.0
"""Seconds; a Redis in good order must answer within them on a busy machine, too."""


def texts(error_log: Any) -> list[str]:
    """Return the lines that were logged as errors."""
    return [formatEvent(event) for event in error_log.events]


def check_reason(node: Node, reason: str) -> None:
    """Check that the broker gives the reason, and does not reveal where Redis is."""
    found = node.broker.not_ready()
    assert found is not None
    assert reason in found
    for secret in ("127.0.0.1", node.url.rpartition(":")[2].partition("/")[0] or "invalid", "hunter2"):
        assert secret not in found


async def check_refused(node: Node, reason: str) -> None:
    """Check that publishing is refused with the reason."""
    refusal = one_refusal(await node.outcomes(node.event(), node.event(tenant_id=B), node.event()))
    assert refusal.code is ErrorCode.UNAVAILABLE
    assert reason in refusal.message
    assert refusal.retry_after
    assert "127.0.0.1" not in refusal.message
    check_reason(node, reason)
    assert node.store.state()["waiting_events"] == 0
    assert node.store.state()["ready"] is False


async def check_recovered(*nodes: Node) -> None:
    """Check that everything works again."""
    head = 0
    for node in nodes:
        (published,) = await node.publish_until_accepted(node.event())
        head = published.seq
        await until(lambda node=node: node.broker.not_ready() is None)
    for node in nodes:
        await until(lambda node=node: node.head() == head)
        assert node.seqs() == sorted(set(node.seqs()))


class TestUnavailable:
    """There is no Redis, or it does not answer."""

    @pytest_twisted.ensureDeferred
    async def test_it_is_not_running_at_first(self, own_nodes: Nodes, own_server: RedisServer, error_log: Any) -> None:
        own_server.kill()
        node = own_nodes.make(timeout=TIMEOUT)
        node.start()
        await until(lambda: "refused" in (node.broker.not_ready() or ""))
        await check_refused(node, "Redis cannot be reached: Connection refused")
        for question in (
            lambda: node.broker.position(A),
            lambda: node.broker.read(A, 0, 1),
            lambda: node.broker.snapshot(A),
            lambda: node.broker.snapshot("a tenant that is not followed"),
            lambda: node.broker.read_mailbox(A, "7", 0, 1),
        ):
            with pytest.raises(Refusal) as refused:
                await question()
            assert refused.value.code is ErrorCode.UNAVAILABLE
        assert any(f"(127.0.0.1:{own_server.port})" in text for text in texts(error_log))
        assert len(texts(error_log)) == len(set(texts(error_log)))
        own_server.start()
        await check_recovered(node)

    @pytest_twisted.ensureDeferred
    async def test_it_is_killed_under_load(self, own_nodes: Nodes, own_server: RedisServer) -> None:
        node, other = await own_nodes.open(timeout=TIMEOUT), await own_nodes.open(timeout=TIMEOUT)
        events = [node.event() for _ in range(3_000)]
        calls = [node.broker.publish(events[at : at + 10]) for at in range(0, 3_000, 10)]
        await until(lambda: calls[20].called)
        own_server.kill()
        outcomes = [outcome for call in await gatherResults(calls) for outcome in call]
        codes = {outcome.code for outcome in outcomes if isinstance(outcome, Refusal)}
        assert codes == {ErrorCode.UNAVAILABLE}
        assert node.store.state()["waiting_events"] == 0
        own_server.start()
        for at in range(0, 3_000, 500):
            await node.publish_until_accepted(*events[at : at + 500])
        for one in (node, other):
            await until(lambda one=one: len(one.delivered) >= 3_000)
            assert one.seqs() == list(range(1, 3_001))
            assert one.ids() == [event.event_id for event in events]

    @pytest_twisted.ensureDeferred
    async def test_it_does_not_answer(self, own_nodes: Nodes, own_server: RedisServer) -> None:
        node, other = await own_nodes.open(timeout=TIMEOUT), await own_nodes.open(timeout=TIMEOUT)
        await node.publish(node.event())
        own_server.pause()
        refusal = one_refusal(await node.outcomes(node.event(event_id="x"), node.event(tenant_id=B)))
        assert refusal.code is ErrorCode.UNAVAILABLE
        await check_refused(node, "has not answered")
        own_server.resume()
        (again,) = await node.publish_until_accepted(node.event(event_id="x"))
        # The first call may have been executed without an answer.
        assert again.seq == 2
        await check_recovered(node, other)
        assert node.ids() == other.ids()

    @pytest_twisted.ensureDeferred
    async def test_waiting_events_are_limited(self, own_nodes: Nodes, own_server: RedisServer) -> None:
        node = await own_nodes.open(timeout=TIMEOUT)
        own_server.pause()
        limit = submission.MAX_WAITING_EVENTS
        event = node.event()
        waiting = [node.broker.publish([event] * 1_000) for _ in range(limit // 1_000)]
        refusal = one_refusal(await node.broker.publish([node.event()]))
        assert refusal.code is ErrorCode.OVERLOADED
        assert refusal.retry_after
        assert node.store.state()["waiting_events"] == limit
        for outcomes in await gatherResults(waiting):
            one_refusal(outcomes)
        assert node.store.state()["waiting_events"] == 0
        own_server.resume()
        await check_recovered(node)

    @pytest_twisted.ensureDeferred
    async def test_waiting_bytes_are_limited(
        self, own_nodes: Nodes, own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(submission, "MAX_WAITING_BYTES", 10_000)
        node = await own_nodes.open(timeout=TIMEOUT)
        own_server.pause()
        waiting = node.broker.publish([node.event("alert", {"title": "t", "message": "m" * 10_000})])
        assert one_refusal(await node.broker.publish([node.event()])).code is ErrorCode.OVERLOADED
        one_refusal(await waiting)
        own_server.resume()
        await check_recovered(node)

    @pytest.mark.parametrize("waits", [True, False])
    @pytest_twisted.ensureDeferred
    async def test_the_broker_is_stopped_while_redis_does_not_answer(
        self, own_nodes: Nodes, own_server: RedisServer, waits: bool
    ) -> None:
        node = await own_nodes.open(timeout=TIMEOUT)
        own_server.pause()
        publishing = node.broker.publish([node.event() for _ in range(1_000)]) if waits else None
        asking = Deferred.fromCoroutine(node.store.position("unknown"))
        asking.addErrback(lambda failure: failure.trap(Refusal))
        stopped: list[Any] = []
        Deferred.fromCoroutine(node.store.stop()).addBoth(stopped.append)
        await until(lambda: stopped)
        assert stopped == [None]
        if publishing is not None:
            one_refusal(await publishing)
        await asking

    @pytest_twisted.ensureDeferred
    async def test_the_broker_is_stopped_while_the_connection_is_prepared(
        self, own_nodes: Nodes, own_server: RedisServer
    ) -> None:
        own_server.pause()
        node = own_nodes.make(timeout=TIMEOUT)
        node.start()
        await until(lambda: node.store.redis._connections[0]._connection)
        await node.broker.stop()

    @pytest_twisted.ensureDeferred
    async def test_mail_marks_are_written_later(self, own_nodes: Nodes, own_server: RedisServer) -> None:
        node = await own_nodes.open(timeout=TIMEOUT)
        await MailContract.notify(node, "a", "b", "c")
        own_server.kill()
        await until(node.broker.not_ready)
        node.broker.mark_mail_sent(A, "7", ["a", "b"])
        node.broker.acknowledge_mail(A, "7", ["b"])
        own_server.start()
        await until(lambda: node.broker.not_ready() is None)
        await node.publish(node.event())
        mail = await node.broker.read_mailbox(A, "7", 0, 9)
        marks = [(item.publication.event.event_id, item.sent) for item in mail.items]
        assert marks == [("a", True), ("c", False)]

    @pytest_twisted.ensureDeferred
    async def test_clients_are_served_from_memory_meanwhile(self, own_nodes: Nodes, own_server: RedisServer) -> None:
        node = await own_nodes.open(timeout=TIMEOUT)
        await node.alerts(5)
        own_server.kill()
        await until(node.broker.not_ready)
        assert (await node.broker.position(A)).seq == 5
        assert positions((await node.broker.read(A, 2, 10)).publications) == [3, 4, 5]


def set_option(name: str, value: str) -> Callable[[RedisServer], None]:
    """Return a function that changes an option of a server."""
    return lambda server: done(server, "CONFIG", "SET", name, value)


def done(server: RedisServer, *command: str) -> None:
    assert server.command(*command) == b"+OK\r\n"


def break_saving(server: RedisServer) -> None:
    """Have Redis fail to save, so that it refuses writes."""
    (server.folder / "dump.rdb").mkdir()
    done(server, "CONFIG", "SET", "save", "3600 1")
    server.command("BGSAVE")
    server.wait_for_info("rdb_last_bgsave_status:err")


def mend_saving(server: RedisServer) -> None:
    (server.folder / "dump.rdb").rmdir()
    server.command("BGSAVE")
    server.wait_for_info("rdb_last_bgsave_status:ok")


class TestRefused:
    """Redis answers, and refuses commands."""

    @pytest.mark.parametrize(
        ("reason", "break_it", "mend_it"),
        [
            ("Redis is out of memory", set_option("maxmemory", "1"), set_option("maxmemory", "0")),
            ("Redis cannot write to its disk", break_saving, mend_saving),
            (
                "Redis has too few replicas",
                set_option("min-replicas-to-write", "1"),
                set_option("min-replicas-to-write", "0"),
            ),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_it_refuses_writes(
        self,
        own_nodes: Nodes,
        own_server: RedisServer,
        error_log: Any,
        reason: str,
        break_it: Callable[[RedisServer], None],
        mend_it: Callable[[RedisServer], None],
    ) -> None:
        node, other = await own_nodes.open(timeout=TIMEOUT), await own_nodes.open(timeout=TIMEOUT)
        await node.publish(node.event(event_id="known"))
        break_it(own_server)
        for _ in range(3):
            await check_refused(node, reason)
            # For an event that is known nothing is written, so that it does not show that Redis accepts writes.
            (again,) = await node.outcomes(node.event(event_id="known"))
            assert again.duplicate
            assert reason in node.broker.not_ready()
            # The script of a call without agents and queue would begin with a removal.
            call = {"unique_id": "c", "caller_id": "1", "destination": "2"}
            assert one_refusal(await node.outcomes(node.event("call.incoming", call))).code is ErrorCode.UNAVAILABLE
        assert sum(reason in text for text in texts(error_log)) == 1
        # Reading is not affected.
        assert (await other.broker.read(A, 0, 10)).head == 1
        mend_it(own_server)
        await check_recovered(node, other)
        assert node.interruptions == other.interruptions == []

    @pytest_twisted.ensureDeferred
    async def test_it_has_become_a_replica(self, own_nodes: Nodes, own_server: RedisServer) -> None:
        node = await own_nodes.open(timeout=TIMEOUT)
        await node.publish(node.event())
        done(own_server, "REPLICAOF", "127.0.0.1", "1")
        await check_refused(node, "replica")
        await until(lambda: "it is a replica" in (node.broker.not_ready() or ""))
        await check_refused(node, "it is a replica")
        done(own_server, "REPLICAOF", "NO", "ONE")
        await check_recovered(node)

    @pytest_twisted.ensureDeferred
    async def test_the_script_cache_was_flushed(self, own_nodes: Nodes, own_server: RedisServer) -> None:
        node = await own_nodes.open()
        own_server.command("SCRIPT", "FLUSH")
        assert await node.alerts(2) == [1, 2]
        assert positions((await node.broker.snapshot(A)).publications) == []

    @pytest.mark.parametrize(
        ("credentials", "reason"),
        [
            ("", "Redis requires a password"),
            (":wrong", "Redis rejected the user name or password"),
            ("nobody:hunter2", "Redis rejected the user name or password"),
            ("limited:hunter2", "the Redis user lacks permission for this command"),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_it_refuses_the_credentials(
        self, own_nodes: Nodes, own_server: RedisServer, error_log: Any, credentials: str, reason: str
    ) -> None:
        done(own_server, "ACL", "SETUSER", "limited", "on", ">hunter2", "~*", "&*", "+auth")
        done(own_server, "CONFIG", "SET", "requirepass", "hunter2")
        node = own_nodes.make(url=f"redis://{credentials}@127.0.0.1:{own_server.port}", timeout=TIMEOUT)
        node.start()
        await until(lambda: reason in (node.broker.not_ready() or ""))
        await check_refused(node, reason)
        assert "hunter2" not in "".join(texts(error_log))
        assert not any("Traceback" in text or "unhandled" in text for text in texts(error_log))

    @pytest.mark.parametrize(
        ("rules", "reason"),
        [
            (["~*", "&*", "+@all", "-evalsha"], "the Redis user lacks permission for this command"),
            (["~other:*", "&*", "+@all"], "the Redis user lacks permission for this command"),
            (["~*", "&*", "+@all", "-xadd"], "the Redis user lacks permission for this command"),
            (["~*", "resetchannels", "+@all"], "the Redis user lacks permission for this command"),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_the_user_may_not_write(
        self, own_nodes: Nodes, own_server: RedisServer, error_log: Any, rules: list[str], reason: str
    ) -> None:
        done(own_server, "ACL", "SETUSER", "limited", "on", ">hunter2", *rules)
        node = own_nodes.make(url=f"redis://limited:hunter2@127.0.0.1:{own_server.port}", timeout=TIMEOUT)
        node.start()
        await until(lambda: node.store.redis.is_connected)
        for _ in range(3):
            await check_refused(node, reason)
        assert len(texts(error_log)) <= 4
        done(own_server, "ACL", "SETUSER", "limited", "allkeys", "allchannels", "+@all")
        await check_recovered(node)

    @pytest_twisted.ensureDeferred
    async def test_the_user_may_not_subscribe(self, own_nodes: Nodes, own_server: RedisServer, error_log: Any) -> None:
        done(own_server, "ACL", "SETUSER", "limited", "on", ">hunter2", "~*", "+@all", "-ssubscribe", "allchannels")
        node = own_nodes.make(url=f"redis://limited:hunter2@127.0.0.1:{own_server.port}", timeout=TIMEOUT)
        node.start()
        await until(lambda: "refused a subscription" in (node.broker.not_ready() or ""))
        check_reason(node, "refused a subscription")
        assert len(texts(error_log)) <= 2
        done(own_server, "ACL", "SETUSER", "limited", "+ssubscribe")
        await check_recovered(node)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("NOPERM this user has no permissions to run the 'info' command", "NOPERM"),
        # 7.0
        ("ERR The user executing the script can't run this command or subcommand script: 1f", "NOPERM"),
        ("ERR The user executing the script can't access at least one of the keys mentioned script: 1f", "NOPERM"),
        # 7.2, 8
        ("ERR ACL failure in script: User u has no permissions to run the 'xadd' command script: 1f", "NOPERM"),
        ("ERR ACL failure in script: No permissions to access a channel script: 1f, on @user_script:1.", "NOPERM"),
        ("ERR Unknown Redis command called from script script: 1f, on @user_script:1.", "ERR"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value script: 1f", "WRONGTYPE"),
        ("OOM command not allowed when used memory > 'maxmemory'.", "OOM"),
    ],
)
def test_a_command_forbidden_in_a_script_is_recognized_for_all_versions(text: str, kind: str) -> None:
    assert RedisError(text).kind == kind


class Scripted(Protocol):
    """Sends a fixed answer to each command."""

    def dataReceived(self, data: bytes) -> None:
        answer = self.factory.answer
        for _ in range(data.count(b"\r\n*") + data.startswith(b"*")):
            self.transport.write(answer)


def info(*lines: str) -> bytes:
    """Return an answer of ``INFO``."""
    text = "\r\n".join(lines).encode()
    return b"$%d\r\n%b\r\n" % (len(text), text)


@pytest_twisted.async_yield_fixture
async def scripted() -> AsyncIterator[tuple[Factory, int]]:
    """A server with fixed answers, and its port."""
    factory = Factory.forProtocol(Scripted)
    factory.noisy = False
    port = free_port()
    listening = reactor.listenTCP(port, factory, interface="127.0.0.1")
    yield factory, port
    await listening.stopListening()


class TestUnsuitableServer:
    """The server is no Redis, or one that cannot be used."""

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not Redis's protocol"),
            (b"\x00\xff\x80\r\n", "not Redis's protocol"),
            (b":1\r\n", "the server is not a Redis"),
            (b"*1\r\n$1\r\nx\r\n", "the server is not a Redis"),
            (b"$-1\r\n", "the server is not a Redis"),
            (b"+OK\r\n+OK\r\n", "the server is not a Redis"),
            (info("redis_version:what", "role:master"), "the server is not a Redis"),
            (info("redis_version:7.2.0", "role:master"), "the server is not a Redis"),
            (info("redis_version:6.2.14", "role:master", "master_replid:abc"), "it is Redis 6.2.14; 7 or later"),
            (info("redis_version:7.2.0", "role:master", "master_replid:abc", "loading:1"), "still reading its data"),
            (info("redis_version:7.2.0", "role:slave", "master_replid:abc"), "it is a replica"),
            (b"-LOADING Redis is loading the dataset in memory\r\n", "still reading its data"),
            (b"-ERR secret of 127.0.0.1\r\n", "Redis refused the connection"),
            (b"", "has not answered"),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_the_reason_is_given(
        self, scripted: tuple[Any, int], error_log: Any, nodes: Nodes, answer: bytes, reason: str
    ) -> None:
        factory, port = scripted
        factory.answer = answer
        node = nodes.make(url=f"redis://127.0.0.1:{port}", timeout=TIMEOUT)
        node.start()
        await until(lambda: reason in (node.broker.not_ready() or ""))
        await check_refused(node, reason)
        assert not any("unhandled" in text for text in texts(error_log))
        assert not any("log_failure" in event for event in error_log.events)

    @pytest_twisted.ensureDeferred
    async def test_an_unknown_host_name(self, nodes: Nodes) -> None:
        node = nodes.make(url="redis://redis.invalid", timeout=TIMEOUT)
        node.start()
        await until(lambda: "cannot be reached" in (node.broker.not_ready() or ""))
        assert "redis.invalid" not in str(node.broker.not_ready())
        await check_refused(node, "Redis cannot be reached")


@pytest_twisted.ensureDeferred
async def test_timers_do_not_accumulate_while_it_is_unavailable(own_nodes: Nodes, own_server: RedisServer) -> None:
    """There is one retry timer, however many requests there are."""
    node = await own_nodes.open(timeout=TIMEOUT)
    own_server.kill()
    await until(node.broker.not_ready)
    attempts = 0
    tenant = node.store._followers.get(A)
    assert tenant is not None
    tenant_store = tenant._tenant_store
    stream_status = tenant_store.stream_status

    def counted(*arguments: Any) -> Any:
        nonlocal attempts
        attempts += 1
        return stream_status(*arguments)

    tenant_store.stream_status = counted  # type: ignore[method-assign]
    before = len(reactor.getDelayedCalls())
    for _ in range(50):
        tenant.synchronise()
        with pytest.raises(Refusal):
            await node.broker.snapshot("not followed")
        node.broker.acknowledge_mail(A, "7", ["x"])
    assert attempts == 50
    assert len(reactor.getDelayedCalls()) <= before + 3
    own_server.start()
    await until_accepted(lambda: node.broker.position(A))
