"""RedisBroker passes the contract of all brokers, on a real server."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest_twisted
from broker_contract import BrokerContract, CountersContract, DurableContract, MailContract, SourceContract
from chat_contract import ChatContract, DurableChatContract
from command_store_contract import CommandContract, DurableCommandContract
from reconciliation_contract import DurableReconciliationContract, ReconciliationContract
from redis_bench import RedisBench
from redis_server import RedisServer

_prefixes = (f"test-{number}" for number in itertools.count())


@pytest_twisted.async_yield_fixture
async def bench(server: RedisServer) -> AsyncIterator[RedisBench]:
    bench = RedisBench(server.url, next(_prefixes))
    await bench.open()
    yield bench
    await bench.close()


class TestRedisBroker(
    BrokerContract,
    MailContract,
    CountersContract,
    SourceContract,
    DurableContract,
    ChatContract,
    DurableChatContract,
    ReconciliationContract,
    DurableReconciliationContract,
    CommandContract,
    DurableCommandContract,
):
    """Passes the contract."""
