"""`exchange alert` on a store with an alert in it, and what topology.yaml may say of alerts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer

from exchange.alerting.alert import Alert, State
from exchange.alerting.rules import Alerting, WebhookChannel
from exchange.alerting.store import AlertStore
from exchange.commands import alert as command
from exchange.commands.status_text import figures_text
from exchange.errors import ConfigError, GovernanceError
from exchange.governance.store import Store
from exchange.settings import Settings
from exchange.signing import read_keys
from tests.unit.exchange.topologies import GOOD, load
from tests.unit.monitor.test_alerts import alert

ALERTS = """
alerts:
  rules:
    night: {kind: lag, where: ["raw.*"], threshold: 900}
  channels:
    duty: {kind: webhook, url: "https://duty.example/bus", keys_env: DUTY_KEYS}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXCHANGE_HOME", str(tmp_path))
    return tmp_path


def kept(*alerts: Alert) -> list[Alert]:
    with Store.of(Settings()) as store:
        return AlertStore(store).keep(alerts, [], {}, 1000)


def test_without_a_store_there_is_no_alert_and_none_is_made(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.list_alerts()

    assert capsys.readouterr().out == "no alerts\n"
    assert list(home.iterdir()) == []


def test_a_firing_alert_is_listed_with_cause_and_remedy_and_exit_code_1(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept(alert())

    with pytest.raises(typer.Exit) as ended:
        command.list_alerts()

    assert ended.value.exit_code == 1
    text = capsys.readouterr().out
    assert text.startswith(
        "FIRING alert 1 [critical] since 1970-01-01 00:00 UTC: Stage process has not moved"
    )
    assert "  cause: " in text
    assert "  do: " in text


def test_who_acknowledged_and_who_silenced_why_is_listed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [one] = kept(alert())

    command.ack(one.id, actor="li-na")
    acknowledged = capsys.readouterr().out
    command.silence(one.id, "4h", "moving the source", actor="wang-wei")
    capsys.readouterr()
    command.list_alerts(as_json=True)

    assert acknowledged.startswith("ACKNOWLEDGED by li-na alert 1")
    [found] = json.loads(capsys.readouterr().out)["alerts"]
    assert (found["state"], found["by"], found["reason"]) == ("silenced", "wang-wei", "moving the source")


@pytest.mark.parametrize("duration", ["", "4", "h", "0h", "-1h", "31d", "4 h", "1e3m"])
def test_a_time_that_is_none_is_refused(home: Path, duration: str) -> None:
    with pytest.raises(ConfigError, match="30m, 4h or 2d"):
        command.silence(1, duration, "why")


def test_an_alert_that_is_over_or_silence_without_a_reason_is_refused(home: Path) -> None:
    [one] = kept(alert())
    with pytest.raises(GovernanceError, match="needs a reason"):
        command.silence(one.id, "4h", " ")
    with Store.of(Settings()) as store:
        AlertStore(store).keep([], [one.key], {}, 2000)

    with pytest.raises(GovernanceError, match="alert 1 is resolved"):
        command.ack(one.id)


def test_the_newest_page_first_and_the_next_one_after_it(home: Path) -> None:
    kept(*(alert(key=f"stall|{number}") for number in range(5)))
    with Store.of(Settings()) as store:
        first = AlertStore(store).page([State.FIRING], None, 3)
        second = AlertStore(store).page([State.FIRING], first.next_before, 3)

    assert [one.id for one in (*first.alerts, *second.alerts)] == [5, 4, 3, 2, 1]
    assert second.next_before is None


def test_a_channel_that_is_added_is_told_of_what_fires_and_its_limit_holds(home: Path) -> None:
    channel = WebhookChannel(kind="webhook", url="https://x", keys_env="K", most_per_hour=2)
    kept(*(alert(key=f"stall|{number}") for number in range(3)))
    with Store.of(Settings()) as store:
        alerts = AlertStore(store)
        assert alerts.due({"duty": channel}, 1000) == []
        alerts.keep([], [], {"duty": channel}, 2000)
        due = alerts.due({"duty": channel}, 2000)
        assert len(due) == 2
        for notice in due:
            alerts.sent(notice, 2000)
        assert alerts.due({"duty": channel}, 3000) == []
        assert len(alerts.due({"duty": channel}, 2000 + 3_600_001)) == 1


def test_status_names_alerts_before_all_else() -> None:
    figures = {
        "alerts": [alert(id=3).model_dump(mode="json")], "parts": {"redis": {"ok": False, "text": "away"}},
        "workers": [], "balance": None, "balance_minutes": 1440, "routes": None, "routes_window_s": 300,
        "subscribers": None,
    }  # fmt: skip

    assert figures_text(figures).startswith("FIRING alert 3")


def test_alerts_of_a_topology_are_read_and_go_into_force_with_the_plan() -> None:
    alerts = load(GOOD + ALERTS).topology.alerts

    assert alerts.rule("lag", "raw.population.public.person").threshold == 900
    assert alerts.rule("lag", "raw.population.public.person").for_s == 60
    assert isinstance(alerts.channels["duty"], WebhookChannel)
    assert Alerting.model_validate_json(alerts.model_dump_json()) == alerts


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("kind: lagg", "alerts.rules.night"),
        ("kind: lag, threshold: -1", "alerts.rules.night.threshold"),
        ("kind: lag, thresold: 1", "alerts.rules.night: unknown key 'thresold' (allowed: enabled"),
    ],
)
def test_a_rule_that_is_wrong_is_told_by_its_place(wrong: str, told: str) -> None:
    broken = ALERTS.replace('kind: lag, where: ["raw.*"], threshold: 900', wrong)

    with pytest.raises(ConfigError, match=re.escape(told)):
        load(GOOD + broken)


def test_a_key_of_a_channel_is_made_and_one_of_another_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "topology.yaml").write_text(GOOD + ALERTS)
    monkeypatch.setenv("EXCHANGE_TOPOLOGY", str(home / "topology.yaml"))

    command.key("duty")

    [key] = read_keys(Settings().secrets, "DUTY_KEYS", "hmac")
    assert capsys.readouterr().out == key.for_the_receiver() + "\n"
    with pytest.raises(ConfigError, match="no channel of kind webhook"):
        command.key("dutty")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("kind: webhook, keys_env: K, url: 'ftp://x'", "alerts.channels.duty.url: "),
        (
            "kind: webhook, keys_env: K, uri: 'https://x'",
            "alerts.channels.duty: unknown key 'uri' (allowed: ",
        ),
        ("url: 'https://x'", "a channel is of kind webhook or mail"),
        ("kind: pager", "'pager' is not one of"),
    ],
)
def test_a_channel_that_is_wrong_is_told_by_its_place(wrong: str, told: str) -> None:
    broken = ALERTS.replace('kind: webhook, url: "https://duty.example/bus", keys_env: DUTY_KEYS', wrong)

    with pytest.raises(ConfigError, match=re.escape(told)):
        load(GOOD + broken)
