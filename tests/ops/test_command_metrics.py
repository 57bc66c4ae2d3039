"""The metrics of commands: what has been accepted, refused, sent and closed."""

from __future__ import annotations

from metrics_world import samples_of

from callcenter_ws.commands.counters import CommandCounters
from callcenter_ws.ops.command_metrics import CommandMetrics
from callcenter_ws.ops.metrics import Metrics


def test_commands_are_counted_from_their_acceptance_to_their_outcome() -> None:
    counts = CommandCounters()
    counts.accepted["call.hangup"] = 3
    counts.refused["conflict"] = 1
    counts.closed = {("done", ""): 2, ("failed", "timeout"): 1}
    counts.late_outcomes, counts.dispatched, counts.in_flight = 4, 5, 6
    counts.seconds.observe(0.2)
    metrics = Metrics()
    metrics.add(CommandMetrics(counts))
    samples = samples_of(metrics.render())

    def value(name: str, **labels: str) -> float:
        return samples[f"callcenter_ws_{name}", tuple(sorted(labels.items()))]

    assert value("commands_accepted_total", kind="call.hangup") == 3
    # From the start, so that the first increase is seen.
    assert value("commands_accepted_total", kind="call.record") == 0
    assert (value("commands_refused_total", code="conflict"), value("commands_refused_total", code="no_source")) == (
        1,
        0,
    )
    outcomes = [value("commands_closed_total", outcome=code) for code in ("done", "timeout", "outcome_unknown")]
    assert outcomes == [2, 1, 0]
    assert value("command_outcomes_dropped_total") == 4
    assert (value("commands_dispatched_total"), value("commands_unanswered")) == (5, 6)
    assert value("command_seconds_count") == 1
