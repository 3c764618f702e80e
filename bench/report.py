"""`exchange bench report`: docs/performance.md, made from results; no figure in it is typed by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from bench import capture, fanout, latency, memory, monitor, pipeline, source_latency, subscribers
from bench.ground import without_settings_of_others
from bench.progress import say
from bench.table import markdown_table
from exchange.errors import ConfigError

ALL: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "pipeline": lambda: pipeline.run(600_000, 3, 1, with_peers=True),
    "fanout": lambda: fanout.run(600_000, 5, 1),
    "subscribers": lambda: subscribers.run(100_000, 3, 1, 1_000),
    "latency": lambda: latency.run([1_000, 20_000], 20, 3, 1),
    source_latency.NAME: lambda: source_latency.run([1_000, 5_000], 20, 3, 1),
    "capture": lambda: capture.run(200_000, 3, with_peers=True),
    "memory": lambda: memory.run(600, 1),
    "monitor": lambda: monitor.run(100_000_000),
}
"""Every benchmark as a full run makes it, in the document's order."""

_ABOUT: Final = {
    "pipeline": (
        "Raw records to one view",
        "Raw records of twelve fields lie in Kafka; the bus validates them, masks three fields and writes "
        "them to one view, exactly once, with accounts. The others decode, mask and encode the same payload "
        "without the bus's header; they validate nothing and keep no accounts; the passthrough does nothing "
        "at all. Slow ones get fewer records, and a JVM gets faster the longer it runs: with more records "
        "Kafka Streams comes out faster. The clock runs from the first look with a quarter's warm-up "
        "readable to the first with everything readable, and is the same for all. All outputs are counted; "
        "20,000 of each are decoded and compared with what must be seen.",
    ),
    "fanout": (
        "Five views of a table against one",
        "Two tables under one plan, one with one view and one with five that show other fields or masks. "
        "Five views are five times the records to write: the last two rows say what that costs a loop that "
        "copies bare records and does nothing else.",
    ),
    "subscribers": (
        "Many subscribers against few",
        "Two buses side by side with ten views each; their subscribers have Kafka users and access rules of "
        "their own and do not read meanwhile: the worker is measured, not the broker's fan-out.",
    ),
    "latency": (
        "Latency",
        "From a raw record's produce() to its masked record in the hands of a reader at read_committed, by "
        "one monotonic clock. The producer is plain: the transaction that capture makes before is not in it. "
        "Percentiles of each round, then their median.",
    ),
    source_latency.NAME: (
        "Latency from the source's commit",
        "From a row's commit in PostgreSQL, ten rows a transaction, through connector and worker to its "
        "masked record in the hands of a reader at read_committed, by the one clock of the machine, in "
        "milliseconds. Percentiles of each round, then their median.",
    ),
    "capture": (
        "Reading the source's log",
        "The connector reads committed rows, a hundred a transaction, and commits them to Kafka; the limit "
        "only receives the same log's messages. The snapshot is not measured.",
    ),
    "memory": (
        "Memory at full load",
        "Resident memory of the worker processes each second, while the raw topic is kept ahead of them.",
    ),
    "monitor": (
        "Queries behind the monitor's figures",
        "Accounts of 30 days, of 50 tables with three views each, in the embedded ClickHouse. Each query is "
        "asked 20 times after one that warms up; nothing is written meanwhile.",
    ),
}
"""Benchmark → heading, and what its clock covers and what not."""

_AT_LEAST: Final[dict[str, dict[str, float]]] = {
    "pipeline": {"ratios.pipeline_vs_passthrough": 0.45, "ratios.pipeline_vs_kafka_streams_eos": 2.5},
    "capture": {"ratios.capture_vs_raw": 0.5, "ratios.capture_vs_debezium": 5.0},
}
_AT_MOST: Final[dict[str, dict[str, float]]] = {
    "fanout": {"ratios.fanout5_vs_1": 2.2},
    "latency": {
        "latency_ms.1000.p50": 60,
        "latency_ms.1000.p99": 200,
        "latency_ms.20000.p50": 70,
        "latency_ms.20000.p99": 250,
    },
    "memory": {"memory.max_mb": 300},
    "monitor": {"query_p95_ms": 100, "viewers_cpu_core": 0.15},
}
"""Benchmark → place in its result → what is wanted, on a machine of two cores that holds the broker too."""


