"""The tenants of calls, queues, members and agents."""

from __future__ import annotations

import pytest

from callcenter_ws.bridge.settings import TenantRule
from callcenter_ws.bridge.tenants import CallOrigin, TenantRules, named_values

BY_VARIABLE = TenantRule(tenant="initech", variable="TENANT=ini.*")
BY_ACCOUNT = TenantRule(tenant="globex", account_code="globex")
BY_CONTEXT = TenantRule(tenant="globex", context="from-trunk-globex|globex-.*")
BY_QUEUE = TenantRule(tenant="globex", queue="globex-")
BY_DOMAIN = TenantRule(tenant="hooli", domain=r"hooli\.example")
BY_DEVICE = TenantRule(tenant="globex", device="PJSIP/204")


def test_without_rules_everything_is_of_the_default() -> None:
    rules = TenantRules((), "acme")
    found = {
        rules.decide(CallOrigin()),
        rules.conclude(CallOrigin(), "c"),
        rules.of_queue("support"),
        rules.of_member("support", "PJSIP/201"),
        rules.of_agent("PJSIP/201"),
    }
    assert (found, rules.of_device("PJSIP/201"), rules.unmatched) == ({"acme"}, "", {})


@pytest.mark.parametrize(
    ("rule", "origin"),
    [
        (BY_ACCOUNT, CallOrigin(account_code="globex")),
        (BY_CONTEXT, CallOrigin(context="from-trunk-globex")),
        (BY_CONTEXT, CallOrigin(context="globex-in")),
        (BY_QUEUE, CallOrigin(queue="globex-desk")),
        (BY_DEVICE, CallOrigin(device="PJSIP/204")),
        (BY_DOMAIN, CallOrigin(queue="support@hooli.example")),
        (BY_VARIABLE, CallOrigin(variables={"TENANT": "initech"})),
    ],
)
def test_each_key_of_a_rule_matches(rule: TenantRule, origin: CallOrigin) -> None:
    assert TenantRules((rule,), "acme").decide(origin) == rule.tenant


@pytest.mark.parametrize(
    ("rule", "origin"),
    [
        (BY_ACCOUNT, CallOrigin(account_code="globex2")),
        (BY_CONTEXT, CallOrigin(context="from-trunk-globex-2")),
        (BY_QUEUE, CallOrigin(queue="my-globex-desk")),
        (BY_DEVICE, CallOrigin(device="PJSIP/2041")),
        (BY_DOMAIN, CallOrigin(queue="support@hooli.example.org")),
        (BY_VARIABLE, CallOrigin(variables={"TENANT": "acme"})),
    ],
)
def test_what_does_not_match_is_of_the_default(rule: TenantRule, origin: CallOrigin) -> None:
    assert TenantRules((rule,), "acme").decide(origin) == "acme"


@pytest.mark.parametrize("rule", [BY_ACCOUNT, BY_CONTEXT, BY_QUEUE, BY_DEVICE, BY_DOMAIN, BY_VARIABLE])
def test_a_call_is_undecided_while_a_rule_may_still_match(rule: TenantRule) -> None:
    rules = TenantRules((rule,), "acme")
    assert (rules.decide(CallOrigin()), rules.conclude(CallOrigin(), "c")) == (None, "acme")


def test_a_later_rule_waits_for_an_earlier_one() -> None:
    rules = TenantRules((BY_QUEUE, TenantRule(tenant="acme", account_code="acme")), "")
    found = [
        rules.decide(CallOrigin(account_code="acme")),
        rules.decide(CallOrigin(account_code="acme", queue="globex-desk")),
        rules.decide(CallOrigin(account_code="acme", queue="support")),
    ]
    assert found == [None, "globex", "acme"]


def test_each_key_of_a_rule_must_match() -> None:
    rules = TenantRules((TenantRule(tenant="globex", context="in", account_code="g", queue="q"),), "")
    found = [
        rules.conclude(CallOrigin(context="in", account_code="g", queue="q1"), "c"),
        rules.conclude(CallOrigin(context="in", account_code="x", queue="q1"), "c"),
        rules.conclude(CallOrigin(context="in", account_code="g"), "c"),
    ]
    assert found == ["globex", "", ""]


def test_members_go_by_queue_then_by_device_then_by_default() -> None:
    rules = TenantRules((TenantRule(tenant="hooli", device="PJSIP/20[1-4]"), BY_QUEUE), "acme")
    found = [
        rules.of_member("globex-desk", "PJSIP/204"),
        rules.of_member("support", "PJSIP/204"),
        rules.of_member("support", "PJSIP/205"),
    ]
    assert found == ["globex", "hooli", "acme"]


def test_rules_of_calls_do_not_touch_queues_and_devices() -> None:
    both = TenantRule(tenant="globex", account_code="globex", queue="globex-", device="PJSIP/204")
    rules = TenantRules((BY_ACCOUNT, BY_CONTEXT, both), "acme")
    assert [rules.of_queue("globex-desk"), rules.of_agent("PJSIP/204")] == ["acme", "acme"]


def test_a_rule_of_queue_and_device_is_for_members_with_both() -> None:
    rules = TenantRules((TenantRule(tenant="globex", queue="support", device="PJSIP/204"),), "acme")
    found = [
        rules.of_member("support", "PJSIP/204"),
        rules.of_member("support", "PJSIP/201"),
        rules.of_queue("support"),
        rules.of_device("PJSIP/204"),
    ]
    assert found == ["globex", "acme", "acme", ""]


def test_what_has_no_tenant_is_counted_and_reported() -> None:
    reported: list[tuple[str, str]] = []
    rules = TenantRules((BY_QUEUE,), "", lambda kind, name: reported.append((kind, name)))
    for _ in range(2):
        assert rules.of_queue("support") == rules.conclude(CallOrigin(), "1.2") == ""
    assert rules.of_member("support", "PJSIP/1") == rules.of_agent("PJSIP/1") == ""
    assert reported == [("queue", "support"), ("call", "1.2")] * 2 + [("member", "support"), ("agent", "PJSIP/1")]
    assert rules.unmatched == {"queue": 2, "call": 2, "member": 1, "agent": 1}


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callcenter_ws.bridge.tenants._MAX_CACHED", 2)
    rules = TenantRules((BY_QUEUE,), "acme")
    assert {rules.of_queue(f"globex-{number}") for number in range(9)} == {"globex"}
    assert len(rules._cache) <= 2


@pytest.mark.parametrize("variable", ["TENANT", "=acme", "TENANT=("])
def test_a_bad_rule_is_refused(variable: str) -> None:
    with pytest.raises(ValueError, match=r"NAME=PATTERN|regular"):
        TenantRules((TenantRule(tenant="acme", variable=variable),), "")


def test_a_rule_without_patterns_is_refused() -> None:
    with pytest.raises(ValueError, match="no pattern"):
        TenantRules((TenantRule(tenant="acme"),), "")


def test_wanted_variables() -> None:
    rules = TenantRules((BY_VARIABLE, BY_ACCOUNT), "")
    assert rules.variables == {"TENANT"}
    assert named_values(("TENANT=a=b", "OTHER=c", "bad"), rules.variables) == {"TENANT": "a=b"}
