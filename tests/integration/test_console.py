"""The console in a real browser on the real monitor: what it shows, for whom, and without one."""

from __future__ import annotations

import base64
import csv
import json
import os
import shutil
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from confluent_kafka import Message, Producer
from fastapi import FastAPI, HTTPException, Request, Response
from playwright.sync_api import Browser, Page, expect, sync_playwright

from exchange import heartbeat
from exchange.account import Account, content_hash
from exchange.apply import access
from exchange.apply.publish import publish
from exchange.certificate import Signer, verify
from exchange.change import HEADER, Op, Position, Reason, RecordHeader
from exchange.cluster import TopicSpec
from exchange.encoding.wire import frame
from exchange.files.contracts import load_contracts
from exchange.governance.store import Store
from exchange.identity.accounts import Accounts
from exchange.keys import QuarantineRecord, generate_steward_keys, read_key, seal_payload
from exchange.pauses import PAUSED, Pause, Pauses
from exchange.plan import (
    ACCOUNTS_TOPIC,
    CORRECTIONS_TOPIC,
    DECISIONS_TOPIC,
    POSITIONS_TOPIC,
    REVOCATIONS_TOPIC,
    PlannedResource,
    PublishedPlan,
)
from exchange.plan_build import build_plan, compiled_views
from exchange.position import (
    POSITION_SECRET,
    IncrementalProgress,
    IncrementalState,
    PositionCodec,
    SourcePosition,
)
from exchange.snapshot_orders import SnapshotOrders
from exchange.topology.file import load, today
from monitor.api import console as pages
from monitor.api.gate import COOKIE
from monitor.identity import now
from monitor.service import listen
from tests.checkers.committed import CommittedReader
from tests.integration.test_monitor import pair
from tests.integration.test_objection import header
from tests.stack import Stack, running_stack, wait_for

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium")
AXE = files("axe_playwright_python") / "axe.min.js"
SCREENSHOTS = os.environ.get("EXCHANGE_SCREENSHOTS")
PATIENCE_MS = 60_000
TOPIC = "raw.population.public.person"
VIEW = "share.population.person.school"
ROUTE = f"route?topic={TOPIC}&view_topic={VIEW}"
RESOURCE = "resource?name=population.person"
TITLES = {
    "en": {
        "overview": "Overview", "wall": "Situation", "resources": "Resources", "quarantine": "Quarantine",
        "connectors": "Connectors and workers", ROUTE: "Route", RESOURCE: "Resource",
        "alerts": "Alerts", "quality": "Quality", "report": "Assessment",
    },
    "zh": {
        "overview": "总览", "wall": "态势", "resources": "资源", "quarantine": "隔离区",
        "connectors": "连接器与处理进程", ROUTE: "路线", RESOURCE: "资源",
        "alerts": "告警", "quality": "质量", "report": "评估",
    },
}  # fmt: skip
SEEN = {
    "overview": TOPIC, "wall": "housing", "resources": "population.person", "quarantine": TOPIC,
    "connectors": "cdc-console", ROUTE: VIEW, RESOURCE: "population.person.school",
    "alerts": "cdc-console", "quality": "population.person", "report": "population.person",
}  # fmt: skip
PAGES = tuple(SEEN)
HALT = "<img src=x onerror=document.title='ran'> was dropped and made anew"
MANY = 2_000
SECRET = "Canary-7f31 of a refused row"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium in PATH (Debian: apt install chromium)")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Yield a stack with the repository's topology."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("EXCHANGE_TOPOLOGY", str(ROOT / "topology.yaml"))
        environment.setenv("EXCHANGE_CONTRACTS", str(ROOT / "avro"))
        with running_stack() as running:
            yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Chromium's sandbox does not start as root, as tests in a container run.
        expect.set_options(timeout=PATIENCE_MS)
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


def plan_of_the_repository(stack: Stack) -> PublishedPlan:
    """Publish the plan of topology.yaml, and its access rules; no source has to be there for it."""
    contracts = load_contracts(ROOT / "avro")
    topology = load(ROOT / "topology.yaml", contracts)
    key = base64.b64encode(bytes(32)).decode()
    subjects = [
        f"{topic}-{part}" for topic in compiled_views(topology, contracts) for part in ("key", "value")
    ]
    plan = build_plan(
        topology,
        contracts,
        dict.fromkeys(topology.source_departments(), key),
        {subject: number for number, subject in enumerate(subjects, start=1)},
        1,
        today(),
    )
    stack.admin.ensure_acls(access.rules(topology, today()))
    publish(stack.settings.kafka_client("admin"), plan)
    return plan


def accounts_of(resource: PlannedResource, changes: int) -> tuple[Account, Account]:
    """Return the two accounts of a faultless batch of a resource, one change refused."""
    now_ms = time.time_ns() // 1_000_000
    given: dict[str, Any] = {
        "resource": resource.name,
        "topic": resource.raw_topic,
        "minute": now_ms // 60_000,
    }
    capture = Account("capture", writer="cdc-console", made_at_ms=now_ms, **given)
    process = Account("process", writer="stream-0", partition=0, plan_version=1, made_at_ms=now_ms, **given)
    process.first_offset, process.last_offset = 0, changes - 1
    for index in range(changes):
        position = Position(7, 1000, index)
        place, content = position.hash64(), content_hash(position, b"key", b"value")
        for account in (capture, process):
            account.came_in(place, content)
            account.took(50)
        if index == 0:
            process.was_refused(Reason.LENGTH, "name", place)
            continue
        for view in resource.views:
            process.was_delivered(view.topic, place, [content])
    return capture, process


def write(stack: Stack, accounts: list[Account]) -> None:
    producer = Producer({**stack.settings.kafka_client("admin"), "acks": "all"})
    for account in accounts:
        producer.produce(ACCOUNTS_TOPIC, account.encode())
    assert producer.flush(60) == 0


def get(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False, timeout=60)


@pytest.fixture(scope="module")
def console(stack: Stack) -> str:
    """Return the console's address, once the monitor has figures to show."""
    url = stack.settings.endpoints().api
    plan = plan_of_the_repository(stack)
    write(
        stack,
        [one for number, of in enumerate(plan.resources) for one in accounts_of(of, 300 * (number + 1))],
    )

    def shown() -> bool:
        answer = get(f"{url}/api/refusals?topic={TOPIC}")
        detail = get(f"{url}/api/resource?name=population.person")
        return (
            answer.status_code == detail.status_code == 200
            and bool(answer.json()["refusals"])
            and bool(detail.json()["shown_by"][0]["readers"])
        )

    wait_for(shown, "refusals and readers in the API")
    return f"{url}/console/"


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """Yield a page; a connector that is halted has been heard of."""
    beat(stack)
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB")
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


def beat(stack: Stack) -> None:
    redis = heartbeat.connect(stack.settings)
    halt = {"topic": "", "partition": -1, "offset": -1, "reason": HALT}
    heartbeat.publish(redis, "capture", "cdc-console", "halted", {"captured": 12345}, [halt])
    redis.close()


def open_page(page: Page, console: str, name: str, language: str) -> None:
    page.goto(f"{console}#/{name}")
    expect(page.get_by_role("heading", level=1)).to_be_attached(timeout=PATIENCE_MS)
    if page.locator("html").get_attribute("lang") != language:
        page.locator("[data-test=language]").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(TITLES[language][name], timeout=PATIENCE_MS)
    expect(page.locator("main")).to_contain_text(SEEN[name], timeout=PATIENCE_MS)
    expect(page.get_by_role("status")).to_have_count(0, timeout=PATIENCE_MS)  # nothing is asked for any more


