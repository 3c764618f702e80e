"""Dropped and loaded files on real Kafka: each once, whole or not at all, whatever is killed in between."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.capture import COMMAND
from tests.integration.push import PushBus, ids
from tests.stack import Stack, wait_for

RAW = "raw.registry.health.paper"
HEADER = "病例编号,次数,姓名,金额,日期,at,grade,open,tags,place\n"
CONNECT = ["connect", "registry"]


@pytest.fixture(scope="module")
def bus(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> PushBus:
    return PushBus(stack, tmp_path_factory.mktemp("files"))


def lines(name: str, count: int) -> str:
    return HEADER + "".join(f"{name}-{number},{number},,,,,,,,\n" for number in range(count))


def stored(bus: PushBus, name: str) -> Counter[str]:
    return Counter(one for one in ids(bus.records(RAW)) if one.startswith(f"{name}-"))


def wanted(name: str, count: int) -> Counter[str]:
    return Counter(f"{name}-{number}" for number in range(count))


def drop(bus: PushBus, name: str, content: str | bytes) -> None:
    """Drop a file as it should be done: written under another name, then renamed."""
    draft = bus.folder / f"{name}.part"
    draft.write_bytes(content if isinstance(content, bytes) else content.encode())
    draft.rename(bus.folder / name)


def test_dropped_files_are_loaded_once_refused_with_a_report_and_left_while_unfinished(bus: PushBus) -> None:
    (bus.folder / "half.csv.part").write_text(lines("half", 3))
    drop(bus, "gb.csv", lines("gb", 3).encode("gb18030"))
    drop(bus, "bad.csv", lines("bad", 3) + "bad-9,110101199003078515,,,,,,,,\n")
    drop(bus, "again.csv", lines("gb", 3).encode("gb18030"))
    done, failed = bus.folder / "done", bus.folder / "failed"
    with bus.running([*COMMAND, *CONNECT]):
        wait_for(lambda: (done / "gb.csv").exists() and (done / "again.csv").exists(), "two files to be done")
        wait_for((failed / "bad.csv").exists, "the bad file to be refused")
    by_hand = bus.cli("load", str(done / "gb.csv"), "--resource", "health.paper", "--json")

    report = (failed / "bad.csv.report.json").read_text()
    assert json.loads(report)["refusals"] == [{"line": 5, "field": "count", "rule": "type"}]
    assert "110101199003078515" not in report
    assert stored(bus, "gb") == wanted("gb", 3)
    assert stored(bus, "bad") == stored(bus, "half") == Counter()
    assert (bus.folder / "half.csv.part").exists()
    answer = json.loads(by_hand.stdout)
    assert (answer["loaded"], answer["loaded_before"]) == (0, 3)


def test_a_dry_run_shows_refusals_and_writes_nothing(bus: PushBus, tmp_path: Path) -> None:
    path = tmp_path / "dry.csv"
    path.write_text(lines("dry", 2) + "dry-9,-1,,,,,,,,\n")

    shown = bus.cli("load", str(path), "--resource", "health.paper", "--dry-run", check=False)
    real = bus.cli("load", str(path), "--resource", "health.paper", check=False)
    wrong = bus.cli("load", str(path), "--resource", "health.case", check=False)

    assert (shown.returncode, real.returncode, wrong.returncode) == (1, 1, 1)
    assert shown.stdout == "line 4: count: range\n1 of 3 rows break the contract; nothing was loaded\n"
    assert "takes no files" in wrong.stderr
    assert stored(bus, "dry") == Counter()


def test_a_load_by_hand_interrupted_goes_on(bus: PushBus, tmp_path: Path) -> None:
    count = 12_000
    path = tmp_path / "hand.csv"
    path.write_text(lines("hand", count))
    load = [*COMMAND, "load", str(path), "--resource", "health.paper"]
    first = subprocess.Popen([sys.executable, *load], env=bus.environment, stderr=subprocess.PIPE)
    try:
        wait_for(lambda: stored(bus, "hand"), "the first rows")
        first.send_signal(signal.SIGINT)
        told = first.communicate(timeout=60)[1].decode()
    finally:
        first.kill()
    second = bus.cli("load", str(path), "--resource", "health.paper", "--json")

    assert first.returncode in (0, 130)  # 0 where it was quicker
    assert "Traceback" not in told
    answer = json.loads(second.stdout)
    assert answer["loaded"] + answer["loaded_before"] == count
    assert answer["loaded_before"] > 0
    assert stored(bus, "hand") == wanted("hand", count)
