"""Allow-lists of origins."""

from __future__ import annotations

import pytest

from callcenter_ws.config.validators import origin as origin_setting
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.runtime.web_origin import OriginList, WebOrigin, is_own_origin
from callcenter_ws.ws.origin import OriginPolicy, PublicTenant

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


APPS = [
    "capacitor://localhost",
    "ionic://localhost",
    "tauri://localhost",
    "app://.",
    "file://",
    "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
    "moz-extension://2c127fa4-62c7-7e4f-90e5-472b45eecfdc",
    "http://localhost",
    "http://localhost:8100",
    "https://localhost",
]


@pytest.mark.parametrize("app", APPS)
def test_the_origin_of_an_app_is_compared_exactly(app: str) -> None:
    """What the settings accept is what the server compares with."""
    listed = OriginList([origin_setting(app)])
    assert listed.allows(app)
    others = [*APPS, f"{app}x", f"{app}.evil.example", f"{app}/", f"{app}:1", "null", "file:///", "app://..", "app://"]
    assert not any(listed.allows(other) for other in others if other != app)


def test_app_hosts_differ_by_case_and_schemes_do_not() -> None:
    listed = OriginList(["app://Main"])
    assert listed.allows("APP://Main")
    assert not listed.allows("app://main")


@pytest.mark.parametrize(
    "text",
    [
        *("javascript://x", "data://x", "blob://x", "about://blank", "ws://a.example", "wss://a.example", "app://"),
        *("app://a/b", "app://a?b", "app://u@a", "app://*", "app://*.a", "app://a b", "app://a,b", "1app://a", "://a"),
        *("app://ä", "http://", "file:///x", "app://" + "x" * 300, "capacitor:localhost", "app://a\nb"),
    ],
)
def test_what_no_app_has_is_not_an_origin(text: str) -> None:
    with pytest.raises(ValueError, match="not an origin"):
        WebOrigin.parse(text)
    with pytest.raises(ValueError, match=r"not an origin|every web site"):
        origin_setting(text)


@pytest.mark.parametrize(
    ("origin", "host", "is_encrypted", "own"),
    [
        ("http://gw.example", "gw.example", False, True),
        ("http://gw.example:8080", "gw.example:8080", False, True),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", False, True),
        ("http://[::1]:8080", "[::1]:8080", False, True),
        ("https://gw.example", "GW.example:443", True, True),
        # A proxy ends TLS and does not say so.
        ("https://gw.example", "gw.example", False, True),
        # What was served without encryption is not the encrypted site.
        ("http://gw.example", "gw.example", True, False),
        ("http://gw.example", "gw.example:8080", False, False),
        ("http://gw.example:8080", "gw.example", False, False),
        ("https://gw.example.evil", "gw.example", True, False),
        ("https://gw.example", "evil.example", True, False),
        ("null", "null", False, False),
        ("file://", "", False, False),
        ("app://gw.example", "gw.example", False, False),
        ("https://*.gw.example", "*.gw.example", True, False),
        ("https://gw.example", "gw.example/x", True, False),
    ],
)
def test_own_origin(origin: str, host: str, is_encrypted: bool, own: bool) -> None:
    assert is_own_origin(origin, host, is_encrypted=is_encrypted) is own


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
    assert ("is null" if origin == "null" else f"'{origin}' is not listed in web.allowed_origins") in (
        caught.value.message
    )


def test_a_refused_origin_is_shown_printable_and_shortened() -> None:
    with pytest.raises(Refusal) as caught:
        POLICY.check_public("https://\x1b[31m\u202e" + "x" * 8000)
    assert caught.value.message.isprintable() and caught.value.message.isascii()
    assert len(caught.value.message) < 250
    assert "public.tenants.TENANT.origins" in caught.value.message


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