def keep_screenshot(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")


def violations(page: Page) -> list[dict[str, Any]]:
    page.evaluate(AXE.read_text())
    return [
        {"id": one["id"], "at": [node["target"] for node in one["nodes"]]}
        for one in page.evaluate("axe.run()")["violations"]
    ]


@pytest.mark.parametrize("name", PAGES)
def test_page_shows_its_figures_in_both_languages_and_themes(page: Page, console: str, name: str) -> None:
    short = name.partition("?")[0]
    found = []
    for language in ("en", "zh"):
        open_page(page, console, name, language)
        keep_screenshot(page, f"{short}-{language}")
        found += violations(page)
        page.locator("[data-test=theme]").click()
    keep_screenshot(page, f"{short}-zh-light")

    assert not found, json.dumps(found)


def test_check_of_accessibility_finds_a_planted_fault(page: Page, console: str) -> None:
    open_page(page, console, "overview", "en")
    page.evaluate("document.querySelector('main').append(document.createElement('button'))")

    assert "button-name" in {one["id"] for one in violations(page)}


def test_trouble_of_a_connector_is_said_first_and_never_runs(page: Page, console: str) -> None:
    open_page(page, console, "overview", "en")

    said = page.locator("[data-test=troubles]")
    expect(said).to_contain_text(f"cdc-console is halted: {HALT}", timeout=PATIENCE_MS)
    assert page.locator("main img").count() == 0
    assert page.title() == "Overview – Exchange bus"


def test_quarantine_names_the_commands(page: Page, console: str) -> None:
    open_page(page, console, "quarantine", "en")

    commands = page.locator("pre")
    expect(commands).to_contain_text("exchange quarantine redrive population.person --reason length")


def test_monitor_that_is_away_is_said_and_comes_back(page: Page, console: str) -> None:
    open_page(page, console, "overview", "en")

    page.context.set_offline(True)
    expect(page.get_by_role("alert")).to_contain_text("does not answer", timeout=PATIENCE_MS)
    page.context.set_offline(False)

    expect(page.get_by_role("alert")).to_have_count(0, timeout=PATIENCE_MS)


def test_keyboard_alone_reaches_every_page_and_switch(page: Page, console: str) -> None:
    open_page(page, console, "overview", "en")
    titles = (
        "Situation",
        "Resources",
        "Catalogue",
        "Quarantine",
        "Connectors and workers",
        "Requests",
        "Inbox",
        "Grants",
        "Objections",
        "Alerts",
        "Quality",
        "Assessment",
    )
    for title in titles:
        page.keyboard.press("Tab")
        if title == "Situation":
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text(title)

    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text("评估")


def test_figures_come_by_the_stream_without_being_asked_for(page: Page, console: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    open_page(page, console, "overview", "en")
    halted = page.locator("[data-test=troubles]").get_by_text("cdc-console is halted")
    expect(halted).to_be_visible(timeout=PATIENCE_MS)

    expect(halted).to_have_count(0, timeout=PATIENCE_MS)  # its heartbeat is over after 15 s

    assert any(url.endswith("/api/live") for url in asked)
    assert not [url for url in asked if url.endswith("/api/overview")]


def test_lineage_leads_from_column_to_what_each_view_shows(page: Page, console: str) -> None:
    open_page(page, console, RESOURCE, "en")

    row = page.locator("[data-test=lineage] tbody tr").filter(has_text="mobile").first
    expect(row).to_contain_text("partial keep_first 3 keep_last 4")
    expect(row).to_contain_text("hidden")
    expect(page.locator("main")).to_contain_text("region_code: 33…")
    expect(page.locator("main")).to_contain_text("school-office")


def test_chart_has_its_table(page: Page, console: str) -> None:
    open_page(page, console, ROUTE, "en")
    page.get_by_text("Rate as a table").click()

    expect(page.get_by_role("region", name="Rate", exact=True).locator("tbody tr").first).to_be_visible()


def test_connector_that_is_not_heard_of_is_named(page: Page, console: str) -> None:
    open_page(page, console, "overview", "en")

    said = page.locator("[data-test=troubles]")
    expect(said).to_contain_text("cdc-market (capture) ought to be at work", timeout=PATIENCE_MS)
    expect(said).to_contain_text("exchange connect market")
    expect(said).to_contain_text("exchange stream")


@contextmanager
def guarded() -> Iterator[str]:
    """Serve the console by a monitor that knows one person, and answers nobody else."""
    app, entered = FastAPI(), {"session": ""}

    @app.post("/api/login")
    async def login(request: Request, response: Response) -> None:
        if await request.json() != {"name": "li-na", "password": "right"}:
            raise HTTPException(401)
        entered["session"] = "one"
        response.set_cookie("session", "one", httponly=True, samesite="strict")

    @app.get("/api/{path}")
    def anything(path: str, request: Request) -> dict[str, Any]:
        if path == "login":
            return {"provider": True}
        if not entered["session"] or request.cookies.get("session") != entered["session"]:
            raise HTTPException(401)
        if path == "me":
            return {"name": "li-na", "roles": []}
        raise HTTPException(403)

    @app.post("/api/logout")
    def logout() -> None:
        entered["session"] = ""

    pages.mount(app)
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        wait_for(lambda: server.started, "the console's server")
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/console/"
    finally:
        server.should_exit = True
        thread.join()


def test_who_is_not_known_logs_in_first(browser: Browser) -> None:
    context = browser.new_context(locale="en-GB")
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    with guarded() as address:
        page.goto(f"{address}#/quarantine")
        title = page.get_by_role("heading", level=1)
        expect(title).to_have_text("Log in")
        assert not violations(page)
        assert page.locator("[data-test=provider]").get_attribute("href") == "/api/login/oidc"
        page.get_by_label("Name").fill("li-na")
        page.get_by_label("Password").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("not right")
        page.get_by_label("Password").fill("right")
        page.keyboard.press("Enter")
        expect(title).to_have_text("Quarantine")
        expect(page.locator("header")).to_contain_text("li-na")
        expect(page.get_by_role("alert")).to_contain_text("None of your roles")
        page.locator("[data-test=logout]").click()
        expect(title).to_have_text("Log in")
        context.close()


@pytest.fixture(scope="module")
def many(stack: Stack, console: str) -> str:
    """Return the API's address once 2,000 routes more have figures there."""
    url = stack.settings.endpoints().api
    accounts = []
    for number in range(MANY // 10):
        one = pair(f"raw.many{number:03}.public.t", changes=1)
        for extra in range(3, 11):
            one.process.was_delivered(
                f"share.many{number:03}.public.t.v{extra:02}", Position(7, 1000, 0).hash64(), [1]
            )
        accounts += [one.capture, one.process]
    write(stack, accounts)
    wait_for(lambda: get(f"{url}/api/routes?limit=1").json().get("total", 0) >= MANY, "all routes", 120)
    return url


@pytest.mark.parametrize("path", ["/api/routes?limit=50&offset=1500", "/api/overview", "/api/resources"])
def test_list_of_two_thousand_routes_answers_within_300_ms(many: str, path: str) -> None:
    def taken() -> float:
        began = time.monotonic()
        assert get(many + path).status_code == 200
        return 1000 * (time.monotonic() - began)

    times = sorted(taken() for _ in range(9))

    assert statistics.median(times) <= 300, times


def test_pages_of_a_long_list_are_turned(page: Page, console: str, many: str) -> None:
    page.goto(f"{console}#/overview")
    expect(page.locator("[data-test=places]")).to_contain_text("1 to 50 of 2,0", timeout=PATIENCE_MS)
    page.get_by_role("button", name="Next").click()

    expect(page.locator("[data-test=places]")).to_contain_text("51 to 100 of 2,0", timeout=PATIENCE_MS)
    expect(page.locator("main tbody tr")).to_have_count(50, timeout=PATIENCE_MS)


# --- requests: these tests come last, as the figures are open to nobody behind them ------------------------


ASKED_VIEW = "population.person.school"
PROPOSED_VIEW = "population.person.contact"
REQUEST_PAGES = {"requests": "Requests", "inbox": "Inbox", "grants": "Grants", "ask": "Ask for a view"}
STRANGER = "Only a requester asks for views"


def test_pages_of_requests_say_how_to_begin_while_there_is_no_user(page: Page, console: str) -> None:
    found = []
    for name, title in REQUEST_PAGES.items():
        page.goto(f"{console}#/{name}")
        expect(page.get_by_role("heading", level=1)).to_have_text(title, timeout=PATIENCE_MS)
        expect(page.locator("[data-test=no-users]")).to_contain_text("exchange user add")
        expect(page.get_by_role("alert")).to_have_count(0)
    found += violations(page)

    assert not found, json.dumps(found)


@pytest.fixture(scope="module")
def sessions(stack: Stack, console: str) -> dict[str, str]:
    """Return a session of each person, on a bus whose topics and subscriber are there."""
    topics = [TopicSpec(name, 1) for name in (f"share.{ASKED_VIEW}", REVOCATIONS_TOPIC, DECISIONS_TOPIC)]
    stack.admin.ensure_topics(topics)
    stack.admin.ensure_scram_user("tax")
    with Store.of(stack.settings) as store:
        accounts = Accounts(store, now)
        accounts.new_token("li-na", ("requester",), "so that there is somebody", 3600)
        names = ("li-na", "wang-wei", "zhao-min", "sun-li")
        return {name: accounts.open_session(name, None, 3600) for name in names}


class Visitor:
    """Somebody who is logged in, in a browser of their own; finds of axe gather in `wrong`."""

    def __init__(self, browser: Browser, console: str, session: str, locale: str) -> None:
        self._console = console
        self._context = browser.new_context(viewport={"width": 1440, "height": 900}, locale=locale)
        self._context.set_default_timeout(PATIENCE_MS)
        host = console.partition("/console")[0]
        self._context.add_cookies([{"name": COOKIE, "value": session, "url": host}])
        self.page = self._context.new_page()
        self.wrong: list[Any] = []

    def go(self, name: str, title: str) -> Page:
        self.page.goto(f"{self._console}#/{name}")
        expect(self.page.get_by_role("heading", level=1)).to_have_text(title)
        return self.page

    def check(self, name: str) -> None:
        """Keep a picture where pictures are wanted, and look for what is not accessible."""
        expect(self.page.get_by_role("status").filter(has_text="…")).to_have_count(0)
        keep_screenshot(self.page, name)
        self.wrong += [(name, one) for one in violations(self.page)]

    def close(self) -> None:
        self._context.close()
        assert not self.wrong, json.dumps(self.wrong)


@contextmanager
def visiting(browser: Browser, console: str, session: str, locale: str = "en-GB") -> Iterator[Visitor]:
    visitor = Visitor(browser, console, session, locale)
    yield visitor
    visitor.close()


def ask_for_the_view(visitor: Visitor) -> None:
    page = visitor.go("ask", "Ask for a view")
    page.get_by_label("Search views").fill("school")
    page.keyboard.press("Tab")
    page.locator("select[name=view]").select_option(ASKED_VIEW)
    seen = page.locator("[data-test=preview] tbody tr")
    expect(seen.filter(has=page.get_by_role("rowheader", name="name", exact=True))).to_contain_text("示**")
    expect(seen.filter(has_text="mobile").first).to_contain_text("hidden")
    visitor.check("ask-en")
    page.get_by_role("button", name="Try other masks").click()
    expect(page.locator("main form")).to_contain_text("You propose a view of your own")
    page.get_by_role("button", name="Back to the view").click()
    page.get_by_role("button", name="Go on").click()
    page.get_by_label("Purpose").fill("核验")
    page.get_by_label("Legal basis").fill("第六条")
    page.get_by_label("Records expected a day").fill("5000")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=2).first).to_contain_text("Look over and send")
    expect(page.locator("main form")).to_contain_text("the source's steward")
    expect(page.locator("main form")).to_contain_text("5,000 records a day")
    visitor.check("ask-send-en")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("[data-test=state]")).to_have_text("at the steward")
    expect(page.locator("main dl").first).to_contain_text("5,000 records a day")
    expect(page.locator("[data-test=act-withdraw]")).to_be_visible()
    expect(page.locator("[data-test=act-approve]")).to_have_count(0)


