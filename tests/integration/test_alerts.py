"""Alerts on the real parts: they name stage and minute within a minute, and each notice arrives once."""

from __future__ import annotations

import email
import email.policy
import json
import os
import re
import signal
import threading
import time
from collections import Counter
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiosmtpd.controller import Controller
from confluent_kafka import Consumer, Producer, TopicPartition
from ruamel.yaml import YAML

from exchange import local
from exchange.alerting.alert import Event, State
from exchange.alerting.rules import Alerting, AlertRule, MailChannel, WebhookChannel
from exchange.alerting.store import AlertStore, Notice
from exchange.apply.access import STREAM_GROUP
from exchange.apply.publish import publish
from exchange.change import Position
from exchange.cluster import TopicSpec
from exchange.errors import TransientError
from exchange.governance.store import Store
from exchange.local.home import any_free
from exchange.plan import PublishedPlan
from exchange.settings import Secrets
from exchange.signing import new_key, read_keys, signature_header
from monitor.alerts import mail, webhook
from tests.integration.test_monitor import api, pair, view, write
from tests.stack import Stack, wait_for
from tests.unit.monitor.test_alerts import alert, plan

KEYS = "TEST_ALERT_KEYS"
STANDING = "raw.standing.public.t"
DOCKER = Path(__file__).parents[2] / "docker"


class Receiver:
    """A receiver of webhooks that keeps what it took; `answers` are used up before it answers 204."""

    def __init__(self, port: int) -> None:
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.answers.pop(0) if receiver.answers else 204
                if status == 204:
                    receiver.taken.append(({name.lower(): self.headers[name] for name in self.headers}, body))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def about(self, where: str) -> list[dict[str, Any]]:
        documents = (json.loads(body) for _, body in self.taken)
        return [document for document in documents if document["data"]["where"] == where]


