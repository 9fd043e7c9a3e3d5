"""Who may come in, who may change things, and whose form it was. Without a browser: these are the rules themselves."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from typing import Any

import azure.functions as func
import pytest

from devstack.state import ROOT
from pipeline.console import auth
from pipeline.console.auth import COOKIE, PRINCIPAL, Principal
from pipeline.settings import Settings

SECRET = b"s" * 32
OTHER = b"o" * 32


def settings(kind: str, **more: Any) -> Settings:
    return Settings(pool_endpoint="http://127.0.0.1:1", console_access=kind, **more)  # type: ignore[arg-type]


def request(host: str = "app.example", **headers: str) -> func.HttpRequest:
    named = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return func.HttpRequest("GET", f"https://{host}/api/console", headers=named, body=b"")


def principal(*roles: str, name: str = "kim@example.org", claim: str = "roles") -> str:
    claims = [{"typ": "preferred_username", "val": name}, *({"typ": claim, "val": role} for role in roles)]
    return base64.b64encode(json.dumps({"auth_typ": "aad", "claims": claims}).encode()).decode()


@pytest.mark.parametrize("host", ["127.0.0.1:7071", "localhost", "[::1]:80"])
def test_open_lets_this_machine_in(host: str) -> None:
    who = auth.principal(request(host), settings("open"), SECRET)
    assert who
    assert who.may_write


@pytest.mark.parametrize("host", ["app.example", "evil.example:7071", "127.0.0.1.evil.example", ""])
def test_open_lets_nobody_in_by_another_name(host: str) -> None:
    assert auth.principal(request(host), settings("open"), SECRET) is None


@pytest.mark.parametrize("role", ["read", "write"])
def test_a_cookie_that_we_sealed_says_who_comes(role: Any) -> None:
    sealed = auth.sign_cookie(role, 1, SECRET)
    who = auth.principal(request(cookie=f"other=1; {COOKIE}={sealed}"), settings("keys"), SECRET)
    assert who
    assert (who.role, who.may_write) == (role, role == "write")


@pytest.mark.parametrize(
    "other", ['a={"x":1}', "a=b c", "flag", "u=naïve", f"{COOKIE}=stale", f"{COOKIE}=a.b.c.d", "=", ";;"]
)
@pytest.mark.parametrize("order", ["{other}; {ours}", "{ours}; {other}", "{other},{ours}"])
def test_what_other_cookies_of_the_domain_hold_keeps_nobody_out(other: str, order: str) -> None:
    header = order.format(other=other, ours=f"{COOKIE}={auth.sign_cookie('read', 1, SECRET)}")
    assert auth.principal(request(cookie=header), settings("keys"), SECRET)


def forged() -> dict[str, str]:
    sealed = auth.sign_cookie("read", 1, SECRET)
    role, ends, nonce, seal = sealed.split(".")
    return {
        "another role": f"write.{ends}.{nonce}.{seal}",
        "a later end": f"{role}.{int(ends) + 9999}.{nonce}.{seal}",
        "another secret": auth.sign_cookie("write", 1, OTHER),
        "a token in place of a seal": f"x.{auth.csrf_token(Principal('read', '', 'x'), SECRET)}",
        "over": auth.sign_cookie("write", -1, SECRET),
        "nothing": "",
        "no ASCII": "schlüssel.ü",
        "dots": "...",
    }


@pytest.mark.parametrize("case", forged())
def test_a_cookie_that_is_forged_or_over_lets_nobody_in(case: str) -> None:
    assert auth.principal(request(cookie=f"{COOKIE}={forged()[case]}"), settings("keys"), SECRET) is None


def test_a_cookie_is_for_the_console_alone_and_out_of_scripts_reach() -> None:
    header = auth.cookie("value", request(), 8)
    assert header.startswith(f"{COOKIE}=value; Path=/api/console; Max-Age=28800; ")
    assert {"HttpOnly", "SameSite=Strict", "Secure"} <= set(header.split("; "))
    assert "Secure" not in auth.cookie("value", request("127.0.0.1"), 8)


@pytest.mark.parametrize(
    ("roles", "role"),
    [(("Console.Write",), "write"), (("Console.Read",), "read"), (("Console.Read", "Console.Write"), "write")],
)
def test_app_service_tells_roles(roles: tuple[str, ...], role: str) -> None:
    who = auth.principal(request(**{PRINCIPAL: principal(*roles)}), settings("app_service"), SECRET)
    assert who
    assert (who.role, who.name) == (role, "kim@example.org")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "x",
        base64.b64encode(b"[]").decode(),
        base64.b64encode(b'{"claims": [1]}').decode(),
        principal(),
        principal("Admin"),
    ],
)
def test_app_service_without_our_roles_lets_nobody_in(header: str) -> None:
    assert auth.principal(request(**{PRINCIPAL: header}), settings("app_service"), SECRET) is None


@pytest.mark.parametrize("kind", ["keys", "off"])
def test_the_header_of_app_service_counts_only_where_that_is_set(kind: str) -> None:
    asked = request(**{PRINCIPAL: principal("Console.Write")})
    assert auth.principal(asked, settings(kind), SECRET) is None


KIM, LEE = Principal("write", "kim", "1"), Principal("write", "lee", "2")


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "same-origin"},
        {"origin": "https://app.example"},
        {"origin": "https://console.example", "x_forwarded_host": "console.example"},
    ],
)
def test_a_form_of_ours_is_taken(headers: dict[str, str]) -> None:
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
        ({"sec_fetch_site": "same-origin"}, auth.csrf_token(KIM, OTHER)),
        ({"sec_fetch_site": "same-origin"}, ""),
        ({"sec_fetch_site": "same-origin"}, "ü"),
    ],
)
def test_a_form_from_elsewhere_is_not(headers: dict[str, str], token: str) -> None:
    assert not auth.csrf_valid(request(**headers), KIM, SECRET, token)


@pytest.mark.parametrize(
    ("address", "there"),
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
def test_after_the_sign_in_it_goes_on_within_the_console(address: str, there: str) -> None:
    assert auth.local(address) == there


def test_a_sign_in_ends() -> None:
    ends = int(auth.sign_cookie("read", 2, SECRET).split(".")[1])
    assert 0 <= ends - time.time() - 7190 <= 20


def test_the_platform_guards_the_doors_and_the_pages_guard_themselves() -> None:
    code = (
        "import json, function_app\n"
        "found = [json.loads(text) for each in function_app.app.get_functions() for text in each.get_raw_bindings()]\n"
        "routes = {each['route']: each for each in found if 'authLevel' in each}\n"
        "levels = {name: each['authLevel'].lower() for name, each in routes.items()}\n"
        "print(json.dumps([levels, {name: each.get('methods') for name, each in routes.items()}]))"
    )
    environ = {
        "PATH": "/usr/bin",
        "PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1",
        "IMAGES": "UseDevelopmentStorage=true",
    }
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    levels, methods = json.loads(told.stdout)
    assert methods["jobs/{id}/renditions/{name}"] == ["GET", "HEAD"]
    assert levels.pop("console/{*page}") == "anonymous"
    assert {"console-reader", "console-operator"} <= set(levels)
    assert set(levels.values()) == {"function"}