def propose_a_view(visitor: Visitor) -> None:
    page = visitor.go("ask", "Ask for a view")
    page.locator("select[name=view]").select_option(ASKED_VIEW)
    page.get_by_role("button", name="Try other masks").click()
    page.get_by_label("Mask of mobile", exact=True).select_option("clear")
    expect(page.locator("[data-test=preview]")).to_contain_text("shows mobile (mobile) clear; mask it")
    expect(page.get_by_role("button", name="Go on")).to_be_disabled()
    page.get_by_label("Mask of mobile", exact=True).select_option("partial")
    expect(page.locator("[data-test=preview]")).to_contain_text("1**********")
    page.get_by_label("Beginnings or values of condition 1").fill("3301, 3302")
    page.get_by_role("button", name="Add a condition").click()
    expect(page.get_by_role("button", name="Go on")).to_be_disabled()
    page.get_by_role("button", name="Remove condition 2").click()
    page.get_by_label("Name of the new view").fill("contact")
    expect(page.locator("main")).to_contain_text("region_code: 3301…, 3302…")
    visitor.check("ask-own-en")
    page.get_by_role("button", name="Go on").click()
    page.get_by_label("Purpose").fill("核验")
    page.get_by_label("Legal basis").fill("第六条")
    page.locator("input[name=until]").fill("2099-12-31")
    page.keyboard.press("Enter")
    expect(page.locator("main form")).to_contain_text(PROPOSED_VIEW)
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("[data-test=state]")).to_have_text("at the steward")
    expect(page.locator("[data-test=proposed]")).to_contain_text("none is declared")


def open_to_mend(visitor: Visitor) -> Page:
    """Open the wizard on the request that is shown; it has all that was proposed, and why it was returned."""
    page = visitor.page
    page.reload()
    page.locator("[data-test=mend]").press("Enter")
    expect(page.locator("[data-test=mended]")).to_contain_text("returned because: 手机号无需显示")
    expect(page.get_by_label("Mask of mobile", exact=True)).to_have_value("partial")
    expect(page.get_by_label("Beginnings or values of condition 1")).to_have_value("3301, 3302")
    expect(page.locator("[data-test=preview]")).to_contain_text("1**********")
    expect(page.locator("main form")).to_contain_text(PROPOSED_VIEW)
    return page


def mend_a_view(visitor: Visitor) -> None:
    page = open_to_mend(visitor)
    visitor.check("ask-mended-en")
    page.get_by_label("Mask of mobile", exact=True).select_option("redact")
    page.get_by_label("Beginnings or values of condition 1").fill("3301")
    page.keyboard.press("Tab")
    expect(page.locator("[data-test=preview]")).not_to_contain_text("1**********")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_label("Purpose")).to_have_value("核验")
    expect(page.locator("input[name=until]")).to_have_value("2099-12-31")
    page.locator("input[name=until]").fill("")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("button", name="Keep as a draft")).to_have_count(0)
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("[data-test=state]")).to_have_text("at the steward")
    expect(page.locator("main .about")).to_contain_text("version 4")
    expect(page.locator("main dl").first).to_contain_text("no end")


