"""The settings of tenants: every problem with its path, all at once, and the plan that follows from valid ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from callcenter_ws.config.load import load
from callcenter_ws.config.settings import Settings
from callcenter_ws.config.tenant_settings import Method
from callcenter_ws.config.wallboards import Thresholds, WaitingLimits
from callcenter_ws.figures.plan import TenantPlan
from callcenter_ws.gateway.figure_plan import plan_of
from callcenter_ws.runtime.setting_problems import ConfigError
from callcenter_ws.statistics.service_level import METHODS

ETC_FILE = Path(__file__).parent.parent / "etc" / "callcenter-ws.toml"
SECRET = "a key of a webhook of more than 32 bytes"

ALERT = """
    [[tenants.acme.alerts]]
    name = "sales waits"
    queues = ["sales"]
    metric = "longest_wait_time"
    raise = { above = 60, for = 15 }
    clear = { at_most = 45, for = 10 }
"""
HOOK = """
    [[tenants.acme.webhooks]]
    name = "duty"
    url = "https://duty.example/x?key=hidden"
    secret_file = "hook.secret"
"""
SOURCE = """
    [[tenants.acme.alerts]]
    name = "pbx is down"
    source = "pbx1"
"""

BOARD = """
    [[tenants.acme.wallboards]]
    name = "floor"
    title = "Sales floor"
    queues = ["sales", "support"]
    figures = ["waiting", "agents"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in (("hook.secret", SECRET), ("short.secret", "short")):
        (tmp_path / name).write_text(content + "\n")
        (tmp_path / name).chmod(0o600)
    return tmp_path


def read(folder: Path, text: str) -> Settings:
    (folder / "gw.toml").write_text(text)
    return load(folder / "gw.toml", demo=True)


def problems(folder: Path, text: str) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    assert {problem.source for problem in caught.value.problems} == {str(folder / "gw.toml")}
    return [(problem.key, problem.reason) for problem in caught.value.problems]


RULE = 'tenants.acme.alerts[1] "sales waits"'
WEBHOOK = 'tenants.acme.webhooks[1] "duty"'
WALLBOARD = 'tenants.acme.wallboards[1] "floor"'

WRONG = [
    ("", "tenants = 1", "tenants", "written as [tenants]"),
    ("", "tenants.acme = 1", "tenants.acme", "expected a table"),
    ("", 'tenants."*".alerts = []', 'tenants."*"', "cannot be the name of a tenant"),
    ("", "tenants.acme.alert = []", "tenants.acme.alert", "did you mean alerts?"),
    ("", "tenants.acme.alerts = {}", "tenants.acme.alerts", "expected a list"),
    ("", "tenants.acme.statistics.enabled = 1", "tenants.acme.statistics.enabled", "expected true or false"),
    ("", 'statistics.time_zone = "Europe/Berln"', "statistics.time_zone", "did you mean Europe/Berlin?"),
    ("", 'statistics.time_zone = "../etc"', "statistics.time_zone", "write an IANA name"),
    ("", "statistics.interval_minutes = 20", "statistics.interval_minutes", "expected 15 or 30 or 60"),
    (
        "",
        'tenants."a b".statistics.time_zone = "Europe/Berln"',
        'tenants."a b".statistics.time_zone',
        "did you mean Europe/Berlin?",
    ),
    (
        "",
        "tenants.acme.statistics.queues.sales.service_level_seconds = 0",
        "tenants.acme.statistics.queues.sales.service_level_seconds",
        "out of range: 1 to 3600",
    ),
    (
        "",
        'tenants.acme.statistics.service_level_method = "asterisk2"',
        "tenants.acme.statistics.service_level_method",
        'did you mean "asterisk_2"?',
    ),
    (
        "",
        'tenants.acme.statistics.queues.sales.time_zone = "UTC"',
        "tenants.acme.statistics.queues.sales.time_zone",
        "there is no such field",
    ),
    (ALERT, "severity = 1", f"{RULE}.severity", 'expected "info" or "warning" or "critical"'),
    (ALERT, "repeat = -1", f"{RULE}.repeat", "out of range"),
    (ALERT, "repeat = 5", f"{RULE}.repeat", "too short"),
    (ALERT, 'window = "today"', f"{RULE}.window", "a value of this moment only"),
    (ALERT, "min_offered = 10", f"{RULE}.min_offered", "is for ratios"),
    (ALERT, 'schedule = { days = "mon-fry" }', f"{RULE}.schedule.days", "is not written as"),
    (ALERT, 'schedule = { from = "8:00" }', f"{RULE}.schedule.from", "is not a time of day"),
    (ALERT, 'schedule = { from = "08:00", to = "08:00" }', f"{RULE}.schedule.to", "the same time as from"),
    (HOOK, 'events = ["call.*"]', f"{WEBHOOK}.events", "no pattern of queue.alert.* or statistics.*"),
    (HOOK, "events = []", f"{WEBHOOK}.events", "lists no pattern"),
    (HOOK, 'allow_hosts = ["https://x"]', f"{WEBHOOK}.allow_hosts", "not the name of a host"),
    (BOARD, "rows = 7", f"{WALLBOARD}.rows", "7 is out of range: 1 to 6"),
    (BOARD, "page_seconds = 4", f"{WALLBOARD}.page_seconds", "4 is out of range: 5 to 120"),
    (BOARD, 'theme = "drak"', f"{WALLBOARD}.theme", 'did you mean "dark"?'),
    (BOARD, "chart = 1", f"{WALLBOARD}.chart", "expected true or false"),
    (BOARD, "columns = 3", f"{WALLBOARD}.columns", "there is no such field"),
    (BOARD, "thresholds = 1", f"{WALLBOARD}.thresholds", "expected a table"),
    (BOARD, "thresholds.wait = {}", f"{WALLBOARD}.thresholds.wait", "did you mean waiting?"),
    (
        BOARD,
        "thresholds.waiting = { warning = 12 }",
        f"{WALLBOARD}.thresholds.waiting.breach",
        "10 is below warning = 12: the warning would never be shown",
    ),
    (
        BOARD,
        "thresholds.service_level = { breach = 101 }",
        f"{WALLBOARD}.thresholds.service_level.breach",
        "out of range: 0 to 100",
    ),
    (SOURCE, 'queues = ["sales"]', 'tenants.acme.alerts[1] "pbx is down".queues', "does not apply"),
    (SOURCE, "clear = { at_most = 1 }", 'tenants.acme.alerts[1] "pbx is down".clear.at_most', "does not apply"),
]


@pytest.mark.parametrize(("before", "line", "key", "reason"), WRONG)
def test_a_problem_has_its_path(folder: Path, before: str, line: str, key: str, reason: str) -> None:
    (found,) = problems(folder, f"{before}\n{line}\n")
    assert found[0] == key
    assert reason in found[1]


REPLACED = [
    (ALERT, 'name = "sales waits"', 'name = ""', 'tenants.acme.alerts[1] "".name', "is not a name of"),
    (ALERT, 'name = "sales waits"', "", "tenants.acme.alerts[1].name", "is missing"),
    (ALERT, '["sales"]', "[]", f"{RULE}.queues", "lists no queue"),
    (ALERT, '["sales"]', '["*", "sales"]', f"{RULE}.queues", "stands for all queues"),
    (ALERT, '"longest_wait_time"', '"longest_wait"', f"{RULE}.metric", "did you mean longest_wait_time?"),
    (ALERT, '"longest_wait_time"', '"service_level"', f"{RULE}.window", "service_level needs a window"),
    (ALERT, "at_most = 45", "at_most = 61", f"{RULE}.clear.at_most", "61 is above raise.above = 60"),
    (ALERT, "at_most = 45", "at_least = 45", f"{RULE}.clear.at_least", "write at_most"),
    (ALERT, "above = 60", "below = 60", f"{RULE}.clear.at_most", "write at_least"),
    (ALERT, "above = 60,", "above = 60, below = 3,", f"{RULE}.raise", "needs either above or below, not both"),
    (ALERT, "above = 60,", "", f"{RULE}.raise", "needs either above or below"),
    (ALERT, "above = 60", "above = nan", f"{RULE}.raise.above", "is no number"),
    (ALERT, "above = 60", "abov = 60", f"{RULE}.raise.abov", "did you mean above?"),
    (ALERT, "for = 15", "for = 90000", f"{RULE}.raise.for", "out of range"),
    (HOOK, "https", "http", f"{WEBHOOK}.url", "is not an https:// URL"),
    (HOOK, "https://", "https://user:pw@", f"{WEBHOOK}.url", "must not contain a user name or password"),
    (HOOK, "duty.example", "duty..example", f"{WEBHOOK}.url", "does not name a host"),
    (HOOK, "duty.example", "2130706433", f"{WEBHOOK}.url", "does not name a host"),
    (HOOK, "duty.example", "0x7f.1", f"{WEBHOOK}.url", "does not name a host"),
    (HOOK, "duty.example/", "duty.example:99999/", f"{WEBHOOK}.url", "is not a URL"),
    (HOOK, "hidden", "hidden#part", f"{WEBHOOK}.url", "must not have a fragment"),
    (HOOK, '"hook.secret"', '"short.secret"', f"{WEBHOOK}.secret_file", "it requires at least 32"),
    (HOOK, '"hook.secret"', '"no.secret"', f"{WEBHOOK}.secret_file", "cannot read the file with the secret"),
    (BOARD, 'name = "floor"', "", "tenants.acme.wallboards[1].name", "is missing"),
    (BOARD, '"floor"', '"first floor"', 'tenants.acme.wallboards[1] "first floor".name', "is not a name of"),
    (BOARD, '"Sales floor"', '"Sales\\nfloor"', f"{WALLBOARD}.title", "at most 100 printable characters"),
    (BOARD, '"sales", ', '"", ', f"{WALLBOARD}.queues", "cannot be the name of a queue"),
    (BOARD, '"sales", ', '"support", ', f"{WALLBOARD}.queues", "lists 'support' 2 times"),
    (BOARD, '"agents"]', '"waiting"]', f"{WALLBOARD}.figures", "lists 'waiting' 2 times"),
    (BOARD, '["waiting", "agents"]', "[]", f"{WALLBOARD}.figures", "lists 0 figures; write 1 to 6"),
    (BOARD, '"agents"', '"service_level"', f"{WALLBOARD}.figures[2]", 'did you mean "service_level_30m"?'),
    (HOOK, '"duty"', '"on duty"', 'tenants.acme.webhooks[1] "on duty".name', "is not a name of"),
]


@pytest.mark.parametrize(("text", "old", "new", "key", "reason"), REPLACED)
def test_a_wrong_value_has_its_path(folder: Path, text: str, old: str, new: str, key: str, reason: str) -> None:
    assert old in text
    found = dict(problems(folder, text.replace(old, new)))
    assert reason in found[key]
    assert "hidden" not in str(found)


def test_a_limit_below_has_its_good_side_above(folder: Path) -> None:
    rule = ALERT.replace("above = 60", "below = 3").replace("at_most = 45", "at_least = {}")
    ((key, reason),) = problems(folder, rule.replace("{}", "2"))
    assert (key, "2 is below raise.below = 3" in reason) == (f"{RULE}.clear.at_least", True)
    assert read(folder, rule.replace("{}", "3")).tenants.by_name["acme"].alerts[0].clear.at_least == 3


def test_names_are_unique(folder: Path) -> None:
    assert problems(folder, ALERT + ALERT) == [
        ("tenants.acme.alerts", "2 of them have the name 'sales waits'; each needs its own")
    ]
    assert problems(folder, HOOK + HOOK) == [
        ("tenants.acme.webhooks", "2 of them have the name 'duty'; each needs its own")
    ]
    assert problems(folder, BOARD + BOARD) == [
        ("tenants.acme.wallboards", "2 of them have the name 'floor'; each needs its own")
    ]


def test_numbers_of_entries_are_bounded(folder: Path) -> None:
    alerts = "".join(ALERT.replace("sales waits", f"rule {number}") for number in range(201))
    assert problems(folder, alerts) == [("tenants.acme.alerts", "has 201 entries; at most 200 are allowed")]
    boards = "".join(BOARD.replace("floor", f"floor-{number}") for number in range(101))
    assert problems(folder, boards) == [("tenants.acme.wallboards", "has 101 entries; at most 100 are allowed")]
    queues = ", ".join(f'"{number}"' for number in range(201))
    assert problems(folder, BOARD.replace('"sales", "support"', queues)) == [
        (f"{WALLBOARD}.queues", "lists 201 queues; at most 200 are allowed")
    ]


def test_all_problems_are_reported_together(folder: Path) -> None:
    text = ALERT.replace("45", "61") + HOOK.replace("https", "ftp") + "[tenants.b.statistics]\nenable = true\n"
    assert [key for key, _ in problems(folder, "statistics.lease = 1\n" + text)] == [
        "statistics.lease",
        f"{RULE}.clear.at_most",
        f"{WEBHOOK}.url",
        "tenants.b.statistics.enable",
    ]


def test_the_environment_sets_all_tenants_at_once(folder: Path) -> None:
    variable = {"CALLCENTER_WS_TENANTS__BY_NAME": "{acme = {statistics = {enabled = true}}}"}
    loaded = load(None, environ=variable, overrides=["statistics.interval_minutes=60"], demo=True, folder=folder)
    assert plan_of(loaded).of("acme") == TenantPlan(interval_minutes=60)
    with pytest.raises(ConfigError, match="all tenants are set together"):
        load(None, overrides=["tenants.acme.alerts=[]"], demo=True, folder=folder)


def test_warnings(folder: Path) -> None:
    loaded = read(folder, ALERT + HOOK)
    assert [warning.partition(": ")[2] for warning in loaded.warnings] == [
        "tenants.acme.alerts: have no effect: the statistics of this tenant are not enabled",
        "tenants.acme.webhooks: have no effect: the statistics of this tenant are not enabled",
    ]
    (warning,) = read(folder, "statistics.enabled = true\nstore.url = 'memory:'").warnings
    assert "with the store memory: all figures end with the process" in warning
    (warning,) = read(folder, "statistics.enabled = true\n" + HOOK).warnings
    assert "tenants.acme.webhooks: send no alerts: the tenant has none" in warning
    (warning,) = read(folder, BOARD).warnings
    assert "tenants.acme.wallboards: show no service levels" in warning
    assert not read(folder, "statistics.enabled = true\n" + BOARD).warnings
    (warning,) = read(folder, "archive.folder = 'x'").warnings
    assert "archive.folder: has no effect" in warning
    for host in ("10.0.0.1", "localhost", "[::1]"):
        inner = "statistics.enabled = true\n" + ALERT + HOOK.replace("duty.example", host)
        (warning,) = read(folder, inner).warnings
        assert f"{WEBHOOK}.url: its host has an address that is not of the internet" in warning
        assert "hidden" not in warning
        assert not read(folder, f'{inner}allow_hosts = ["{host.strip("[]")}"]').warnings
    (folder / "hook.secret").chmod(0o644)
    (warning,) = read(folder, "statistics.enabled = true\n" + ALERT + HOOK).warnings
    assert f"{WEBHOOK}.secret_file: every user of this machine can read" in warning


def test_the_plan(folder: Path) -> None:
    settings = read(
        folder,
        """
        [statistics]
        enabled = true
        service_level_seconds = 30
        [archive]
        folder = "archive"
        [tenants.off.statistics]
        enabled = false
        [tenants.acme.statistics]
        time_zone = "Europe/Berlin"
        short_abandon_seconds = 0
        queue_stats = "producer"
        retention_days = 90
        [tenants.acme.statistics.queues.sales]
        service_level_seconds = 10.5
        queue_stats = "derived"
        [tenants.acme.statistics.queues."24 h"]
        service_level_target = 0
        """
        + ALERT
        + SOURCE
        + HOOK,
    )
    plan = plan_of(settings)
    assert settings.warnings == ()
    assert (plan.archive_folder, plan.archive_days) == (folder / "archive", 365)
    assert not plan.is_enabled("off")
    assert plan.takes_producers("off", "sales")
    other, acme = plan.of("other"), plan.of("acme")
    assert other is not None
    assert acme is not None
    assert not plan.takes_producers("other", "sales")
    assert plan.takes_producers("acme", "support")
    assert not plan.takes_producers("acme", "sales")
    assert (other.settings.tenant.service_level_ms, other.retention_days, acme.retention_days) == (30_000, 30, 90)
    tenant, queues = acme.settings.tenant, acme.settings.queues
    assert (tenant.time_zone, tenant.service_level_ms, tenant.short_abandon_ms) == ("Europe/Berlin", 30_000, 0)
    assert {name: (one.service_level_ms, one.service_level_target) for name, one in queues.items()} == {
        "sales": (10_500, 80),
        "24 h": (30_000, 0),
    }
    assert all(one.time_zone == "Europe/Berlin" and one.short_abandon_ms == 0 for one in queues.values())
    assert [(rule.name, rule.raise_.above, rule.raise_.for_, rule.source) for rule in acme.alerts] == [
        ("sales waits", 60, 15, None),
        ("pbx is down", None, 0, "pbx1"),
    ]
    (hook,) = acme.webhooks
    assert (hook.name, hook.secret, hook.events) == ("duty", SECRET.encode(), ("queue.alert.*",))
    assert SECRET not in repr(plan)


def test_without_settings_no_tenant_has_statistics() -> None:
    plan = plan_of(Settings())
    assert plan.of("acme") is None
    assert plan.takes_producers("acme", "sales")


def test_the_methods_are_those_of_the_fold() -> None:
    assert set(get_args(Method)) == METHODS.keys()


def test_the_tenant_in_comments_of_the_etc_file_is_valid(folder: Path) -> None:
    (folder / "webhook.secret").write_text(SECRET)
    (folder / "webhook.secret").chmod(0o600)
    text = ETC_FILE.read_text().partition("\n[tenants]\n")[2].partition("\n[control]\n")[0]
    lines = re.findall(r"^# (\[.*|[a-z_.]+ = .*)$", text, re.MULTILINE)
    acme = read(folder, "\n".join(lines)).tenants.by_name["acme"]
    assert acme.statistics.enabled
    assert (len(acme.alerts), len(acme.webhooks), list(acme.statistics.queues)) == (1, 1, ["sales"])
    assert [board.name for board in acme.wallboards] == ["floor"]
    assert acme.commands.route == {"agent.state.set": "pbx1", "call.*": "pbx2"}


def test_limits_that_are_not_given_have_their_defaults(folder: Path) -> None:
    (board,) = read(folder, BOARD + "thresholds.waiting = { breach = 20 }").tenants.by_name["acme"].wallboards
    assert board.thresholds == Thresholds(waiting=WaitingLimits(warning=5, breach=20))
    assert (board.rows, board.page_seconds, board.theme, board.chart) == (6, 12, "dark", True)
