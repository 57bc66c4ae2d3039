"""Allow-lists of origins."""

from __future__ import annotations

import pytest

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.ws.origin import OriginList, OriginPolicy, PublicTenant, WebOrigin

LIST = OriginList(["https://app.example", "http://localhost:3000", "https://*.wild.example"])


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example",
        "https://app.example:443",
        "HTTPS://App.Example",
        "http://localhost:3000",
        "https://a.wild.example",
        "https://a.b.wild.example",
    ],
)
def test_listed(origin: str) -> None:
    assert LIST.allows(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "http://app.example",
        "https://app.example:8443",
        "https://app.example.evil.example",
        "https://evilapp.example",
        "https://wild.example",
        "https://evilwild.example",
        "http://localhost",
        "http://localhost:30000",
        "null",
        "",
        "app.example",
        "//app.example",
        "https://",
        "https://app.example/path",
        "file:///etc",
        "https://[::1",
        "ÿ",
        "https://app.example:99999",
        "https://app.example:x",
        "https://a.wild.example:8443",
        "http://a.wild.example",
    ],
)
def test_not_listed(origin: str) -> None:
    assert not LIST.allows(origin)


@pytest.mark.parametrize("text", ["null", "*", "https://", "app.example", "ftp://app.example", "https://a.example/x"])
def test_not_an_origin(text: str) -> None:
    with pytest.raises(ValueError, match="not an origin"):
        WebOrigin.parse(text)


POLICY = OriginPolicy(
    OriginList(["https://app.example"]),
    {
        "acme": PublicTenant(OriginList(["https://shop.example", "https://both.example"]), True),
        "globex": PublicTenant(OriginList(["https://globex.example", "https://both.example"]), False),
        "initech": PublicTenant(OriginList(["https://initech.example"]), True),
    },
)


@pytest.mark.parametrize("origin", [None, "https://app.example"])
def test_staff_may_connect_from_listed_origins_or_without_origin(origin: str | None) -> None:
    POLICY.check_staff(origin)


@pytest.mark.parametrize("origin", ["https://shop.example", "null", "https://evil.example"])
def test_staff_may_not_connect_from_other_origins(origin: str) -> None:
    with pytest.raises(Refusal) as caught:
        POLICY.check_staff(origin)
    assert caught.value.code is ErrorCode.FORBIDDEN


def test_the_origin_of_any_tenant_passes_the_first_check() -> None:
    for origin in (None, "https://shop.example", "https://globex.example", "https://app.example"):
        POLICY.check_public(origin)
    for origin in ("null", "https://evil.example"):
        with pytest.raises(Refusal):
            POLICY.check_public(origin)


def test_a_visitor_may_connect_from_an_origin_of_its_tenant_only() -> None:
    POLICY.check_visitor("acme", "https://shop.example")
    POLICY.check_visitor("nobody", None)
    for tenant_id, origin in (("acme", "https://globex.example"), ("nobody", "https://shop.example"), ("acme", "null")):
        with pytest.raises(Refusal):
            POLICY.check_visitor(tenant_id, origin)


@pytest.mark.parametrize(
    ("tenant_id", "origin", "tenant"),
    [
        ("acme", None, "acme"),
        ("acme", "https://globex.example", "acme"),  # check_visitor then refuses the page
        (None, "https://shop.example", "acme"),
        (None, "https://initech.example", "initech"),
        (None, "https://both.example", None),
        (None, "https://globex.example", None),
        (None, None, None),
        ("globex", None, None),
        ("nobody", "https://shop.example", None),
        ("", "https://shop.example", None),
        ("*", None, None),
    ],
)
def test_the_tenant_of_an_anonymous_visitor(tenant_id: str | None, origin: str | None, tenant: str | None) -> None:
    assert POLICY.anonymous_tenant(tenant_id, origin) == tenant


def test_a_cookie_requires_a_listed_origin() -> None:
    assert POLICY.is_listed("https://app.example")
    assert not any(map(POLICY.is_listed, (None, "null", "https://shop.example")))
