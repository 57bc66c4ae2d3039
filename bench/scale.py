"""The sizes of all cases: full, and quick for a test."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The sizes of all cases.

    Attributes:
        rounds: repetitions of each measurement; figures are medians over them.
        seconds: time limit of one measurement of ingest; sending stops there.
        singles, batches: numbers of requests that ingest sends in each mode: single calls, and batches of 100 events.
        warm_up_batches: batches that precede ingest, so that the store already deletes old events while it is measured.
        baseline_events: events that are inserted into the bare SQLite table.
        clients: subscribers; in ``resume`` they reconnect.
        missed: events that each of them missed.
        small_memory_events: ``store.memory_events`` where a replay has to be read from the disk.
        fan_out: the number of events by the number of events outstanding.
        fan_out_seconds: time limit of one measurement of fan-out with peers; publishing stops there.
        idle: idle connections that ``memory`` opens.
        settling_seconds: time that servers get before their memory is read.
        open_loop_seconds: time for which events are published at a fixed rate.
        tenants: tenants, each with 50 clients.
        tenant_events: events for all tenants together, by the number of events outstanding.
        single_user_connections: the fewer and the more connections among which one user receives events.
        single_user_events: events for one user.
        agents, calls, queues: the size of the state in a snapshot.
        snapshot_clients: clients that request a snapshot at the same moment.
        hostile_seconds: time for which each attack is measured.
        hostile_start_seconds: time for which an attack runs before it is measured.
        hostile_calls: calls in the state that attackers request.
        hostile_clients: connections with a token that an attack may use.
        statistics_queues, statistics_agents: the size of the center whose figures are derived.
        calls_of_today: calls whose events are in the store when users ask for them.
        bridge_calls: calls of an exchange whose events a bridge reads as fast as it can.
        bridge_seconds: time for which the exchange has calls at its rate.
        bridge_memory_calls: calls after which the memory of the state machine is compared.
    """

    rounds: int
    seconds: float
    singles: int
    batches: int
    warm_up_batches: int
    baseline_events: int
    clients: int
    missed: int
    small_memory_events: int
    fan_out: dict[int, int]
    fan_out_seconds: float
    idle: int
    settling_seconds: float
    open_loop_seconds: float
    tenants: int
    tenant_events: dict[int, int]
    single_user_connections: tuple[int, int]
    single_user_events: int
    agents: int
    calls: int
    queues: int
    snapshot_clients: int
    hostile_seconds: float
    hostile_start_seconds: float
    hostile_calls: int
    hostile_clients: int
    statistics_queues: int
    statistics_agents: int
    calls_of_today: int
    bridge_calls: int
    bridge_seconds: float
    bridge_memory_calls: int


FULL = Scale(
    rounds=3,
    seconds=4,
    singles=8_000,
    batches=300,
    warm_up_batches=120,
    baseline_events=50_000,
    clients=1_000,
    missed=500,
    small_memory_events=100,
    fan_out={1: 200, 8: 800, 64: 3_200},
    fan_out_seconds=2,
    idle=2_000,
    settling_seconds=1,
    open_loop_seconds=3,
    tenants=200,
    tenant_events={8: 4_000, 64: 8_000},
    single_user_connections=(100, 10_000),
    single_user_events=2_000,
    agents=5_000,
    calls=500,
    queues=100,
    snapshot_clients=200,
    hostile_seconds=6,
    hostile_start_seconds=2,
    hostile_calls=40_000,
    hostile_clients=150,
    statistics_queues=200,
    statistics_agents=2_000,
    calls_of_today=50_000,
    bridge_calls=3_000,
    bridge_seconds=10,
    bridge_memory_calls=33_000,
)
"""The sizes for which the goals are stated."""

QUICK = Scale(
    rounds=1,
    seconds=1,
    singles=100,
    batches=4,
    warm_up_batches=1,
    baseline_events=512,
    clients=40,
    missed=50,
    small_memory_events=10,
    fan_out={1: 5, 8: 40, 64: 128},
    fan_out_seconds=0.2,
    idle=50,
    settling_seconds=0.05,
    open_loop_seconds=0.2,
    tenants=3,
    tenant_events={8: 40, 64: 128},
    single_user_connections=(10, 100),
    single_user_events=40,
    agents=50,
    calls=20,
    queues=5,
    snapshot_clients=10,
    hostile_seconds=0.3,
    hostile_start_seconds=0.2,
    hostile_calls=100,
    hostile_clients=60,
    statistics_queues=5,
    statistics_agents=20,
    calls_of_today=200,
    bridge_calls=60,
    bridge_seconds=0.5,
    bridge_memory_calls=100,
)
"""Every case once in a few seconds, as a test. Its figures are meaningless."""