def return_it(browser: Browser, console: str, session: str) -> None:
    with visiting(browser, console, session) as wang_wei:
        page = wang_wei.go("inbox", "Inbox")
        page.locator("tbody tr").filter(has_text=PROPOSED_VIEW).get_by_role("link").first.click()
        page.locator("[data-test=act-return]").click()
        page.locator("input[name=reason]").fill("手机号无需显示")
        page.locator("main form").get_by_role("button").first.click()
        expect(page.locator("[data-test=state]")).to_have_text("returned")


def test_view_of_ones_own_is_proposed_returned_mended_and_granted(
    browser: Browser, console: str, stack: Stack, sessions: dict[str, str]
) -> None:
    with visiting(browser, console, sessions["li-na"]) as li_na:
        propose_a_view(li_na)
        return_it(browser, console, sessions["wang-wei"])
        mend_a_view(li_na)
    with visiting(browser, console, sessions["wang-wei"], "zh-CN") as wang_wei:
        page = wang_wei.go("inbox", "待办")
        page.locator("tbody tr").filter(has_text=PROPOSED_VIEW).get_by_role("link").first.click()
        expect(page.locator("[data-test=proposed]")).to_contain_text("该视图由本申请提出")
        expect(page.locator("[data-test=preview]")).not_to_contain_text("1**********")
        expect(page.locator("main")).to_contain_text("3301…")
        expect(page.locator("main")).not_to_contain_text("3302…")
        wang_wei.check("request-proposed-zh")
        page.locator("[data-test=act-approve]").click()
        page.locator("main form").get_by_role("button").first.click()
        expect(page.locator("[data-test=told]")).to_contain_text("已授权")
        assert "tax" in stack.admin.readers_of(f"share.{PROPOSED_VIEW}")


def test_view_is_asked_for_granted_and_ended_with_a_certificate(
    browser: Browser, console: str, stack: Stack, sessions: dict[str, str]
) -> None:
    with visiting(browser, console, sessions["li-na"]) as li_na:
        ask_for_the_view(li_na)
        li_na.check("request-en")
        with visiting(browser, console, sessions["wang-wei"], "zh-CN") as wang_wei:
            page = wang_wei.go("inbox", "待办")
            row = page.locator("tbody tr").filter(has_text=ASKED_VIEW)
            expect(row).to_contain_text("第六条")
            row.get_by_role("checkbox").check()
            wang_wei.check("inbox-zh")
            page.get_by_role("button", name="同意").click()
            expect(page.locator("[data-test=outcomes]")).to_contain_text("已授权")
            assert "tax" in stack.admin.readers_of(f"share.{ASKED_VIEW}")
            page = wang_wei.go("grants", "授权")
            row = page.locator("[data-test=grants] tbody tr").filter(has_text=ASKED_VIEW)
            expect(row).to_contain_text("无期限")
            row.get_by_role("button").click()
            wang_wei.check("grants-zh")
            page.locator("input[name=reason]").fill("用途已完成")
            page.locator("input[name=typed]").fill("population.person.tax")
            page.keyboard.press("Enter")
            expect(page.get_by_role("alert")).to_contain_text(ASKED_VIEW)
            page.locator("input[name=typed]").fill(ASKED_VIEW)
            page.keyboard.press("Enter")
            with page.expect_download() as download:
                page.locator("[data-test=told]").get_by_role("link").click()
            key = Signer(stack.settings.secrets).public_key
            told = verify(download.value.path().read_text(), key, "what the page gives")
            assert (told["kind"], told["subscriber"], told["reason"]) == ("ended", "tax", "用途已完成")
            assert "tax" not in stack.admin.readers_of(f"share.{ASKED_VIEW}")
        page = li_na.page
        expect(page.locator("[data-test=state]")).to_have_text("ended by the steward")
        expect(page.locator("[data-test=certificate]")).to_contain_text("The signature is valid")
        expect(page.locator("[data-test=history]")).to_contain_text("certified the end")
        li_na.check("request-ended-en")


def refuse_one(stack: Stack) -> str:
    """Have a record in the raw topic and sealed in the quarantine; return the private key that opens it."""
    private, public = generate_steward_keys()
    stack.admin.ensure_topics([TopicSpec(TOPIC, 1)])
    header = RecordHeader(Position(7, 1000, 0), Op.CREATE, 1_800_000_000_000).pack()
    sealed = seal_payload(read_key(public, "test"), "population.person", header, b"key", SECRET.encode())
    producer = Producer({**stack.settings.kafka_client("admin"), "acks": "all"})
    producer.produce(TOPIC, SECRET.encode(), b"key", headers=[(HEADER, header)], partition=0)
    assert producer.flush(60) == 0
    quarantine(stack, 0, header, Reason.RANGE, "version", 1_800_000_000_000, sealed)
    return private


def quarantine(
    stack: Stack, offset: int, header: bytes, reason: Reason, field: str, at_ms: int, sealed: bytes
) -> str:
    """Put a record, which lies at an offset of the raw topic, in the quarantine; return its place there."""
    topic = "quarantine.population.person"
    stack.admin.ensure_topics([TopicSpec(topic, 1), TopicSpec(ACCOUNTS_TOPIC, 1)])
    stack.admin.ensure_scram_user("redrive-public_security")
    record = QuarantineRecord(
        "population.person", "process", TOPIC, 0, offset, header, reason, field, 1, at_ms, 9, sealed
    )
    places: list[str] = []
    producer = Producer({**stack.settings.kafka_client("admin"), "acks": "all"})
    producer.produce(
        topic, record.encode(), partition=0, on_delivery=lambda _, m: places.append(f"0:{m.offset()}")
    )
    assert producer.flush(60) == 0
    return places[0]


def test_steward_opens_a_refused_record_and_sends_it_again_by_keyboard(
    browser: Browser, console: str, stack: Stack, sessions: dict[str, str], tmp_path: Path
) -> None:
    key, other = tmp_path / "public_security.key", tmp_path / "other.key"
    key.write_text(refuse_one(stack) + "\n")
    other.write_text(generate_steward_keys()[0] + "\n")
    with visiting(browser, console, sessions["wang-wei"]) as wang_wei:
        page = wang_wei.go("quarantine", "Quarantine")
        page.locator("[data-test=own]").get_by_role("link", name="population.person").press("Enter")
        row = page.locator("main tbody tr").filter(has_text="0:0")
        expect(row).to_contain_text("not from here")
        expect(row.get_by_role("button", name="Open 0:0")).to_be_disabled()
        wang_wei.check("quarantine-records-en")
        page.goto(f"{console}#/quarantine?resource=population.person&reason=range")
        expect(page.locator("[data-test=fix]")).to_contain_text("breaks a rule of the contract")
        page.goto(f"{console}#/quarantine?resource=population.person&reason=range&place=0:0")
        expect(page.locator("[data-test=from]")).to_contain_text("From 0:0 on")
        expect(page.locator("main tbody tr[aria-current]")).to_contain_text("0:0")
        page.get_by_label("Private key").set_input_files(other)
        row.get_by_role("button", name="Open 0:0").press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("does not open")
        page.get_by_label("Private key").set_input_files(key)
        row.get_by_role("button", name="Open 0:0").press("Enter")
        shown = page.locator("[data-test=opened]")
        expect(shown).to_contain_text(base64.b64encode(SECRET.encode()).decode())
        expect(shown.get_by_role("heading")).to_be_focused()
        wang_wei.check("quarantine-opened-en")
        page.keyboard.press("Escape")
        expect(row.get_by_role("button", name="Open 0:0")).to_be_focused()
        row.get_by_role("checkbox").check()
        send = page.get_by_role("button", name="Send again")
        expect(send).to_be_disabled()
        page.get_by_role("button", name="Try").press("Enter")
        expect(page.locator("[data-test=outcome]")).to_contain_text("1 would be sent again")
        send.press("Enter")
        expect(page.locator("[data-test=outcome]")).to_contain_text("1 sent again, 0 kept back")
        expect(row).to_contain_text("sent again")
        expect(row).not_to_contain_text("not from here")
        row.get_by_role("checkbox").uncheck()
        page.get_by_role("button", name="Try").press("Enter")
        expect(page.get_by_label("Kept back")).to_contain_text("already re-driven")
        wang_wei.check("quarantine-sent-en")
        page.locator("[data-test=language]").click()
        expect(page.locator("[data-test=fix]")).to_contain_text("数值违反契约规则")
        wang_wei.check("quarantine-sent-zh")
    assert SECRET not in stack.log("monitor")
    assert key.read_text().strip() not in stack.log("monitor")


