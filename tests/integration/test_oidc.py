"""Logging in at a real identity provider, which runs beside the test; and what lets nobody in."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import pytest

from exchange.local.home import any_free
from exchange.settings import OIDC_SECRET, REDIS_PASSWORD, Settings
from monitor import oidc
from monitor.api import gate
from tests.integration.api_app import PUBLIC, an_app, call
from tests.stack import Stack, wait_for
from tests.unit.exchange.topologies import GOOD, PERSON

SHARES_STACK = True
CLAIMS: list[dict[str, Any]] = [
    {"sub": "li-na", "groups": ["tax-requesters"]},
    {"sub": "sun-li", "groups": ["<b>unmapped</b>"]},
    {"sub": "Not A Name", "groups": ["tax-requesters"]},
]
PEOPLE = """
people:
  sun-li:
    label: {zh: 孙丽, en: Sun Li}
    roles: {auditor: [police]}
groups:
  tax-requesters:
    roles: {requester: [tax]}
"""


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    port = any_free(frozenset())
    claims = [word for one in CLAIMS for word in ("--user-claims", json.dumps(one))]
    options = ["--port", str(port), "--require-nonce", "true", *claims]
    command = [sys.executable, "-m", "oidc_provider_mock", *options]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/.well-known/openid-configuration", trust_env=False).is_success
        except httpx.HTTPError:
            return False

    try:
        wait_for(answers, "the identity provider")
        yield url
    finally:
        running.terminate()
        running.wait(30)


@pytest.fixture
def app(stack: Stack, issuer: str, tmp_path: Path) -> Any:
    """Return an application whose people log in at the provider, and whose topology maps a group."""
    topology = tmp_path / "topology.yaml"
    topology.write_text(GOOD + PEOPLE)
    (tmp_path / "avro" / "population").mkdir(parents=True)
    (tmp_path / "avro" / "population" / "person.avsc").write_text(json.dumps(PERSON))
    parts = stack.settings.endpoints()
    own = Settings(
        home=tmp_path / "home",
        topology=topology,
        contracts=tmp_path / "avro",
        kafka_bootstrap=parts.kafka,
        registry_url=parts.registry,
        api_url=parts.api,
        redis_url=parts.redis,
        clickhouse_url=parts.clickhouse,
        oidc_issuer=issuer,
        oidc_client_id="bus",
        oidc_public_url=PUBLIC,
    )
    own.secrets.put(REDIS_PASSWORD, stack.settings.secrets.get(REDIS_PASSWORD).get_secret_value())
    own.secrets.put(OIDC_SECRET, "a secret of the client")
    return an_app(own)


def to_provider(app: Any) -> tuple[str, str]:
    """Return the provider's URL, and the state that the browser keeps as a cookie."""
    assert call(app, "GET", "/api/login").json() == {"provider": True}
    left = call(app, "GET", "/api/login/oidc")
    assert left.status_code == 303, left.text
    return left.headers["location"], left.headers["set-cookie"].partition(";")[0].partition("=")[2]


def answered(url: str, sub: str = "li-na") -> dict[str, str]:
    """Log in at the provider and return what it sends the browser back with."""
    told = httpx.post(url, data={"sub": sub}, trust_env=False)
    assert told.status_code == 302, told.text
    return dict(parse_qsl(urlsplit(told.headers["location"]).query))


def bring(app: Any, answer: dict[str, str], cookie: str) -> httpx.Response:
    """Come back with an answer, in a browser that has a state as its cookie."""
    headers = {"Cookie": f"exchange_login={cookie}"}
    return call(app, "GET", "/api/login/oidc/callback", params=answer, headers=headers)


def come_back(app: Any, url: str, state: str, sub: str = "li-na") -> httpx.Response:
    return bring(app, answered(url, sub), state)


def test_who_the_provider_knows_comes_in_with_the_roles_of_the_groups(app: Any) -> None:
    url, state = to_provider(app)
    query = parse_qs(urlsplit(url).query)
    assert query["code_challenge_method"] == ["S256"]
    assert query["redirect_uri"] == [f"{PUBLIC}/api/login/oidc/callback"]
    back = come_back(app, url, state)
    assert (back.status_code, back.headers.get("location")) == (303, "/console/"), back.text
    cookie = next(one for one in back.headers.get_list("set-cookie") if one.startswith(gate.COOKIE))
    me = call(app, "GET", "/api/me", headers={"Cookie": cookie.partition(";")[0]})
    assert me.json() == {"name": "li-na", "roles": [{"role": "requester", "department": "tax"}]}


def test_without_a_mapped_role_a_page_says_so(app: Any) -> None:
    """`people` makes sun-li an auditor; where groups are mapped, they alone count."""
    back = come_back(app, *to_provider(app), sub="sun-li")
    assert back.status_code == 403
    assert "Signed in as sun-li, groups: &lt;b&gt;unmapped&lt;/b&gt;" in back.text
    assert gate.COOKIE not in str(back.headers)
    assert come_back(app, *to_provider(app), sub="Not A Name").status_code == 401


def test_a_login_is_of_one_browser_and_used_once(app: Any) -> None:
    url, state = to_provider(app)
    other = to_provider(app)[1]
    answer = answered(url)
    assert bring(app, answer, other).status_code == 401
    assert bring(app, answer | {"state": other}, state).status_code == 401
    assert bring(app, answer, state).status_code == 303
    assert bring(app, answer, state).status_code == 401
    url, state = to_provider(app)
    assert bring(app, answered(url) | {"code": "another"}, state).status_code == 401


def test_a_token_that_the_provider_did_not_sign_for_this_login_lets_nobody_in(
    app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the provider's answer has a signature of somebody else, or another login's nonce."""
    real = oidc._asked

    def resigned(method: str, url: str, **given_: Any) -> dict[str, Any]:
        answer = real(method, url, **given_)
        if "id_token" in answer:
            head, body, _signature = answer["id_token"].split(".")
            answer["id_token"] = f"{head}.{body}.{'A' * 342}"
        return answer

    monkeypatch.setattr(oidc, "_asked", resigned)
    assert come_back(app, *to_provider(app)).status_code == 401
    monkeypatch.setattr(oidc, "_asked", real)
    url, state = to_provider(app)
    assert come_back(app, re.sub(r"nonce=[^&]+", "nonce=another", url), state).status_code == 401


def test_the_code_is_exchanged_with_the_verifier_of_its_challenge(
    app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider compares them, where it does: both are there, and belong together."""
    real, sent = oidc._asked, []

    def listened(method: str, url: str, **given_: Any) -> dict[str, Any]:
        sent.extend([given_["data"]] if "data" in given_ else [])
        return real(method, url, **given_)

    monkeypatch.setattr(oidc, "_asked", listened)
    url, state = to_provider(app)
    assert come_back(app, url, state).status_code == 303
    [challenge] = parse_qs(urlsplit(url).query)["code_challenge"]
    digest = hashlib.sha256(sent[0]["code_verifier"].encode()).digest()
    assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == challenge