def measure_all(save: Path | None) -> list[dict[str, Any]]:
    """Run everything, one after the other; each result is saved as soon as it is there."""
    without_settings_of_others()
    results = []
    for name, run in ALL.items():
        say(f"benchmark {name}")
        results.append(run())
        if save is not None:
            save.mkdir(parents=True, exist_ok=True)
            text = json.dumps(results[-1], ensure_ascii=False, indent=1)
            (save / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    return results


def read(file: Path) -> dict[str, Any]:
    """Return a saved result.

    Raises: ConfigError when the file is none.
    """
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
        known = result["benchmark"] in ALL and {"given", "machine", "table"} <= result.keys()
    except (OSError, ValueError, TypeError, KeyError):
        known = False
    if not known:
        msg = f"{file}: not a benchmark's result; wanted is what `exchange bench … --json` prints"
        raise ConfigError(msg)
    return dict(result)


def write(results: Sequence[dict[str, Any]], out: Path) -> None:
    """Write the document. Raises: ConfigError when two results are of one benchmark, or of other machines."""
    text = render(results)
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        msg = f"{out}: cannot be written ({error.strerror}); name another place with --out"
        raise ConfigError(msg) from None


def render(results: Sequence[dict[str, Any]]) -> str:
    """Return the document: the machine, then each benchmark in the order of ALL."""
    by_name = {result["benchmark"]: result for result in results}
    if len(by_name) < len(results):
        msg = "two results are of one benchmark; give one of each"
        raise ConfigError(msg)
    machines = [result["machine"] for result in results]
    if any(machine != machines[0] for machine in machines):
        msg = "the results come from different machines or versions; run all of them on one"
        raise ConfigError(msg)
    parts = [_HEAD, _machine(machines[0]), *(_section(by_name[name]) for name in ALL if name in by_name)]
    absent = [name for name in ALL if name not in by_name]
    if absent:
        parts.append(f"Not measured in this run: {', '.join(absent)}.\n")
    return "\n".join(parts)


_HEAD: Final = """\
# Performance

Written by `exchange bench report`; every figure comes from one run of it. Competitors run in turn, round by
round, on one machine that also holds the broker, and all Kafka clients log in with SASL/SCRAM. Ratios are
medians of round-by-round quotients. A figure says something about this machine; a ratio a little more.
"""


def _machine(machine: dict[str, Any]) -> str:
    named = [[name.replace("_", " "), str(value)] for name, value in machine.items()]
    return markdown_table(("machine", ""), named)


def _section(result: dict[str, Any]) -> str:
    heading, about = _ABOUT[result["benchmark"]]
    table = markdown_table(result["table"]["head"], result["table"]["rows"])
    told = "".join(f"- {line}\n" for line in _verdicts(result))
    lines = [f"## {heading}", "", about, "", f"Again: `{command(result)}`", "", table]
    return "\n".join([*lines, told] if told else lines)


def _verdicts(result: dict[str, Any]) -> Iterator[str]:
    """Yield each ratio and all else of which something is wanted, with that and whether it was reached."""
    least = _AT_LEAST.get(result["benchmark"], {})
    most = _AT_MOST.get(result["benchmark"], {})
    places = dict.fromkeys([*(f"ratios.{name}" for name in result.get("ratios", {})), *least, *most])
    for place in places:
        figure = _at(result, place)
        if figure is None:
            continue
        told = f"`{place.removeprefix('ratios.')}`: {figure:g}"
        if place in least:
            told += f"; wanted is {least[place]:g} at least: {_reached(figure >= least[place])}"
        elif place in most:
            told += f"; wanted is {most[place]:g} at most: {_reached(figure <= most[place])}"
        yield told


def _at(result: dict[str, Any], place: str) -> float | None:
    """Return the figure at a place such as `latency_ms.1000.p50`; None when the run did not measure it."""
    found: Any = result
    for name in place.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return None if found is None else float(found)


def _reached(is_reached: bool) -> str:
    return "reached" if is_reached else "not reached"


def command(result: dict[str, Any]) -> str:
    """Return the command that repeats a result's run."""
    given = dict(result["given"])
    given.pop("producer", None)
    words = [f"exchange bench {result['benchmark'].partition('_')[0]}"]
    for name, value in given.items():
        if value is True:
            words.append(f"--{name}")
        elif value is not False:
            shown = ",".join(map(str, value)) if isinstance(value, list) else value
            words.append(f"--{name} {shown}")
    return " ".join(words)