def test_quality_leads_from_its_worst_rules_to_the_records_last_refused(
    browser: Browser, console: str, stack: Stack, sessions: dict[str, str]
) -> None:
    at_ms = time.time_ns() // 1_000_000
    places = [quarantine(stack, 41 + n, b"", Reason.LENGTH, "name", at_ms + n, b"") for n in range(2)]
    month = f"/api/quality?month={time.strftime('%Y-%m', time.gmtime())}"
    with speaking(console, sessions["sun-li"]) as sun_li:
        wait_for(lambda: f'"place":"{places[1]}"' in sun_li.get(month).text, "the examples in the API", 120)
    shown = [f"{TOPIC} 0:{41 + n}, in quarantine at {places[n]}" for n in range(2)]
    with visiting(browser, console, sessions["wang-wei"]) as wang_wei:
        page = wang_wei.go("quality", "Quality")
        rule = page.locator("main .rules > li").filter(has_text="length, field name (process)")
        expect(rule.get_by_role("list", name="Last refused").get_by_role("link")).to_contain_text(shown[::-1])
        wang_wei.check("quality-examples-en")
        rule.get_by_role("link").filter(has_text=shown[1]).press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Quarantine")
        row = page.locator("main tbody tr[aria-current]")
        expect(row).to_contain_text(places[1])
        expect(row).to_contain_text(f"{TOPIC} 0:42")
        expect(page.locator("[data-test=from]")).to_contain_text(f"From {places[1]} on")
    with visiting(browser, console, sessions["sun-li"]) as sun_li_page:
        page = sun_li_page.go("quality", "Quality")
        expect(page.locator("main .rules .rules").first).to_contain_text(shown[1])
        expect(page.locator("main .rules .rules a")).to_have_count(0)  # an auditor reads no quarantine


def speaking(console: str, session: str) -> httpx.Client:
    """Return a client that speaks to the API as somebody who is logged in."""
    api = console.removesuffix("/console/")
    cookies, headers = {COOKIE: session}, {"Origin": api}
    return httpx.Client(base_url=api, cookies=cookies, headers=headers, timeout=60, trust_env=False)


def test_decision_on_a_version_that_is_gone_is_said_and_not_done(
    browser: Browser, console: str, sessions: dict[str, str]
) -> None:
    with speaking(console, sessions["li-na"]) as li_na:
        body = {"subscriber": "tax", "view": ASKED_VIEW, "purpose": "p", "legal_basis": "l"}
        at = f"/api/requests/{li_na.post('/api/requests', json=body).json()['id']}"
        assert li_na.post(f"{at}/submit", json={"version": 1}).status_code == 200
        with visiting(browser, console, sessions["wang-wei"]) as wang_wei:
            page = wang_wei.go(f"request?id={at.rpartition('/')[2]}", "Request")
            page.locator("[data-test=act-approve]").click()
            assert li_na.post(f"{at}/withdraw", json={"version": 2}).status_code == 200
            page.locator("form.act").get_by_role("button", name="Approve").click()
            expect(page.locator("[data-test=told]")).to_contain_text("Somebody changed it in the meantime")
            expect(page.locator("[data-test=state]")).to_have_text("withdrawn")
            expect(page.locator("[data-test=act-approve]")).to_have_count(0)
            wang_wei.check("request-stale-en")


def test_who_may_not_ask_is_told_so_and_offered_nothing(
    browser: Browser, console: str, sessions: dict[str, str]
) -> None:
    with visiting(browser, console, sessions["sun-li"]) as sun_li:
        page = sun_li.go("requests", "Requests")
        expect(page.locator("main tbody tr").first).to_contain_text(ASKED_VIEW)
        assert page.locator("main a.button").count() == 0
        sun_li.check("requests-en")
        page = sun_li.go("ask", "Ask for a view")
        expect(page.locator("main")).to_contain_text(STRANGER)
        page = sun_li.go("inbox", "Inbox")
        expect(page.locator("main")).to_contain_text("Nothing waits for you")
        assert page.locator("main button").count() == 0
        sun_li.check("inbox-empty-en")


# --- objections -------------------------------------------------------------------------------------------

GRANTED = "population.person.tax"
CLAIM = "应为丙类 <b>not</b> 乙类"


@pytest.fixture(scope="module")
def delivered(stack: Stack, sessions: dict[str, str]) -> str:
    """Write two changes of a row, and the record of the first into a view that the topology grants.

    Returns where the second one is in the raw topic, which others write too: <partition>:<offset>.
    """
    topics = (TOPIC, f"share.{GRANTED}")
    stack.admin.ensure_topics([TopicSpec(name, 1) for name in (*topics, CORRECTIONS_TOPIC)])
    producer = Producer(stack.settings.kafka_client("admin") | {"transactional.id": "objections-in-console"})
    producer.init_transactions(60)
    producer.begin_transaction()
    for topic, index in ((TOPIC, 1), (TOPIC, 5), (topics[1], 1)):
        producer.produce(topic, key=frame(1, b"row"), value=b"{}", partition=0, headers=header(index))
    producer.commit_transaction(60)
    with closing(CommittedReader(stack.settings.kafka_client("admin"), topics)) as reader:
        read: list[Message] = []

        def are_there() -> bool:
            read.extend(one for one in reader.read() if one.key() == frame(1, b"row"))
            return len(read) == 3

        wait_for(are_there, "what was written is committed")
    raw = [one.offset() for one in read if one.topic() == TOPIC]
    return f"0:{raw[1]}"


def file_objection(visitor: Visitor) -> None:
    page = visitor.go("objections", "Objections")
    page.locator("[data-test=object]").press("Enter")
    expect(page.get_by_role("heading", level=2)).to_be_focused()
    page.locator("select[name=view]").select_option(f"{GRANTED} → tax")
    page.get_by_label("Partition").fill("0")
    page.get_by_label("Offset").fill("0")
    page.get_by_label("What is wrong").fill(CLAIM)
    page.locator("form.act button[type=submit]").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Choose at least one field")
    page.get_by_label("status", exact=True).press("Space")
    visitor.check("objecting-en")
    page.locator("form.act button[type=submit]").press("Enter")
    expect(page.locator("[data-test=state]")).to_have_text("filed")
    expect(page.locator("[data-test=claim]")).to_have_text(CLAIM)
    expect(page.locator("[data-test^=act-]")).to_have_text(["Withdraw"])
    visitor.check("objection-en")


