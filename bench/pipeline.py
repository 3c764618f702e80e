"""`exchange bench pipeline`: raw records to one masked view, exactly once, beside the limit and the peers."""

from __future__ import annotations

import json
import sys
import uuid
from dataclasses import dataclass
from typing import Any, Final

from bench import peer
from bench.bus import Bus
from bench.contest import Competitor, Results, Run, Start, contest
from bench.ground import Ground, Table, ground
from bench.machine import machine
from bench.progress import say
from bench.raw import AS_CAPTURED, RawRecords
from bench.verify import Judge, masked, unaltered

TABLE: Final = Table("person")
HEAD: Final = ("competitor", "records/s, median (least–greatest)", "bus ÷ it")
RATIOS: Final = {
    "pipeline_vs_passthrough": "passthrough",
    "pipeline_vs_kafka_streams_eos": "kafka_streams_eos",
    "pipeline_vs_kafka_streams_alo": "kafka_streams_alo",
    "pipeline_vs_quix": "quix",
    "pipeline_vs_faust": "faust",
}
"""Name among the ratios → competitor; the ratio is the bus's rate divided by the competitor's."""
WARM_UP_SHARE: Final = 4
"""A quarter as many records again as are measured go before them."""
_QUIX_SHARE: Final = 5
_FAUST_SHARE: Final = 25
"""Slow peers get a fifth and a twenty-fifth of the records: each is then measured for about as long."""
_GUARANTEES: Final = {"eos": "exactly_once_v2", "alo": "at_least_once"}


def run(records: int, rounds: int, workers: int, *, with_peers: bool) -> dict[str, Any]:
    """Measure on new parts; return the JSON object."""
    with ground() as parts:
        return on(parts, records, rounds, workers, with_peers=with_peers)


def on(parts: Ground, records: int, rounds: int, workers: int, *, with_peers: bool) -> dict[str, Any]:
    """Measure on running parts; return the JSON object."""
    parts.declare([TABLE])
    say(f"making records and writing {records:,} and their warm-up bare, for everybody but the bus")
    raw = RawRecords.make(parts, TABLE, warmed(records))
    field = _Field(parts, raw, records)
    competitors = [bus(parts, raw, records, workers), field.passthrough()]
    missing = field.add_peers(competitors) if with_peers else {}
    results = contest(parts, competitors, rounds)
    for name, (title, why) in missing.items():
        results.titles[name], results.missing[name] = title, why
    given = {"records": records, "rounds": rounds, "workers": workers, "peers": with_peers}
    return answer(results, given)


def bus(parts: Ground, raw: RawRecords, records: int, workers: int) -> Competitor:
    """Return the bus as a competitor."""
    processes = "1 worker process" if workers == 1 else f"{workers} worker processes"
    one = Bus(parts, raw, workers)
    title = f"bus: exactly once, {processes}"
    return Competitor("bus", title, lambda: one.prepare(records, records // WARM_UP_SHARE))


def answer(results: Results, given: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON object of a contest."""
    return {
        "benchmark": "pipeline",
        "given": given,
        "machine": machine(),
        "ratios": results.ratios("bus", RATIOS),
        "records_per_s": results.medians(),
        "rounds": results.raw(),
        "table": {"head": list(HEAD), "rows": results.rows("bus")},
    }


def warmed(records: int) -> int:
    """Return how many records are written for so many measured ones."""
    return records + records // WARM_UP_SHARE


@dataclass
class _Field:
    """All competitors but the bus: they read bare records of the same payload, without the bus's header."""

    ground: Ground
    raw: RawRecords
    records: int

    def passthrough(self) -> Competitor:
        source, target = self._topics("passthrough", 1)
        settings = {"client": self.ground.client, "source": source, "targets": [target]}
        start = peer.module(self.ground, sys.executable, "passthrough", settings)
        title = "passthrough: a Python loop with Kafka's C client, nothing done"
        return self._competitor("passthrough", title, 1, start, unaltered(self.raw.value_schema))

    def add_peers(self, competitors: list[Competitor]) -> dict[str, tuple[str, str]]:
        """Add the peers that can run; return title and reason of those that cannot."""
        schema = self.ground.home / "envelope.avsc"
        schema.write_text(json.dumps(self.raw.value_schema), encoding="utf-8")
        missing = self._add_kafka_streams(competitors, str(schema))
        title, python = "Quix Streams: at least once", peer.python_with("quixstreams")
        if python is None:
            missing["quix"] = (title, peer.not_installed("quixstreams"))
        else:
            competitors.append(self._python("quix", title, _QUIX_SHARE, str(python), "quix", str(schema)))
        title = "Faust with its own driver: at least once"
        competitors.append(
            self._python("faust", title, _FAUST_SHARE, sys.executable, "stock_faust", str(schema))
        )
        return missing

    def _add_kafka_streams(self, competitors: list[Competitor], schema: str) -> dict[str, tuple[str, str]]:
        titles = {name: f"Kafka Streams: {_GUARANTEES[name].replace('_', ' ')}" for name in _GUARANTEES}
        javac = peer.usable_javac()
        if javac is None:
            return {f"kafka_streams_{name}": (title, peer.NO_JDK) for name, title in titles.items()}
        jars = peer.kafka_streams_class_path()
        classes = peer.compile_streams_peer(self.ground, javac, jars)
        for name, title in titles.items():
            source, target = self._topics(f"kafka_streams_{name}", 1)

            def start(name: str = name, source: str = source, target: str = target) -> Any:
                properties = _streams_properties(name, schema, source, target, str(self.ground.home))
                return peer.streams_peer(self.ground, javac, jars, classes, properties)()

            judge = masked(self.raw.value_schema, 0)
            competitors.append(self._competitor(f"kafka_streams_{name}", title, 1, start, judge))
        return {}

    def _python(self, name: str, title: str, share: int, python: str, module: str, schema: str) -> Competitor:
        source, target = self._topics(name, share)
        settings = {"client": self.ground.client, "source": source, "target": target, "schema": schema}
        start = peer.module(self.ground, python, module, settings)
        return self._competitor(name, title, share, start, masked(self.raw.value_schema, 0))

    def _competitor(self, name: str, title: str, share: int, start: Start, judge: Judge) -> Competitor:
        measured = self.records // share
        one_run = Run(warmed(measured), warmed(measured) - measured, {f"bench.out.{name}": judge}, start)
        return Competitor(name, title, lambda: one_run)

    def _topics(self, name: str, share: int) -> tuple[str, str]:
        """Return source and target, made and the source filled."""
        source, target = f"bench.in.{share}", f"bench.out.{name}"
        there = self.ground.cluster.topics()
        self.ground.make_topics([source, target])
        if source not in there:
            # Faust's client has no lz4; without compression it is spared that work.
            compression = "none" if share == _FAUST_SHARE else AS_CAPTURED
            count = warmed(self.records // share)
            self.raw.fill(self.ground, source, count, headers=False, compression=compression)
        return source, target


def _streams_properties(name: str, schema: str, source: str, target: str, state: str) -> dict[str, str]:
    return {
        "application.id": f"kafka-streams-{name}-{uuid.uuid4()}",
        "processing.guarantee": _GUARANTEES[name],
        "num.stream.threads": "2",
        "state.dir": f"{state}/kafka-streams-state",
        "commit.interval.ms": "100",
        "auto.offset.reset": "earliest",
        "consumer.max.poll.records": "5000",
        "producer.linger.ms": "20",
        "producer.batch.size": "262144",
        "bench.schema": schema,
        "bench.source": source,
        "bench.target": target,
    }
