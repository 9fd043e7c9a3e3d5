"""Authentication, roles and CSRF checks of the console, without a browser."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import Any

import azure.functions as func
import pytest
from itsdangerous import TimestampSigner

from devstack.state import ROOT
from pipeline.console import auth
from pipeline.console.auth import COOKIE_NAME, PRINCIPAL_HEADER, Principal
from pipeline.console.dispatch import console_of
from pipeline.settings import PLATFORM_AUTH_VARIABLE, Settings
from tests.api.client import call
from tests.console.client import http_request, text_of
from tests.memory import open_in_memory

SECRET = b"s" * 32
OTHER_SECRET = b"o" * 32
HOURS = 2


def settings(access: str, **values: Any) -> Settings:
    values = {"console_session_hours": HOURS, **values}
    return Settings(pool_endpoint="http://127.0.0.1:1", console_access=access, **values)  # type: ignore[arg-type]


def request(host: str = "app.example", **headers: str) -> func.HttpRequest:
    all_headers = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return func.HttpRequest("GET", f"https://{host}/api/console", headers=all_headers, body=b"")


def principal_header(*roles: str, name: str = "kim@example.org", claim: str = "roles") -> str:
    claims = [{"typ": "preferred_username", "val": name}, *({"typ": claim, "val": role} for role in roles)]
    return base64.b64encode(json.dumps({"auth_typ": "aad", "claims": claims}).encode()).decode()


@pytest.mark.parametrize("host", ["127.0.0.1:7071", "localhost", "[::1]:80"])
def test_open_access_accepts_loopback_hosts(host: str) -> None:
    principal = auth.authenticate(request(host), settings("open"), SECRET)
    assert principal
    assert principal.may_write


@pytest.mark.parametrize("host", ["app.example", "evil.example:7071", "127.0.0.1.evil.example", ""])
def test_open_access_rejects_other_hosts(host: str) -> None:
    assert auth.authenticate(request(host), settings("open"), SECRET) is None


@pytest.mark.parametrize("role", ["read", "write"])
def test_a_signed_cookie_gives_its_role(role: Any) -> None:
    value = auth.sign_cookie(role, SECRET)
    principal = auth.authenticate(request(cookie=f"other=1; {COOKIE_NAME}={value}"), settings("keys"), SECRET)
    assert principal
    assert (principal.role, principal.may_write) == (role, role == "write")


@pytest.mark.parametrize(
    "other", ['a={"x":1}', "a=b c", "flag", "u=naïve", f"{COOKIE_NAME}=stale", f"{COOKIE_NAME}=a.b.c.d", "=", ";;"]
)
@pytest.mark.parametrize("order", ["{other}; {own}", "{own}; {other}", "{other},{own}"])
def test_other_cookies_do_not_prevent_a_sign_in(other: str, order: str) -> None:
    header = order.format(other=other, own=f"{COOKIE_NAME}={auth.sign_cookie('read', SECRET)}")
    assert auth.authenticate(request(cookie=header), settings("keys"), SECRET)


def invalid_cookies() -> dict[str, str]:
    """Return cookies that must be rejected, by their flaw."""
    payload, time, signature = auth.sign_cookie("read", SECRET).split(".")
    writer, _, _ = auth.sign_cookie("write", OTHER_SECRET).split(".")
    later = auth.sign_cookie("read", OTHER_SECRET).split(".")[1]
    return {
        "another role": f"{writer}.{time}.{signature}",
        "another time": f"{payload}.{later[:-1]}x.{signature}",
        "another secret": auth.sign_cookie("write", OTHER_SECRET),
        "a CSRF token as signature": f"x.{auth.csrf_token(Principal('read', '', 'x'), SECRET)}",
        "no signature": f"{payload}.{time}",
        "empty": "",
        "not ASCII": "schlüssel.ü",
        "dots only": "...",
    }


@pytest.mark.parametrize("flaw", invalid_cookies())
def test_an_invalid_cookie_is_rejected(flaw: str) -> None:
    cookie = f"{COOKIE_NAME}={invalid_cookies()[flaw]}"
    assert auth.authenticate(request(cookie=cookie), settings("keys"), SECRET) is None


@pytest.mark.parametrize(("age_seconds", "is_valid"), [(HOURS * 3600 - 10, True), (HOURS * 3600 + 10, False)])
def test_a_cookie_expires(age_seconds: int, is_valid: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    header = f"{COOKIE_NAME}={auth.sign_cookie('write', SECRET)}"
    now = TimestampSigner.get_timestamp(TimestampSigner("x"))
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda _: now + age_seconds)
    principal = auth.authenticate(request(cookie=header), settings("keys"), SECRET)
    assert (principal is not None) == is_valid


def test_the_cookie_header_restricts_the_cookie() -> None:
    header = auth.cookie_header("value", request(), 8)
    assert header.startswith(f"{COOKIE_NAME}=value; Path=/api/console; Max-Age=28800; ")
    assert {"HttpOnly", "SameSite=Strict", "Secure"} <= set(header.split("; "))
    assert "Secure" not in auth.cookie_header("value", request("127.0.0.1"), 8)


@pytest.mark.parametrize(
    ("roles", "role"),
    [(("Console.Write",), "write"), (("Console.Read",), "read"), (("Console.Read", "Console.Write"), "write")],
)
def test_app_service_roles_give_access(roles: tuple[str, ...], role: str) -> None:
    headers = {PRINCIPAL_HEADER: principal_header(*roles)}
    principal = auth.authenticate(request(**headers), settings("app_service"), SECRET)
    assert principal
    assert (principal.role, principal.name) == (role, "kim@example.org")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "x",
        base64.b64encode(b"[]").decode(),
        base64.b64encode(b'{"claims": [1]}').decode(),
        principal_header(),
        principal_header("Admin"),
    ],
)
def test_app_service_users_without_a_role_are_rejected(header: str) -> None:
    assert auth.authenticate(request(**{PRINCIPAL_HEADER: header}), settings("app_service"), SECRET) is None


@pytest.mark.parametrize("access", ["keys", "off"])
def test_the_app_service_header_counts_only_by_setting(access: str) -> None:
    headers = {PRINCIPAL_HEADER: principal_header("Console.Write")}
    assert auth.authenticate(request(**headers), settings(access), SECRET) is None


@pytest.mark.parametrize("value", [None, "False", "", "0"])
async def test_a_forged_header_opens_nothing_without_app_service_authentication(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One switch in the portal must not make every client an operator."""
    monkeypatch.delenv(PLATFORM_AUTH_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(PLATFORM_AUTH_VARIABLE, value)
    headers = {PRINCIPAL_HEADER: principal_header("Console.Write"), "sec-fetch-site": "same-origin"}
    async with open_in_memory(console_access="app_service") as memory:
        console = console_of(memory.services)
        pages = [
            await console.handle(http_request("/failures", **headers)),
            await console.handle(http_request("/runs/plan", "POST", b"csrf_token=x", **headers)),
        ]
        api = await call(memory, "GET", "/api/recipes")
    assert [page.status_code for page in pages] == [503, 503]
    assert all("PIPELINE_CONSOLE_ACCESS" in text_of(page) for page in pages)
    assert all('name="csrf_token" value=""' in text_of(page) or "csrf_token" not in text_of(page) for page in pages)
    assert api.status == 200, "the API runs"


@pytest.mark.parametrize("value", ["True", "true", "1"])
async def test_app_service_authentication_opens_the_console(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PLATFORM_AUTH_VARIABLE, value)
    async with open_in_memory(console_access="app_service") as memory:
        console = console_of(memory.services)
        without = await console.handle(http_request("/failures"))
        reader = await console.handle(http_request("/failures", **{PRINCIPAL_HEADER: principal_header("Console.Read")}))
    assert (without.status_code, reader.status_code) == (401, 200)


KIM, LEE = Principal("write", "kim", "1"), Principal("write", "lee", "2")


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "same-origin"},
        {"origin": "https://app.example"},
        {"origin": "https://console.example", "x_forwarded_host": "console.example"},
    ],
)
def test_a_form_of_the_console_is_accepted(headers: dict[str, str]) -> None:
    assert auth.csrf_valid(request(**headers), KIM, SECRET, auth.csrf_token(KIM, SECRET))


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({"sec_fetch_site": "cross-site"}, auth.csrf_token(KIM, SECRET)),
        ({"sec_fetch_site": "same-site", "origin": "https://app.example"}, auth.csrf_token(KIM, SECRET)),
        ({"sec_fetch_site": "none"}, auth.csrf_token(KIM, SECRET)),
        ({"origin": "https://evil.example"}, auth.csrf_token(KIM, SECRET)),
        ({"origin": "null"}, auth.csrf_token(KIM, SECRET)),
        ({}, auth.csrf_token(KIM, SECRET)),
        ({"sec_fetch_site": "same-origin"}, auth.csrf_token(LEE, SECRET)),
        ({"sec_fetch_site": "same-origin"}, auth.csrf_token(KIM, OTHER_SECRET)),
        ({"sec_fetch_site": "same-origin"}, ""),
        ({"sec_fetch_site": "same-origin"}, "ü"),
    ],
)
def test_a_form_of_another_site_is_rejected(headers: dict[str, str], token: str) -> None:
    assert not auth.csrf_valid(request(**headers), KIM, SECRET, token)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("/api/console/jobs?state=failed", "/api/console/jobs?state=failed"),
        ("/api/console", "/api/console"),
        ("https://evil.example/api/console", "/api/console"),
        ("//evil.example", "/api/console"),
        ("/api/console.evil", "/api/console"),
        ("/api/console/\\evil", "/api/console"),
        ("/api/console/jobs?x=\r\nSet-Cookie: a=b", "/api/console"),
        ("/api/console/jobs?x=\x7f", "/api/console"),
        ("/api/console/jobs?x=ü", "/api/console"),
        ("", "/api/console"),
    ],
)
def test_a_sign_in_redirects_only_within_the_console(url: str, target: str) -> None:
    assert auth.safe_redirect(url) == target


def test_only_the_console_pages_are_open_to_the_platform() -> None:
    code = (
        "import json, function_app\n"
        "functions = function_app.app.get_functions()\n"
        "bindings = [json.loads(text) for each in functions for text in each.get_raw_bindings()]\n"
        "routes = {each['route']: each for each in bindings if 'authLevel' in each}\n"
        "levels = {name: each['authLevel'].lower() for name, each in routes.items()}\n"
        "print(json.dumps([levels, {name: each.get('methods') for name, each in routes.items()}]))"
    )
    environ = {
        "PATH": "/usr/bin",
        "PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1",
        "IMAGES": "UseDevelopmentStorage=true",
    }
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    levels, methods = json.loads(process.stdout)
    assert methods["jobs/{id}/renditions/{name}"] == ["GET", "HEAD"]
    assert levels.pop("console/{*page}") == "anonymous"
    assert {"console-reader", "console-operator"} <= set(levels)
    assert set(levels.values()) == {"function"}