def test_objection_is_filed_answered_and_corrected(
    browser: Browser, console: str, sessions: dict[str, str], delivered: str
) -> None:
    with visiting(browser, console, sessions["li-na"]) as li_na:
        file_objection(li_na)
        with visiting(browser, console, sessions["wang-wei"], "zh-CN") as wang_wei:
            page = wang_wei.go("inbox", "待办")
            row = page.locator("main tbody tr").filter(has_text="有误的字段：status")
            expect(row).to_contain_text(GRANTED)
            expect(page.locator("main")).not_to_contain_text(CLAIM)
            wang_wei.check("inbox-objection-zh")
            row.get_by_role("link").click()
            expect(page.locator("[data-test=claim]")).to_have_text(CLAIM)
            page = wang_wei.go("objections", "异议")
            page.locator("select[name=state]").select_option("waiting")
            row = page.locator("main tbody tr").filter(has_text=GRANTED)
            expect(row).to_contain_text("已提出")
            expect(page.locator("main")).not_to_contain_text(CLAIM)
            expect(page.locator("[data-test=object]")).to_have_count(0)
            wang_wei.check("objections-zh")
            row.get_by_role("link").click()
            expect(page.locator("[data-test=claim]")).to_have_text(CLAIM)
            page.locator("[data-test=act-answer]").click()
            page.locator("textarea[name=text]").fill("将改正")
            wang_wei.check("objection-zh")
            page.locator("form.act button[type=submit]").click()
            expect(page.locator("[data-test=told]")).to_contain_text("已答复")
            page.locator("[data-test=act-correct]").click()
            page.keyboard.press("Tab")
            page.keyboard.type("not there")
            page.keyboard.press("Enter")
            expect(page.get_by_role("alert")).to_contain_text("none of the row's later changes")
            page.locator("input[name=position]").fill("")
            page.keyboard.press("Enter")
            expect(page.locator("[data-test=state]")).to_have_text("已更正")
            expect(page.locator("[data-test=correction]")).to_contain_text(f"{delivered}, ")
            expect(page.locator("[data-test^=act-]")).to_have_count(0)
        expect(li_na.page.locator("[data-test=answer]")).to_have_text("将改正")
        expect(li_na.page.locator("[data-test=history]")).to_contain_text("linked the correction")
    with visiting(browser, console, sessions["sun-li"]) as sun_li:
        page = sun_li.go("objections", "Objections")
        page.locator("main tbody tr").filter(has_text=GRANTED).get_by_role("link").click()
        expect(page.locator("main")).to_contain_text("may quote values")
        assert page.locator("[data-test=claim]").count() == 0


def test_answer_to_an_objection_that_was_taken_back_is_said_and_not_done(
    browser: Browser, console: str, sessions: dict[str, str], delivered: str
) -> None:
    with speaking(console, sessions["li-na"]) as li_na:
        body = {
            "subscriber": "tax",
            "view": GRANTED,
            "partition": 0,
            "offset": 0,
            "fields": ["name"],
            "claim": "c",
        }
        at = f"/api/objections/{li_na.post('/api/objections', json=body).json()['id']}"
        with visiting(browser, console, sessions["wang-wei"]) as wang_wei:
            page = wang_wei.go(f"objection?id={at.rpartition('/')[2]}", "Objection")
            page.locator("[data-test=act-reject]").click()
            page.locator("textarea[name=text]").fill("it is right")
            assert li_na.post(f"{at}/withdraw", json={"version": 1}).status_code == 200
            page.locator("form.act button[type=submit]").click()
            expect(page.locator("[data-test=told]")).to_contain_text("Somebody changed it in the meantime")
            expect(page.locator("[data-test=state]")).to_have_text("withdrawn")
            expect(page.locator("[data-test^=act-]")).to_have_count(0)


# --- entries of the catalogue -----------------------------------------------------------------------------

ENTRY = "entry?resource=population.person"


def write_entry(page: Page) -> None:
    """Draft an entry, which is not complete, and mend that."""
    page.locator("[data-test=act-new]").press("Enter")
    expect(page.locator("form.act h2")).to_be_focused()
    page.locator("select[name=library_kind]").select_option("base")
    page.locator("input[name=library]").fill("人口")
    page.locator("textarea[name=description_zh]").fill("全省常住人口，每人一条")
    page.locator("form.act button[type=submit]").press("Enter")
    expect(page.locator("[data-test=told]")).to_contain_text("草稿")
    expect(page.locator("main")).to_contain_text("填写库类型")
    expect(page.locator("[data-test=act-submit]")).to_have_count(0)
    page.locator("[data-test=act-edit]").click()
    expect(page.locator("input[name=library]")).to_have_value("人口")
    page.locator("input[name=contact]").fill("大数据科")
    page.keyboard.press("Enter")
    expect(page.locator("[data-test=draft]")).to_contain_text("大数据科")


def carry_out(page: Page, act: str, reason: str = "") -> None:
    page.locator(f"[data-test=act-{act}]").click()
    if reason:
        page.locator("input[name=reason]").fill(reason)
    page.locator("form.act button[type=submit]").click()
    expect(page.locator("[data-test=told]")).to_be_focused()


def test_entry_is_written_returned_and_published(
    browser: Browser, console: str, sessions: dict[str, str]
) -> None:
    with (
        visiting(browser, console, sessions["wang-wei"], "zh-CN") as wang_wei,
        visiting(browser, console, sessions["zhao-min"]) as zhao_min,
    ):
        page = wang_wei.go("catalogue", "目录")
        page.locator("input[name=words]").fill("常住人口 公民身份号码")
        page.keyboard.press("Enter")
        rows = page.locator("main tbody tr")
        expect(rows).to_have_count(1)
        wang_wei.check("catalogue-zh")
        rows.get_by_role("link").click()
        write_entry(page)
        wang_wei.check("entry-zh")
        carry_out(page, "submit")
        decides = zhao_min.go("catalogue", "Catalogue")
        decides.locator("select[name=state]").select_option("waiting")
        expect(decides.locator("main tbody tr").filter(has_text="population.person")).to_have_count(1)
        decides = zhao_min.go("inbox", "Inbox")
        row = (
            decides.locator("main tbody tr")
            .filter(has_text="Catalogue entry")
            .filter(has_text="population.person")
        )
        row.get_by_role("link").click()
        carry_out(decides, "return", "names no use")
        expect(decides.locator("[data-test=state]")).to_have_text("returned")
        expect(page.locator("[data-test=reason]")).to_have_text("names no use")
        carry_out(page, "submit")
        expect(decides.locator("[data-test=act-publish]")).to_be_visible()
        zhao_min.check("entry-en")
        decides.locator("[data-test=act-publish]").click()
        carry_out(page, "withdraw")  # behind the back of who decides
        carry_out(page, "submit")
        decides.locator("form.act button[type=submit]").click()
        expect(decides.locator("[data-test=told]")).to_contain_text("Somebody changed it in the meantime")
        carry_out(decides, "publish")
        expect(decides.locator("[data-test=in-force]")).to_contain_text("全省常住人口")
        expect(decides.locator("[data-test=draft]")).to_have_count(0)
        expect(decides.locator("[data-test=history]")).to_contain_text("published")
    with visiting(browser, console, sessions["li-na"]) as li_na:
        page = li_na.go(ENTRY, "Catalogue entry")
        expect(page.locator("[data-test=in-force]")).to_contain_text("人口 (base library)")
        expect(page.locator("[data-test=fields] tbody tr").first).to_be_visible()
        assert page.locator("[data-test^=act-], [data-test=history]").count() == 0
        li_na.check("entry-published-en")