class Mailbox:
    """A mail server that keeps what it took."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:
        self.taken.append(envelope.content)
        return "250 OK"


@pytest.fixture(scope="module")
def receiver_port() -> int:
    return any_free(())


@pytest.fixture(scope="module")
def planned(stack: Stack, receiver_port: int) -> Stack:
    """The stack, with a plan whose alerts go to the receiver."""
    stack.settings.secrets.put(KEYS, new_key("hmac").as_secret())
    alerts = Alerting(
        rules={"standing": AlertRule(kind="stall", threshold=10)},
        channels={
            "duty": WebhookChannel(
                kind="webhook", url=f"http://127.0.0.1:{receiver_port}/hook", keys_env=KEYS
            )
        },
    )
    [resource] = plan().resources
    standing = resource.model_copy(update={"raw_topic": STANDING})
    publish(
        stack.settings.kafka_client("admin"),
        PublishedPlan(version=1, systems=(), resources=(standing,), alerts=alerts),
    )
    return stack


def active(stack: Stack, where: str, state: str = "firing") -> Any:
    found = api(stack, f"/api/alerts?state={state}")["alerts"]
    return next((one for one in found if one["where"] == where), None)


def restart_monitor(stack: Stack) -> None:
    [monitor] = [part for part in local.status(stack.settings) if part.part == "monitor"]
    assert monitor.pid is not None
    os.kill(monitor.pid, signal.SIGKILL)
    local.up(stack.settings, lambda _: None, ["monitor"])


def test_an_imbalance_is_told_once_over_a_restart_and_an_absent_receiver(
    planned: Stack, receiver_port: int
) -> None:
    topic = "raw.alerted.public.t"
    bad = pair(topic)
    figures = bad.process.views[view(topic, "one")]
    figures.delivered -= 1
    figures.delivered_sum = (figures.delivered_sum - Position(7, 1000, 0).hash64()) % 2**64
    producer = Producer({**planned.settings.kafka_client("admin"), "acks": "all"})
    began = time.monotonic()
    write(producer, bad.capture, bad.process)

    found = wait_for(lambda: active(planned, view(topic, "one")), "the imbalance fires", 120)
    assert time.monotonic() - began < 60
    assert (found["kind"], found["stage"], found["severity"]) == ("imbalance", "deliver", "critical")
    assert found["since_ms"] == bad.process.minute * 60_000
    assert "1 processed change neither delivered" in found["what"]["en"]
    assert all(found[part][language] for part in ("what", "cause", "action") for language in ("zh", "en"))

    with Store.of(planned.settings) as store:
        channels = Alerting(
            channels={"duty": WebhookChannel(kind="webhook", url="https://x", keys_env=KEYS)}
        ).channels
        tried = wait_for(
            lambda: [one for one in AlertStore(store).due(channels, 2**60) if one.tries], "a try in vain"
        )
    assert {one.event for one in tried} == {Event.FIRING}
    restart_monitor(planned)
    receiver = Receiver(receiver_port)
    try:
        receiver.answers = [503]
        wait_for(lambda: receiver.about(view(topic, "one")), "the notice", 120)
        wait_for(lambda: active(planned, view(topic, "one")), "it still fires after the restart", 60)
        again = "raw.alerted.public.again"
        other = pair(again)
        write(producer, other.capture, other.process, other.process)
        wait_for(lambda: receiver.about(again), "the notice of another one", 120)
    finally:
        receiver.close()

    ids = Counter(headers["webhook-id"] for headers, _ in receiver.taken)
    assert set(ids.values()) == {1}
    assert len(receiver.about(view(topic, "one"))) == 1
    headers, body = receiver.taken[0]
    keys = read_keys(planned.settings.secrets, KEYS, "hmac")
    signed = signature_header(keys, headers["webhook-id"], int(headers["webhook-timestamp"]), body)
    assert headers["webhook-signature"] == signed


def test_a_group_that_stands_before_records_is_a_stall_and_one_that_moves_is_over(planned: Stack) -> None:
    topic = STANDING
    planned.admin.ensure_topics([TopicSpec(topic, 1)])
    client = planned.settings.kafka_client("admin")
    producer = Producer({**client, "acks": "all"})
    for _ in range(5):
        producer.produce(topic, b"record")
    assert producer.flush(20) == 0
    began_ms = time.time_ns() // 1_000_000
    reader = Consumer({**client, "group.id": STREAM_GROUP})
    reader.commit(offsets=[TopicPartition(topic, 0, 2)], asynchronous=False)

    found = wait_for(lambda: active(planned, topic), "the stall fires", 120)
    assert (found["kind"], found["stage"]) == ("stall", "process")
    assert began_ms - 10_000 <= found["since_ms"] <= found["fired_at_ms"] <= began_ms + 60_000

    reader.commit(offsets=[TopicPartition(topic, 0, 5)], asynchronous=False)
    reader.close()
    over = wait_for(lambda: active(planned, topic, "resolved"), "the stall is over", 120)
    assert over["id"] == found["id"]


def test_status_names_firing_alerts_first_and_metrics_count_them(planned: Stack) -> None:
    wait_for(lambda: api(planned, "/api/status")["alerts"], "active alerts in the status")

    alerts = api(planned, "/api/status")["alerts"]

    states = [State(one["state"]) for one in alerts]
    assert states == sorted(states, key=list(State).index)


def test_a_mail_arrives_in_both_languages_and_one_that_is_not_taken_is_tried_again(tmp_path: Path) -> None:
    box = Mailbox()
    port = any_free(())
    channel = MailChannel(
        kind="mail", host="127.0.0.1", port=port, tls="none", sender="bus@city.example",
        recipients=("duty@city.example",),
    )  # fmt: skip
    fired = Notice("alert_1_firing_mail", "mail", Event.FIRING, 0, alert(id=1))
    with pytest.raises(TransientError, match=r"127\.0\.0\.1: the mail was not taken"):
        mail.send(channel, fired, Secrets(tmp_path))
    server = Controller(box, hostname="127.0.0.1", port=port)
    server.start()
    try:
        mail.send(channel, fired, Secrets(tmp_path))
    finally:
        server.stop()

    [taken] = box.taken
    found: Message = email.message_from_bytes(taken, policy=email.policy.default)
    text = found.get_payload(decode=True)
    assert isinstance(text, bytes)
    assert found["Message-ID"] == "<alert_1_firing_mail@city.example>"
    assert "没有进展" in text.decode()
    assert "has not moved" in text.decode()


def test_forgetting_to_note_a_sent_notice_shows_as_a_second_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checker of the first test sees what it is for; the running monitor does not know this receiver."""
    receiver_port = any_free(())
    secrets = Secrets(tmp_path)
    secrets.put(KEYS, new_key("hmac").as_secret())
    channel = WebhookChannel(kind="webhook", url=f"http://127.0.0.1:{receiver_port}/hook", keys_env=KEYS)

    def taken(name: str) -> Counter[str]:
        receiver = Receiver(receiver_port)
        try:
            with Store(f"sqlite:///{tmp_path / name}") as store:
                alerts = AlertStore(store)
                alerts.keep([alert()], [], {"duty": channel}, 1000)
                for now_ms in (1000, 2000):
                    for notice in alerts.due({"duty": channel}, now_ms):
                        webhook.send(channel, notice, secrets)
                        alerts.sent(notice, now_ms)
        finally:
            receiver.close()
        return Counter(headers["webhook-id"] for headers, _ in receiver.taken)

    assert set(taken("good.db").values()) == {1}
    monkeypatch.setattr(AlertStore, "sent", lambda *_: None)
    assert set(taken("planted.db").values()) == {2}


