"""`exchange demo` from nothing to the JSON object it ends with, twice in one home."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exchange import topology
from exchange.change import Reason
from exchange.files.contracts import load_contracts
from exchange.local.home import Home
from exchange.settings import Settings
from tests.stack import remove, wait_for

ROOT = Path(__file__).parents[2]
PRODUCT = ("-m", "exchange.cli")
SKIPPING = (
    "-c",
    f"""
import sys
from exchange import cli
from exchange.local import stack
stack.OWN_COMMAND = (sys.executable, {str(ROOT / "tests/faults/planted.py")!r}, "skip")
cli.main()
""",
)
"""The same, but its worker leaves out every twentieth record."""
DECLARED = topology.load(ROOT / "topology.yaml", load_contracts(ROOT / "avro"))


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="exchange-demo-"))
    try:
        yield path
    finally:
        remove(Settings(home=path))
        shutil.rmtree(path, ignore_errors=True)


def start(home: Path, *arguments: str, python: tuple[str, ...] = PRODUCT) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *python, "demo", *arguments],
        env=os.environ | {"EXCHANGE_HOME": str(home)},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(home: Path, *arguments: str) -> dict[str, Any]:
    child = start(home, *arguments)
    said, log = child.communicate(timeout=500)
    assert child.returncode == 0, log
    return dict(json.loads(said))


@pytest.fixture(scope="module")
def first(home: Path) -> dict[str, Any]:
    return run(home, "--for", "30", "--json")


def test_the_accounts_balance_and_nothing_is_left_on_its_way(first: dict[str, Any]) -> None:
    assert first["balanced"]
    assert first["problems"] == []
    assert first["in_flight"] == 0


def test_every_table_is_captured_and_every_view_delivered(first: dict[str, Any]) -> None:
    raw = {f"raw.{resource.system}.{resource.table}" for resource in DECLARED.resources.values()}
    assert set(first["captured_by_topic"]) == raw
    assert first["captured"] == sum(first["captured_by_topic"].values()) > 300
    assert set(first["delivered"]) == {f"share.{view}" for view in DECLARED.views}
    assert min(first["delivered"].values()) > 50


def test_captured_is_delivered_filtered_or_refused_for_each_view(first: dict[str, Any]) -> None:
    refused = 0
    for resource in DECLARED.resources.values():
        captured = first["captured_by_topic"][f"raw.{resource.system}.{resource.table}"]
        passed = {
            first["delivered"][f"share.{view}"] + first["filtered_by_topic"][f"share.{view}"]
            for view, spec in DECLARED.views.items()
            if DECLARED.resources[spec.resource] is resource
        }
        assert len(passed) == 1
        refused += captured - passed.pop()
    assert refused == sum(first["refused"].values()) > 0


def test_rows_are_refused_for_the_planted_reasons_only(first: dict[str, Any]) -> None:
    planted = {
        "cn_id_number",
        "cn_mobile",
        "cn_credit_code",
        "not_future",
        "code",
        "range",
        "pattern",
        "required",
    }
    assert set(first["refused"]) <= planted <= set(Reason)
    assert sum(first["refused"].values()) < 0.1 * first["captured"]
    assert first["filtered"] == sum(first["filtered_by_topic"].values()) > 0


def test_every_route_has_its_delay(first: dict[str, Any]) -> None:
    assert len(first["latency_ms"]) == len(DECLARED.views)
    for delay in first["latency_ms"].values():
        assert 0 < delay["p50"] <= delay["p95"] <= delay["p99"] < 60_000
    assert first["duration_s"] > 15


def test_nothing_runs_afterwards_and_client_files_are_private(home: Path, first: dict[str, Any]) -> None:
    assert first["balanced"]
    running = Home(home)
    assert [part for part in running.state().parts if running.running(part)] == []
    files = list((home / "clients").glob("*.properties"))
    assert {file.stem for file in files} == set(DECLARED.subscribers)
    assert all(oct(file.stat().st_mode)[-3:] == "600" for file in files)


def test_a_second_run_goes_on_and_ctrl_c_ends_it_in_order(home: Path, first: dict[str, Any]) -> None:
    child = start(home, "--json")
    clients = home / "clients" / "tax.properties"
    clients.unlink(missing_ok=True)
    wait_for(lambda: clients.exists() or child.poll() is not None, "the demonstration runs", 120)
    child.send_signal(signal.SIGINT)
    said, log = child.communicate(timeout=300)
    assert child.returncode == 0, log
    second = json.loads(said)
    assert second["balanced"]
    assert second["captured"] < first["captured"]


@pytest.mark.slow_faults
def test_a_worker_that_loses_records_is_told_by_the_exit_code(home: Path, first: dict[str, Any]) -> None:
    child = start(home, "--for", "5", "--json", python=SKIPPING)
    said, log = child.communicate(timeout=280)
    result = json.loads(said)
    assert (child.returncode, result["balanced"]) == (1, False), log
    assert 0 < result["in_flight"] < result["captured"] / 4
    assert sum(result["delivered"].values()) > 0
    assert first["balanced"]