def test_catalogue_is_given_out_and_taken_in_after_a_dry_run(
    browser: Browser, console: str, sessions: dict[str, str], tmp_path: Path
) -> None:
    with visiting(browser, console, sessions["wang-wei"]) as wang_wei:
        page = wang_wei.go("catalogue", "Catalogue")
        page.locator("[data-test=files] summary").press("Enter")
        with page.expect_download() as download:
            page.locator("[data-test=export-csv]").click()
        with download.value.path().open(encoding="utf-8-sig", newline="") as text:
            [row] = [one for one in csv.DictReader(text) if one["resource"] == "population.person"]
        send = page.locator("[data-test=import]")

        def tried(name: str, contact: str, **more: str) -> None:
            file = tmp_path / name
            file.write_text(f"resource,contact{''.join(f',{name}' for name in more)}\n")
            with file.open("a") as text:
                text.write(",".join([row["resource"], contact, *more.values()]) + "\n")
            page.locator("input[name=file]").set_input_files(file)
            page.get_by_role("button", name="Try it").press("Enter")

        tried("wrong.csv", "信息科", library="x", colour="red")
        expect(page.locator("[data-test=import-told]")).to_contain_text("1 refused")
        expect(page.locator("[data-test=files] tbody")).to_contain_text("unknown column 'colour'")
        expect(send).to_be_disabled()
        wang_wei.check("catalogue-refused-en")
        tried("right.csv", "信息科")
        expect(page.locator("[data-test=files] tbody")).to_contain_text("contact")
        expect(send).to_be_enabled()
        page.locator("[data-test=language]").click()
        wang_wei.check("catalogue-tried-zh")
        send.press("Enter")
        expect(page.locator("[data-test=import-told]")).to_contain_text("1 行已作为草稿写入")
        expect(send).to_be_disabled()
        broken = tmp_path / "broken.csv"
        broken.write_bytes("resource\n人口".encode("gb18030"))
        page.locator("input[name=file]").set_input_files(broken)
        page.get_by_role("button", name="试运行").press("Enter")
        alert = page.locator("[data-test=files]").get_by_role("alert")
        expect(alert).to_contain_text("broken.csv: not UTF-8")
        broken.unlink()
        page.get_by_role("button", name="试运行").press("Enter")
        expect(alert).to_contain_text("请重新选择")


# --- by role: these tests come last, as the figures are open to nobody behind them -------------------------

MENUS = {
    "li-na": set(),
    "chen-hao": {"Alerts", "Quality", "Assessment"},
    "sun-li": {"Alerts", "Quality", "Assessment", "Audit log", "Users"},
    "wu-gang": {"Alerts", "Quality", "Assessment", "Audit log", "Users"},
}
BY_ROLE = {"Alerts", "Quality", "Assessment", "Audit log", "Users"}


@pytest.fixture(scope="module")
def staff(stack: Stack, console: str) -> dict[str, str]:
    """Return a session of each person of MENUS; one of them has an account."""
    with Store.of(stack.settings) as store:
        accounts = Accounts(store, now)
        accounts.add("li-na", "correct horse battery staple")
        return {name: accounts.open_session(name, None, 3600) for name in MENUS}


@contextmanager
def seen_by(browser: Browser, console: str, session: str, locale: str = "en-GB") -> Iterator[Page]:
    """Yield the overview as somebody sees it."""
    with visiting(browser, console, session, locale) as visitor:
        visitor.page.goto(console)
        expect(visitor.page.locator("[data-test=logout]")).to_be_visible(timeout=PATIENCE_MS)
        yield visitor.page


def go(page: Page, name: str, text: str) -> list[dict[str, Any]]:
    """Open a page, wait for a text, and return what is not accessible."""
    page.goto(f"{page.url.partition('#')[0]}#/{name}")
    expect(page.locator("main")).to_contain_text(text, timeout=PATIENCE_MS)
    keep_screenshot(page, name)
    return violations(page)


@pytest.mark.parametrize("name", MENUS)
def test_menu_offers_each_role_its_own(
    browser: Browser, console: str, staff: dict[str, str], name: str
) -> None:
    with seen_by(browser, console, staff[name]) as page:
        links = page.locator("nav a")
        expect(links.filter(has_text="Overview")).to_have_count(1, timeout=PATIENCE_MS)
        offered = {title for title in BY_ROLE if links.filter(has_text=title).count()}
        assert offered == MENUS[name]
        page.goto(f"{console}#/users")
        if "Users" not in offered:
            expect(page.locator("main")).to_contain_text("None of your roles", timeout=PATIENCE_MS)
        assert page.get_by_role("button", name="Shut out").count() == 0 or name == "wu-gang"


def test_alert_is_acknowledged_and_silenced_by_keyboard_and_the_audit_log_says_who(
    browser: Browser, console: str, staff: dict[str, str], stack: Stack
) -> None:
    beat(stack)
    with seen_by(browser, console, staff["sun-li"]) as auditor:
        wrong = go(auditor, "alerts", "exchange connect market")
        assert auditor.get_by_role("button", name="Acknowledge").count() == 0
    with seen_by(browser, console, staff["chen-hao"]) as page:
        wrong += go(page, "alerts", "exchange connect market")
        expect(page.locator("[data-test=firing]")).to_contain_text("firing", timeout=PATIENCE_MS)
        one = page.locator(".alerts > li").filter(has_text="market (capture)").first
        one.get_by_role("button", name="Acknowledge").press("Enter")
        expect(one).to_contain_text("acknowledged by chen-hao", timeout=PATIENCE_MS)
        one.get_by_role("button", name="Silence").press("Enter")
        expect(page.get_by_label("Why nobody is to be told")).to_be_focused(timeout=PATIENCE_MS)
        wrong += violations(page)
        page.keyboard.type("the source moves")
        page.keyboard.press("Enter")
        expect(one).to_contain_text("silenced by chen-hao", timeout=PATIENCE_MS)
        expect(one).to_contain_text("the source moves", timeout=PATIENCE_MS)
    with seen_by(browser, console, staff["sun-li"], "zh-CN") as auditor:
        wrong += go(auditor, "audit", "the source moves")
        auditor.locator("input[name=event]").fill("acknowledge")
        auditor.keyboard.press("Enter")
        expect(auditor.locator("tbody")).not_to_contain_text("the source moves", timeout=PATIENCE_MS)
        expect(auditor.locator("tbody tr").first).to_contain_text("chen-hao", timeout=PATIENCE_MS)
        with auditor.expect_download(timeout=PATIENCE_MS) as saved:
            auditor.locator("[data-test=csv]").click()
        assert {line.split(",")[3] for line in saved.value.path().read_text().splitlines()} == {
            "event",
            "acknowledge",
        }

    assert not wrong, json.dumps(wrong)


def test_administrator_lets_somebody_in_and_shuts_them_out(
    browser: Browser, console: str, staff: dict[str, str]
) -> None:
    with seen_by(browser, console, staff["wu-gang"]) as page:
        wrong = go(page, "users", "Li Na")
        page.get_by_role("button", name="Let in zhao-min").press("Enter")
        expect(page.locator("input[type=password]")).to_be_focused(timeout=PATIENCE_MS)
        wrong += violations(page)
        page.keyboard.type("correct horse battery staple")
        page.keyboard.press("Enter")
        expect(page.locator("[data-test=told]")).to_contain_text("zhao-min can log in", timeout=PATIENCE_MS)
        page.get_by_role("button", name="Shut out zhao-min").press("Enter")
        expect(page.locator("[data-test=told]")).to_contain_text("is shut out", timeout=PATIENCE_MS)
        expect(page.locator("tbody tr").filter(has_text="zhao-min")).to_contain_text("shut out")
        assert page.get_by_role("button", name="Shut out wu-gang").count() == 0

    assert not wrong, json.dumps(wrong)


def test_assessment_is_saved_as_excel(browser: Browser, console: str, staff: dict[str, str]) -> None:
    with seen_by(browser, console, staff["chen-hao"]) as page:
        go(page, "report", "public_security")
        with page.expect_download(timeout=PATIENCE_MS) as saved:
            page.locator("[data-test=excel]").click()
        assert saved.value.suggested_filename.endswith(".xlsx")
        page.emulate_media(media="print")
        expect(page.locator("header")).to_be_hidden()
        expect(page.locator("table").first).to_be_visible()


