"""What rules of `watch` count, and what is read from Kafka's log and the positions of groups."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from exchange.errors import ConfigError
from exchange.governance.clock import ZONE
from exchange.topology.model import Governance
from exchange.topology.watch import (
    AnyWatchRule,
    DenialsRule,
    ExpectedRule,
    OffHoursRule,
    RereadRule,
    VolumeRule,
)
from exchange.watch.kafka import DenialLog, moves
from exchange.watch.rules import Act, Seen, counted_by, limit
from tests.unit.exchange.topologies import GOOD, load

MONDAY = dt.datetime(2026, 3, 2, 10, 0, tzinfo=ZONE)
SATURDAY = dt.datetime(2026, 3, 7, 10, 0, tzinfo=ZONE)
NIGHT = dt.datetime(2026, 3, 2, 2, 0, tzinfo=ZONE)
OFF = OffHoursRule(kind="off_hours", opens="08:30", closes="18:00")


@pytest.mark.parametrize(
    ("rule", "act", "at", "counted"),
    [
        (DenialsRule(kind="denials", count=9), Act.DENIED, MONDAY, 7),
        (DenialsRule(kind="denials", count=9), Act.READ, MONDAY, 0),
        (VolumeRule(kind="volume", records=9), Act.READ, MONDAY, 7),
        (VolumeRule(kind="volume", records=9), Act.WENT_BACK, MONDAY, 0),
        (ExpectedRule(kind="expected"), Act.READ, MONDAY, 7),
        (ExpectedRule(kind="expected"), Act.DENIED, MONDAY, 0),
        (VolumeRule(kind="volume", records=9, spare=("tax",)), Act.READ, MONDAY, 0),
        (RereadRule(kind="reread", records=7), Act.WENT_BACK, MONDAY, 1),
        (RereadRule(kind="reread", records=8), Act.WENT_BACK, MONDAY, 0),
        (RereadRule(kind="reread"), Act.READ, MONDAY, 0),
        (OFF, Act.READ, MONDAY, 0),
        (OFF, Act.READ, NIGHT, 7),
        (OFF, Act.READ, SATURDAY, 7),
        (OFF, Act.READ, MONDAY.replace(hour=18), 7),
        (OFF, Act.DENIED, NIGHT, 0),
    ],
)
def test_a_rule_counts_what_it_is_about(rule: AnyWatchRule, act: Act, at: dt.datetime, counted: int) -> None:
    seen = Seen(act, "tax", "a.b.c", 7, at.astimezone(dt.UTC))
    assert counted_by(rule, seen, Governance()) == counted


def test_an_expected_volume_is_the_grants_for_the_time_of_the_window() -> None:
    rule = ExpectedRule(kind="expected", percent=150, within_minutes=720)
    text = GOOD + "    expected_records_per_day: 1001\n"
    declared = load(text).topology
    expected = declared.expected_records_per_day("tax", "population.person.basic")
    assert (expected, limit(rule, expected)) == (1001, 751)
    assert declared.expected_records_per_day("tax", "population.street.all") is None
    assert limit(rule, None) is None
    assert limit(VolumeRule(kind="volume", records=9), None) == 9


def test_a_holiday_of_the_file_is_out_of_hours() -> None:
    seen = Seen(Act.READ, "tax", "a.b.c", 7, MONDAY)
    assert counted_by(OFF, seen, Governance(holidays=(MONDAY.date(),))) == 7


def test_moves_are_told_by_view_and_a_group_not_seen_before_did_nothing_yet() -> None:
    before = {
        ("tax.main", "share.a.b.c", 0): 10,
        ("tax.main", "share.a.b.c", 1): 10,
        ("tax.x", "share.a.b.d", 0): 5,
    }
    now = {
        ("tax.main", "share.a.b.c", 0): 15,
        ("tax.main", "share.a.b.c", 1): 10,
        ("tax.x", "share.a.b.d", 0): 2,
        ("tax.new", "share.a.b.c", 0): 900,
    }
    assert list(moves(before, now, MONDAY)) == [
        Seen(Act.READ, "tax", "a.b.c", 5, MONDAY),
        Seen(Act.WENT_BACK, "tax", "a.b.d", 3, MONDAY),
    ]


DENIAL = (
    "2026-03-02T10:00:00,000 INFO logger: Principal = User:{} is Denied operation = READ from host ="
    " 127.0.0.1 on resource = Topic:LITERAL:raw.a.b.c for request = Fetch with resourceRefCount = 1"
    " based on rule DefaultDeny\n"
)


def test_denials_are_read_from_the_end_of_a_log_on_also_when_it_is_rotated(tmp_path: Path) -> None:
    file = tmp_path / "kafka.log"
    log = DenialLog(file)
    assert not log.read()
    file.write_text(DENIAL.format("early"))
    assert not log.read()  # what was there before
    with file.open("a") as out:
        out.write("INFO: something else\n" + DENIAL.format("tax") * 2 + DENIAL.format("housing")[:60])
    assert log.read() == {"tax": 2}
    with file.open("a") as out:
        out.write(DENIAL.format("housing")[60:])
    assert log.read() == {"housing": 1}
    file.rename(tmp_path / "kafka.log.1")
    file.write_text(DENIAL.format("tax"))
    assert log.read() == {"tax": 1}


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("{kind: volume, records: 5, spare: [nobody]}", "'nobody' is not among the subscribers"),
        ("{kind: off_hours, opens: '18:00', closes: '08:00'}", "before it begins at 18:00"),
        ("{kind: off_hours, opens: '25:00', closes: '26:00'}", "is no time of day"),
        ("{kind: volume}", "records"),
        ("{kind: nonsense}", "kind"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused_with_its_place(rule: str, told: str) -> None:
    load(GOOD + "watch:\n  one: {kind: volume, records: 5, action: suspend}\n")
    with pytest.raises(ConfigError, match=told):
        load(GOOD + f"watch:\n  one: {rule}\n")
