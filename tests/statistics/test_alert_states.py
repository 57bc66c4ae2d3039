"""The states of alerts, second by second."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from callcenter_ws.statistics.alerts import Instance, is_active, is_due_again, step, step_out
from callcenter_ws.statistics.rules import AlertRule, Clear, Raise, Schedule

WAITS = AlertRule(
    name="waits", queues=("q",), metric="longest_wait_time", raise_=Raise(above=60, for_=15),
    clear=Clear(at_most=45, for_=10), repeat=30,
)  # fmt: skip


def transitions(rule: AlertRule, values: dict[int, float | None]) -> list[tuple[int, str]]:
    """Return when the phase changes, if each event is published at once."""
    instance, found = Instance(rule.name, "q"), []
    for second, value in values.items():
        before = instance.phase
        wish = step(instance, rule, second * 1000, value)
        if wish == "raised":
            instance.was_raised(instance.since, second * 1000, 0)
        if instance.phase != before:
            found.append((second, instance.phase))
        if wish == "cleared":
            instance.was_cleared(second * 1000)
            found.append((second, "cleared"))
    return found


def test_is_raised_once_and_cleared_once_with_hysteresis() -> None:
    wait = {second: float(second) if second < 80 else None for second in range(100)}
    wait |= {second: float(second - 100) if second < 170 else None for second in range(100, 200)}
    assert transitions(WAITS, wait) == [
        (61, "pending"), (76, "raised"), (80, "recovering"), (90, "cleared"), (161, "pending"), (170, "normal"),
    ]  # fmt: skip


def test_a_figure_without_a_value_does_as_the_rule_says() -> None:
    def of(no_data: str, values: list[float | None]) -> list[str]:
        rule = AlertRule(name="sl", metric="service_level", raise_=Raise(below=80), no_data=no_data)  # type: ignore[arg-type]
        return [phase for _, phase in transitions(rule, dict(enumerate(values)))]

    assert of("keep", [None, 70, None, None]) == ["raised"]
    assert of("clear", [None, 70, None]) == ["raised", "recovering", "cleared"]
    assert of("raise", [None]) == ["raised"]


def test_the_same_alert_has_the_same_identifiers_in_every_process() -> None:
    one, other = Instance("r", "q", since=5), Instance("r", "q", since=5, phase="raised")
    assert one.alert_id == other.alert_id
    ids = {one.event_id("raised"), one.event_id("raised", 1), one.event_id("cleared"), Instance("r", "q").alert_id}
    assert len(ids) == 4


def test_repeats_until_it_is_acknowledged() -> None:
    instance = Instance("waits", "q")
    instance.was_raised(0, 1000, 0)
    assert [is_due_again(instance, WAITS, second * 1000) for second in (30, 31)] == [False, True]
    instance.acknowledged = True
    assert not is_due_again(instance, WAITS, 31_000)


def test_a_schedule_over_midnight_keeps_to_the_clock_on_the_night_when_clocks_change() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    night = Schedule(days="sat", from_="22:00", to="03:00")
    start = datetime(2026, 10, 24, 20, tzinfo=ZoneInfo("UTC"))
    hours = [(start + timedelta(hours=hour)).astimezone(berlin) for hour in range(-1, 8)]
    # 22:00 to 03:00 is six hours that night, since the hour from two to three comes twice.
    assert [is_active(night, local) for local in hours] == [False, *[True] * 6, False, False]


def test_a_schedule_over_the_night_on_which_an_hour_is_missing() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    night = Schedule(days="sat", from_="22:00", to="03:00")
    start = datetime(2026, 3, 28, 21, tzinfo=ZoneInfo("UTC"))
    hours = [(start + timedelta(hours=hour)).astimezone(berlin) for hour in range(-1, 6)]
    # 22:00 to 03:00 is four hours that night, since there is no hour from two to three.
    assert [is_active(night, local) for local in hours] == [False, *[True] * 4, False, False]


def test_an_alert_whose_rule_is_not_evaluated_ends() -> None:
    pending, raised = Instance("r", "q", phase="pending"), Instance("r", "q", phase="recovering")
    assert (step_out(pending, 1), pending.phase) == (None, "normal")
    assert (step_out(raised, 1), raised.phase) == ("cleared", "recovering")