def used_metrics(text: str) -> set[str]:
    """Return the names of the bus's metrics in queries."""
    return set(re.findall(r"\b(?:exchange|kafka)_[a-z_]+\b", text))


def test_every_metric_of_dashboards_and_alert_rules_is_one_of_a_running_bus(planned: Stack) -> None:
    text = httpx.get(planned.settings.endpoints().api + "/metrics", trust_env=False, timeout=60).text
    there = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    boards = [json.loads(file.read_text()) for file in (DOCKER / "grafana" / "dashboards").glob("*.json")]
    rules = YAML(typ="safe").load((DOCKER / "prometheus" / "alerts.yml").read_text())
    queries = [target["expr"] for board in boards for panel in board["panels"] for target in panel["targets"]]
    queries += [one["query"] for board in boards for one in board["templating"]["list"]]
    queries += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    used = set[str]().union(*map(used_metrics, queries))

    assert len(boards) == 2
    assert len(used) >= 12
    assert used - there == set()
    assert used_metrics("sum(exchange_route_delay_secs)") - there  # a wrong name is seen


def test_a_month_of_accounts_is_told_as_indicators_score_and_broken_rules(planned: Stack) -> None:
    topic, month = "raw.quality.public.t", time.strftime("%Y-%m", time.gmtime())
    good = pair(topic)
    producer = Producer({**planned.settings.kafka_client("admin"), "acks": "all"})
    write(producer, good.capture, good.process)

    def look() -> Any:
        answer = api(planned, f"/api/quality?month={month}")
        found = next((one for one in answer["resources"] if one["topic"] == topic), None)
        whole = found and found["indicators"]["consistency"] == found["indicators"]["timeliness"] == 1
        return (found, answer["views"]) if whole else None

    found, views = wait_for(look, "the day's figures", 120)
    assert (found["captured"], found["refused"]) == (20, 2)
    assert found["indicators"] == {
        "completeness": 1.0, "validity": 0.9, "uniqueness": 1.0, "timeliness": 1.0, "consistency": 1.0,
    }  # fmt: skip
    assert found["score"] == 98.0
    assert found["score_before"] is None
    assert found["worst"] == [
        {"stage": "process", "reason": "length", "field": "name", "changes": 2, "examples": []}
    ]
    assert {one["view_topic"]: one["delivered"] for one in views}[view(topic, "one")] == 18
    assert (
        httpx.get(
            planned.settings.endpoints().api + "/api/quality?month=2026-13", trust_env=False
        ).status_code
        == 400
    )
