"""Writers whose every committed change is known, and the judge that compares records with what they did.

Nothing here is taken from the code under test: the writers note what they committed, key by key, and a
connector's records must tell the same story of each key, no more, no less, in the same order.
"""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from exchange.change import Op
from tests.conformance.harness import Subject
from tests.integration.capture import Record
from tests.stack import wait_for

Told = tuple[str, str | None]
"""Operation and name after it; a delete has none."""

_RANGE = 10_000


class Writer:
    """Changes rows of its own range of keys, in transactions some of which are rolled back."""

    def __init__(self, subject: Subject, seed: int, number: int = 0) -> None:
        self._subject = subject
        self._dice = random.Random(seed)
        self._first = number * _RANGE
        self._names: dict[int, str] = {}
        self._count = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._error: BaseException | None = None
        self.told: dict[int, list[Told]] = {}

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def adopt(self, rows: dict[int, str]) -> None:
        """Take over rows that are there already."""
        self._names |= rows

    def transaction(self) -> None:
        """Make a few changes; one in six is rolled back, and nobody may hear of it."""
        told: list[tuple[int, Told]] = []
        names = dict(self._names)
        try:
            with self._subject.transaction() as run:
                for _ in range(self._dice.randrange(1, 12)):
                    told += self._change(run, names)
                if self._dice.randrange(6) == 0:
                    raise _RolledBackError
        except _RolledBackError:
            return
        self._names = names
        for key, what in told:
            self.told.setdefault(key, []).append(what)

    def until(self, look: Callable[[], bool], what: str) -> None:
        """Make one transaction after the other until something has happened."""

        def change_and_look() -> bool:
            self.transaction()
            return look()

        wait_for(change_and_look, what)

    def _run(self) -> None:
        try:
            while not self._stop.wait(0.01):  # a pace that leaves the machine to the others
                self.transaction()
        except BaseException as error:
            self._error = error

    def _change(self, run: Any, names: dict[int, str]) -> list[tuple[int, Told]]:
        key = self._first + self._dice.randrange(60)
        self._count += 1
        name = f"{self._first}-{self._count}-名"
        if key not in names:
            run(f"INSERT INTO person VALUES ({key}, '{name}', 1)")  # noqa: S608 - our own numbers
            names[key] = name
            return [(key, ("c", name))]
        match self._dice.randrange(5):
            case 0:
                run(f"DELETE FROM person WHERE id = {key}")  # noqa: S608
                del names[key]
                return [(key, ("d", None))]
            case 1 if (other := key + 100) not in names:
                run(f"UPDATE person SET id = {other} WHERE id = {key}")  # noqa: S608
                names[other] = names.pop(key)
                return [(key, ("d", None)), (other, ("c", names[other]))]
            case _:
                run(f"UPDATE person SET name = '{name}' WHERE id = {key}")  # noqa: S608
                names[key] = name
                return [(key, ("u", name))]


class _RolledBackError(Exception):
    pass


def told_by(records: Iterable[Record]) -> dict[int, list[Told]]:
    """Return each key's story in the order of its partition."""
    story: dict[int, list[Told]] = {}
    for record in records:
        assert record.key is not None
        after = record.value["after"]
        told = (record.header.op.value, after and after["name"])
        story.setdefault(record.key["id"], []).append(told)
    return story


def twice(records: Iterable[Record]) -> list[Any]:
    """Return the source positions that occur more than once."""
    return [at for at, times in Counter(record.at for record in records).items() if times > 1]


def out_of_order(records: Iterable[Record]) -> list[Any]:
    """Return keys whose positions do not increase."""
    last: dict[str, tuple[int, int, int]] = {}
    wrong = []
    for record in records:
        key = json.dumps(record.key, sort_keys=True)
        if last.get(key, (0, 0, 0)) >= record.at:
            wrong.append(record.key)
        last[key] = record.at
    return wrong


def final_state(records: Iterable[Record]) -> dict[int, dict[str, Any]]:
    """Replay the records as a subscriber would, and return what is left."""
    rows: dict[int, tuple[int, dict[str, Any]]] = {}
    for record in records:
        if record.header.op is Op.TRUNCATE:
            rows = {key: row for key, row in rows.items() if row[0] != record.partition}
            continue
        assert record.key is not None
        if record.header.op is Op.DELETE:
            rows.pop(record.key["id"], None)
        else:
            rows[record.key["id"]] = record.partition, record.value["after"]
    return {key: row for key, (_, row) in rows.items()}


def source_state(subject: Subject) -> dict[int, dict[str, Any]]:
    """Return the table as it is in the source."""
    rows = subject.fetch("SELECT id, name, amount FROM person")
    return {row[0]: {"id": row[0], "name": row[1], "amount": row[2]} for row in rows}
