"""The bus as a competitor: its own worker processes, on raw records with its header."""

from __future__ import annotations

from dataclasses import dataclass

from bench.contest import Run
from bench.ground import Ground, Table
from bench.raw import RawRecords, position_sum
from bench.verify import Judge, masked
from exchange.registry import for_writing


@dataclass
class Bus:
    """Feeds the raw topic anew for each round: the workers' group goes on where it was, as in production."""

    ground: Ground
    raw: RawRecords
    workers: int
    _next: int = 0

    def prepare(self, records: int, warm_up: int) -> Run:
        """Write a round's records and return the round. They are deleted before the next."""
        first, count = self._next, records + warm_up
        table = self.raw.table
        self.ground.forget([table.raw])
        self._next = self.raw.fill(self.ground, table.raw, count, headers=True, first=first)
        return Run(
            records=count,
            warm_up=warm_up,
            judges=judges(self.ground, table),
            start=lambda: self.ground.workers(self.workers),
            position_sum=position_sum(first, count),
        )


def judges(ground: Ground, table: Table) -> dict[str, Judge]:
    """Return the judge of each of a table's view topics, by the schema that is registered for it."""
    found: dict[str, Judge] = {}
    with for_writing(ground.settings) as registry:
        for number in range(table.views):
            topic = table.view(number)
            latest = registry.latest(f"{topic}-value")
            if latest is None:
                msg = f"{topic} has no schema"
                raise LookupError(msg)
            found[topic] = masked(latest[2], number)
    return found
