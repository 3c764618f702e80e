"""`exchange bench`: the bus measured beside its limits and its peers, on parts of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from exchange.errors import ConfigError

_Records = Annotated[int, typer.Option(help="Records that are measured in each round.", min=1_000)]
_Rounds = Annotated[int, typer.Option(help="Times that every competitor runs, in turn.", min=1)]
_Workers = Annotated[int, typer.Option(help="Worker processes of the bus.", min=1, max=4)]
_Peers = Annotated[bool, typer.Option("--peers", help="Let other systems do the same work beside it.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of a table.")]


def pipeline(
    records: Annotated[
        int, typer.Option(help="Records that are measured in each round.", min=1_000)
    ] = 600_000,
    rounds: _Rounds = 3,
    workers: _Workers = 1,
    peers: _Peers = False,
    as_json: _Json = False,
) -> None:
    """Measure raw records to one masked view, exactly once, against a loop that does nothing.

    All parts are started in a temporary home and stopped at the end; Ctrl-C does so too. The output of every
    competitor is counted and looked into; a wrong one is an error. --peers: Kafka Streams (needs a JDK),
    Quix Streams (needs `make setup-bench`) and Faust with its own driver.

    Examples:
      exchange bench pipeline
      exchange bench pipeline --peers --json
      exchange bench pipeline --records 100000 --rounds 1 --workers 2
    """

    def run() -> dict[str, Any]:
        from bench import pipeline

        return pipeline.run(records, rounds, workers, with_peers=peers)

    _show(run, as_json=as_json)


def fanout(
    records: Annotated[
        int, typer.Option(help="Records that are measured in each round.", min=1_000)
    ] = 300_000,
    rounds: _Rounds = 3,
    workers: _Workers = 1,
    as_json: _Json = False,
) -> None:
    """Measure what five distinct views of a table cost against one.

    Examples:
      exchange bench fanout
      exchange bench fanout --records 100000 --rounds 1 --json
    """

    def run() -> dict[str, Any]:
        from bench import fanout

        return fanout.run(records, rounds, workers)

    _show(run, as_json=as_json)


def subscribers(
    records: Annotated[
        int, typer.Option(help="Records that are measured in each round.", min=1_000)
    ] = 100_000,
    rounds: _Rounds = 3,
    workers: _Workers = 1,
    count: Annotated[
        int, typer.Option("--subscribers", help="How many the bus with many has.", min=11, max=10_000)
    ] = 1_000,
    as_json: _Json = False,
) -> None:
    """Measure whether a worker feels a thousand subscribers of ten views, against ten.

    Examples:
      exchange bench subscribers
      exchange bench subscribers --records 50000 --rounds 1 --subscribers 200
    """

    def run() -> dict[str, Any]:
        from bench import subscribers

        return subscribers.run(records, rounds, workers, count)

    _show(run, as_json=as_json)


class _From(StrEnum):
    RAW = "raw"
    SOURCE = "source"


def latency(
    from_: Annotated[
        _From, typer.Option("--from", help="raw: produce() of the raw record; source: commit in PostgreSQL.")
    ] = _From.RAW,
    rates: Annotated[
        str, typer.Option(help="Records a second, with commas between.", show_default="by --from")
    ] = "",
    seconds: Annotated[float, typer.Option(help="How long each rate is measured.", min=1)] = 20,
    rounds: _Rounds = 3,
    workers: _Workers = 1,
    as_json: _Json = False,
) -> None:
    """Measure the time from a raw record's produce(), or a row's commit, to its masked record being readable.

    From raw, 1000 and 20000 records a second, without capture and its transaction; from source, 1000 and 5000
    changes a second, ten a transaction, through connector and worker.

    Examples:
      exchange bench latency
      exchange bench latency --rates 500,5000 --seconds 60 --rounds 1 --json
      exchange bench latency --from source --rates 5000 --json
    """
    asked = _rates(rates or _RATES[from_])

    def run() -> dict[str, Any]:
        from bench import latency, source_latency

        measure = source_latency.run if from_ is _From.SOURCE else latency.run
        return measure(asked, seconds, rounds, workers)

    _show(run, as_json=as_json)


def capture(
    records: Annotated[
        int, typer.Option(help="Committed rows that are measured in each round.", min=1_000)
    ] = 200_000,
    rounds: _Rounds = 3,
    peers: _Peers = False,
    as_json: _Json = False,
) -> None:
    """Measure the connector reading a PostgreSQL log, against merely receiving it (`make setup-bench`).

    --peers: Debezium's engine in Python reads the same log too.

    Examples:
      exchange bench capture
      exchange bench capture --peers --records 50000 --rounds 1
    """

    def run() -> dict[str, Any]:
        from bench import capture

        return capture.run(records, rounds, with_peers=peers)

    _show(run, as_json=as_json)


def memory(
    seconds: Annotated[float, typer.Option(help="How long; 600 for a figure to rely on.", min=2)] = 60,
    workers: _Workers = 1,
    as_json: _Json = False,
) -> None:
    """Measure the workers' resident memory at full load, each second.

    Examples:
      exchange bench memory
      exchange bench memory --seconds 600 --json
    """

    def run() -> dict[str, Any]:
        from bench import memory

        return memory.run(seconds, workers)

    _show(run, as_json=as_json)


def monitor(
    rows: Annotated[
        int, typer.Option(help="Accounts, over 30 days; about 25 GB of disk for the default.", min=10_000)
    ] = 100_000_000,
    as_json: _Json = False,
) -> None:
    """Measure the queries behind the monitor's figures on a month of accounts, in the embedded ClickHouse.

    `query_p95_ms` is that of the slowest query, `viewers_cpu_core` what serving 50 viewers takes.
    The accounts are made in a temporary directory (TMPDIR).

    Examples:
      exchange bench monitor
      exchange bench monitor --rows 10000000 --json
    """

    def run() -> dict[str, Any]:
        from bench import monitor

        return monitor.run(rows)

    _show(run, as_json=as_json)


def revoke(
    trials: Annotated[
        int, typer.Option(help="Grants that are revoked, each with a live reader.", min=1)
    ] = 100,
    as_json: _Json = False,
) -> None:
    """Measure the time from `exchange revoke` to the last byte that a live reader of the view gets.

    A reader that is not cut, or gets a record from behind the bound of its certificate, is an error.

    Examples:
      exchange bench revoke
      exchange bench revoke --trials 10 --json
    """

    def run() -> dict[str, Any]:
        from bench import revoke

        return revoke.run(trials)

    _show(run, as_json=as_json)


def report(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Saved --json outputs; without any, all is measured now.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The document to write.")] = Path("docs/performance.md"),
    save: Annotated[
        Path | None, typer.Option(help="Directory to keep each benchmark's JSON object in.")
    ] = None,
) -> None:
    """Write docs/performance.md, from saved results or from a run of everything with all peers (an hour).

    Examples:
      exchange bench report --save results
      exchange bench report results/*.json --out docs/performance.md
    """
    from bench import report

    results = [report.read(file) for file in files or []] or report.measure_all(save)
    report.write(results, out)
    sys.stdout.write(f"{out}\n")


_RATES = {_From.RAW: "1000,20000", _From.SOURCE: "1000,5000"}


def _rates(text: str) -> list[int]:
    try:
        rates = [int(word) for word in text.split(",")]
    except ValueError:
        rates = []
    if not rates or min(rates) < 1 or max(rates) > 200_000 or len(set(rates)) < len(rates):
        msg = "--rates: wanted are different numbers from 1 to 200000 with commas between, as 1000,20000"
        raise ConfigError(msg)
    return rates


def _show(run: Callable[[], dict[str, Any]], *, as_json: bool) -> None:
    """Measure and print. Nothing of the user's environment that names parts of a bus is heeded."""
    from bench.ground import without_settings_of_others
    from bench.table import text_table

    without_settings_of_others()
    result = run()
    if as_json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
        return
    sys.stdout.write(text_table(result["table"]["head"], result["table"]["rows"]))
    for name, figure in result.get("ratios", {}).items():
        sys.stdout.write(f"{name} {figure}\n")
