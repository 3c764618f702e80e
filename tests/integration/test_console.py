"""The console in a real browser on the real monitor: what it shows, for whom, and without one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer
from playwright.sync_api import Browser, Page, expect, sync_playwright

from exchange import heartbeat
from exchange.plan import ACCOUNTS_TOPIC
from monitor.api.console import BUILT
from tests.integration.test_monitor import pair
from tests.stack import Stack, wait_for

SHARES_STACK = True
CHROMIUM = shutil.which("chromium")
AXE = BUILT.parent / "node_modules" / "axe-core" / "axe.min.js"
SCREENSHOTS = os.environ.get("EXCHANGE_SCREENSHOTS")
PATIENCE_MS = 30_000
TOPIC = "raw.console.public.t"
PAGES = ("overview", "quarantine", "connectors")
TITLES = {
    "en": {"overview": "Overview", "quarantine": "Quarantine", "connectors": "Connectors and workers"},
    "zh": {"overview": "总览", "quarantine": "隔离区", "connectors": "连接器与处理进程"},
}
HALT = "<img src=x onerror=document.title='ran'> was dropped and made anew"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium in PATH (Debian: apt install chromium)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Chromium's sandbox does not start as root, as tests in a container run.
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def console(stack: Stack) -> str:
    """Return the console's address, once the monitor has figures to show."""
    url = stack.settings.endpoints().api
    accounts = pair(TOPIC)
    producer = Producer({**stack.settings.kafka_client("admin"), "acks": "all"})
    for account in (accounts.capture, accounts.process):
        producer.produce(ACCOUNTS_TOPIC, account.encode())
    assert producer.flush(20) == 0

    def refused() -> bool:
        answer = httpx.get(f"{url}/api/refusals?topic={TOPIC}", trust_env=False, timeout=20)
        return answer.status_code == 200 and bool(answer.json()["refusals"])

    wait_for(refused, "the refusals in the API")
    return f"{url}/console/"


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """Yield a page; a connector that is halted has been heard of."""
    redis = heartbeat.connect(stack.settings)
    halt = {"topic": "", "partition": -1, "offset": -1, "reason": HALT}
    heartbeat.publish(redis, "capture", "cdc-console", "halted", {"captured": 12345}, [halt])
    redis.close()
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB")
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


def open_page(page: Page, console: str, name: str, language: str) -> None:
    page.goto(f"{console}#/{name}")
    if page.locator("html").get_attribute("lang") != language:
        page.locator("[data-test=language]").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(TITLES[language][name], timeout=PATIENCE_MS)
    expect(page.locator("main table")).to_be_visible(timeout=PATIENCE_MS)


def keep_screenshot(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")


def violations(page: Page) -> list[dict[str, Any]]:
    page.evaluate(AXE.read_text())
    return [
        {"id": one["id"], "at": [node["target"] for node in one["nodes"]]}
        for one in page.evaluate("axe.run()")["violations"]
    ]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", PAGES)
def test_page_shows_its_figures(page: Page, console: str, name: str, language: str) -> None:
    seen = {"overview": TOPIC, "quarantine": TOPIC, "connectors": "cdc-console"}

    open_page(page, console, name, language)

    expect(page.locator("main table")).to_contain_text(seen[name], timeout=PATIENCE_MS)
    keep_screenshot(page, f"{name}-{language}")


@pytest.mark.skipif(not AXE.exists(), reason="no axe-core in monitor/console/node_modules (make console)")
@pytest.mark.parametrize("name", PAGES)
def test_page_is_accessible_in_both_themes(page: Page, console: str, name: str) -> None:
    open_page(page, console, name, "zh")
    first = violations(page)
    page.locator("[data-test=theme]").click()
    second = violations(page)
    keep_screenshot(page, f"{name}-other-theme")

    assert not first, json.dumps(first)
    assert not second, json.dumps(second)


@pytest.mark.skipif(not AXE.exists(), reason="no axe-core in monitor/console/node_modules (make console)")
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
    expect(commands).to_contain_text("exchange quarantine redrive test.accounts --reason length")


def test_monitor_that_is_away_is_said_and_comes_back(page: Page, console: str) -> None:
    open_page(page, console, "overview", "en")

    page.context.set_offline(True)
    expect(page.get_by_role("alert")).to_contain_text("does not answer", timeout=PATIENCE_MS)
    page.context.set_offline(False)

    expect(page.get_by_role("alert")).to_have_count(0, timeout=PATIENCE_MS)


def test_keyboard_alone_reaches_every_page_and_switch(page: Page, console: str) -> None:
    open_page(page, console, "overview", "en")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Quarantine")

    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text("隔离区")
