"""How much is done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The size of everything.

    Attributes:
        rounds: repetitions, whose median counts.
        seconds: after which a sender stops, though it has not sent everything.
        singles, batches: what ingest sends each way: single calls, and batches of 100 events.
        filling: batches that come first, so that the store forgets old events as it does in the long run.
        yardstick_events: for the bare SQLite table.
        clients: subscribers, who later come back.
        missed: events that each of them missed.
        few_in_memory: events that the gateway holds in memory where what was missed shall come from the disk.
        fan_out: events for each number of events that may be outstanding.
        fan_out_seconds: after which no more of them are sent, though not all were, where peers take part.
        idle: connections that wait, for memory.
        settling: seconds that servers then get.
        open_loop_seconds: for which events are published at a rate, for latency.
        tenants: with 50 clients each.
        tenant_events: published to all the tenants together, by how many may be outstanding.
        alone: connections among which one user gets events, fewer and more; and events for him.
        agents, calls, queues: the state that a snapshot shows.
        crowd: clients that ask for it at the same moment.
    """

    rounds: int
    seconds: float
    singles: int
    batches: int
    filling: int
    yardstick_events: int
    clients: int
    missed: int
    few_in_memory: int
    fan_out: dict[int, int]
    fan_out_seconds: float
    idle: int
    settling: float
    open_loop_seconds: float
    tenants: int
    tenant_events: dict[int, int]
    alone: tuple[int, int]
    alone_events: int
    agents: int
    calls: int
    queues: int
    crowd: int


FULL = Scale(
    rounds=3,
    seconds=4,
    singles=8_000,
    batches=300,
    filling=120,
    yardstick_events=50_000,
    clients=1_000,
    missed=500,
    few_in_memory=100,
    fan_out={1: 200, 8: 800, 64: 3_200},
    fan_out_seconds=2,
    idle=2_000,
    settling=1,
    open_loop_seconds=3,
    tenants=200,
    tenant_events={8: 4_000, 64: 8_000},
    alone=(100, 10_000),
    alone_events=2_000,
    agents=5_000,
    calls=500,
    queues=100,
    crowd=200,
)
"""What the goals are stated for."""

QUICK = Scale(
    rounds=1,
    seconds=1,
    singles=100,
    batches=4,
    filling=1,
    yardstick_events=512,
    clients=40,
    missed=50,
    few_in_memory=10,
    fan_out={1: 5, 8: 40, 64: 128},
    fan_out_seconds=0.2,
    idle=50,
    settling=0.05,
    open_loop_seconds=0.2,
    tenants=3,
    tenant_events={8: 40, 64: 128},
    alone=(10, 100),
    alone_events=40,
    agents=50,
    calls=20,
    queues=5,
    crowd=10,
)
"""Everything once, to see that it works. Its figures mean nothing."""
