"""The settings of the demo: statistics with alerts, which a configuration may replace."""

from __future__ import annotations

from pathlib import Path

from callcenter_ws.config.alert_rules import check_alert
from callcenter_ws.config.command_rules import check_commands, check_destinations
from callcenter_ws.config.load import load
from callcenter_ws.config.settings import Settings
from callcenter_ws.demo.sample_data import QUEUES
from callcenter_ws.demo.settings import DEMO_TENANT, demo_settings
from callcenter_ws.demo.state import DemoState
from callcenter_ws.gateway.figure_plan import plan_of


def settings_of(tmp_path: Path, text: str = "") -> Settings:
    (tmp_path / "gw.toml").write_text(text)
    return demo_settings(load(tmp_path / "gw.toml", demo=True), DemoState(tmp_path, "http://127.0.0.1:8080/", "demo"))


def test_the_gateway_derives_the_statistics_of_its_tenant(tmp_path: Path) -> None:
    plan = plan_of(settings_of(tmp_path))
    assert plan.is_enabled("demo") and not plan.is_enabled("other")
    assert not any(plan.takes_producers("demo", queue) for queue in QUEUES)
    found = plan.of("demo")
    assert found is not None
    assert [rule.metric for rule in found.alerts] == ["longest_wait_time", "service_level"]


def test_chats_of_visitors_go_on_after_a_restart(tmp_path: Path) -> None:
    assert settings_of(tmp_path).public.session_key_file == tmp_path / "visitors.secret"
    (tmp_path / "own").write_text("k" * 32)
    (tmp_path / "own").chmod(0o600)
    named = settings_of(tmp_path, f'[public]\nsession_key_file = "{tmp_path}/own"\n')
    assert named.public.session_key_file == tmp_path / "own"


def test_its_rules_are_valid() -> None:
    assert [problem for rule in DEMO_TENANT.alerts for problem in check_alert(rule)] == []


def test_its_queues_are_destinations_unless_others_are_listed(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    assert {one.queue_name: one.destination for one in settings.commands.destinations} == QUEUES
    assert [*check_commands(settings), *check_destinations(settings)] == []
    listed = 'commands.destinations = [{ name = "Night desk", destination = "99" }]'
    assert [one.name for one in settings_of(tmp_path, listed).commands.destinations] == ["Night desk"]


def test_a_configuration_replaces_them(tmp_path: Path) -> None:
    plan = plan_of(settings_of(tmp_path, "[tenants.demo.statistics]\nenabled = false\n"))
    assert not plan.is_enabled("demo")