def capture_so_far(stack: Stack, beside: IncrementalProgress | None = None) -> None:
    """Have a position of a source in Kafka, as its connector writes it."""
    codec = PositionCodec("population", stack.settings.secrets.ensure(POSITION_SECRET))
    position = SourcePosition(
        "population", "7", 1, "slot", 1, tables=("public.person",), incremental=beside
    )  # fmt: skip
    producer = Producer({**stack.settings.kafka_client("admin"), "acks": "all"})
    producer.produce(POSITIONS_TOPIC, codec.encode(position), b"cdc-population", partition=0)
    assert producer.flush(60) == 0


def beat_of_source(stack: Stack) -> None:
    redis = heartbeat.connect(stack.settings)
    figures = {"captured": 7, "since_last_change_s": 300, "retained_wal_bytes": 3 * 2**20}
    heartbeat.publish(redis, "capture", "cdc-population", "streaming", figures, [])
    redis.close()


def test_snapshot_is_ordered_by_keyboard_and_its_outcome_shown(
    browser: Browser, console: str, staff: dict[str, str], stack: Stack
) -> None:
    capture_so_far(stack)
    with visiting(browser, console, staff["sun-li"]) as sun_li:
        page = sun_li.go("connectors", "Connectors and workers")
        row = page.locator("[data-test=sources] tbody tr").filter(has_text="population (postgres)")
        expect(row).to_be_visible()
        assert row.get_by_role("button").count() == 0
    with visiting(browser, console, staff["chen-hao"]) as chen_hao:
        page = chen_hao.go("connectors", "Connectors and workers")
        row = page.locator("[data-test=sources] tbody tr").filter(has_text="population (postgres)")
        row.get_by_role("button", name="Read a table again").press("Enter")
        expect(page.locator("select[name=table]")).to_be_focused()
        page.locator("select[name=view]").select_option("school")
        page.get_by_label("Rows a second").fill("500")
        chen_hao.check("connectors-order-en")
        page.get_by_role("button", name="Read a table again", exact=True).last.press("Enter")
        expect(page.locator("[data-test=told]")).to_contain_text("public.person of population")
        expect(row).to_contain_text("ordered: public.person, school")
        expect(row).to_contain_text("Its connector is not at work")
        row.get_by_role("button", name="Pause population").press("Enter")
        expect(row).to_contain_text("is to pause")
        row.get_by_role("button", name="Resume population").press("Enter")
        expect(row).to_contain_text("ordered")
        with SnapshotOrders(stack.settings.kafka_client("admin"), "population") as orders:
            order = orders.read()
        assert order is not None
        assert (order.table, order.view, order.rows_per_s, order.wish) == (
            "public.person",
            "school",
            500,
            "run",
        )
        done = IncrementalProgress(
            order.operation,
            order.table,
            order.view,
            state=IncrementalState.RUNNING,
            rows=30,
            estimated_rows=90,
        )
        capture_so_far(stack, done)
        expect(row).to_contain_text("30 of about 90 rows read")
        beat_of_source(stack)
        expect(row).to_contain_text("5 min")
        expect(row).to_contain_text("3 MiB")
        chen_hao.check("connectors-running-en")
        capture_so_far(stack, replace(done, state=IncrementalState.FAILED, reason="the table is gone"))
        expect(row).to_contain_text("failed: public.person, school")
        expect(row).to_contain_text("the table is gone")
        row.get_by_role("button", name="Read a table again").press("Enter")
        page.keyboard.press("Escape")
        expect(row.get_by_role("button", name="Read a table again")).to_be_focused()
        page.locator("[data-test=language]").click()
        expect(row).to_contain_text("失败")
        chen_hao.check("connectors-failed-zh")


def test_connector_is_paused_by_keyboard_with_what_its_source_keeps_said_before(
    browser: Browser, console: str, staff: dict[str, str], stack: Stack
) -> None:
    capture_so_far(stack)
    beat_of_source(stack)
    with visiting(browser, console, staff["chen-hao"]) as chen_hao:
        page = chen_hao.go("connectors", "Connectors and workers")
        row = page.locator("[data-test=sources] tbody tr").filter(has_text="population (postgres)")
        row.get_by_role("button", name="Pause the connector").press("Enter")
        expect(page.locator("input[name=reason]")).to_be_focused()
        expect(page.locator("[data-test=meanwhile]")).to_contain_text("the disk there may fill up")
        expect(page.locator("form.act")).to_contain_text("Log kept for it now: 3 MiB")
        page.keyboard.press("Escape")
        expect(row.get_by_role("button", name="Pause the connector")).to_be_focused()
        page.keyboard.press("Enter")
        page.locator("input[name=reason]").fill("the disk is moved")
        chen_hao.check("connector-pause-en")
        page.keyboard.press("Enter")
        expect(page.locator("[data-test=told]")).to_contain_text("population is to pause")
        expect(row.locator("[data-test=paused]")).to_contain_text("by chen-hao: the disk is moved")
        expect(row.locator("[data-test=paused]")).to_contain_text("has not said yet")
        with Pauses(stack.settings.kafka_client("admin"), "population") as pauses:
            pause = pauses.read()
        assert pause is not None
        beat_of_pause(stack, pause)
        expect(row.locator("[data-test=paused]")).not_to_contain_text("has not said yet")
        page.locator("[data-test=language]").click()
        expect(row.locator("[data-test=paused]")).to_contain_text("由 chen-hao 暂停")
        chen_hao.check("connector-paused-zh")
        page.locator("[data-test=language]").click()
        page.goto(f"{console}#/overview")
        expect(page.locator("main")).to_contain_text("cdc-population: Paused since")
        page.goto(f"{console}#/connectors")
        row.get_by_role("button", name="Resume the connector").press("Enter")
        expect(page.locator("[data-test=told]")).to_contain_text("go on where it stopped")
        beat_of_source(stack)
        expect(row.locator("[data-test=paused]")).to_have_count(0)


def beat_of_pause(stack: Stack, pause: Pause) -> None:
    redis = heartbeat.connect(stack.settings)
    heartbeat.publish(redis, "capture", "cdc-population", PAUSED, pause.figures, [])
    redis.close()


def test_source_is_read_anew_by_keyboard_once_it_was_seen_what_that_does(
    browser: Browser, console: str, staff: dict[str, str], stack: Stack
) -> None:
    capture_so_far(stack)
    with visiting(browser, console, staff["chen-hao"]) as chen_hao:
        page = chen_hao.go("connectors", "Connectors and workers")
        row = page.locator("[data-test=sources] tbody tr").filter(has_text="population (postgres)")
        row.get_by_role("button", name="Empty and read anew").press("Enter")
        expect(page.locator("select[name=anew]")).to_be_focused()
        page.locator("select[name=anew]").select_option("public.person")
        page.locator("[data-test=anew-next]").press("Enter")
        expect(page.locator("[data-test=estimate]")).to_contain_text("Emptied and filled: population.person")
        chen_hao.check("connector-anew-en")
        page.keyboard.press("Escape")
        expect(row.get_by_role("button", name="Empty and read anew")).to_be_focused()
        page.keyboard.press("Enter")
        page.locator("[data-test=anew-next]").press("Enter")
        expect(page.locator("[data-test=estimate]")).to_contain_text("Subscribers who see that")
        page.locator("[data-test=anew-next]").press("Enter")
        expect(page.locator("[data-test=told]")).to_contain_text("population is to be read anew")
        expect(row.locator("[data-test=read-anew]")).to_contain_text("To be read anew: all tables")
        page.locator("[data-test=language]").click()
        expect(row.locator("[data-test=read-anew]")).to_contain_text("待重新读取：所有表")
        chen_hao.check("connector-anew-zh")
