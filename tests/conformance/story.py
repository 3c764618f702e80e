"""Writers whose every committed change is known, and the judge that compares records with what they did.

Nothing here is taken from the code under test: the writers note what they committed, key by key, and a
connector's records must tell the same story of each key, no more, no less, in the same order.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from exchange.change import Op
from tests.background import Background
from tests.conformance.subject import AnySubject, Change, Changing, Delete, Put, Rekey, Subject
from tests.conformance.subject import Told as Told
from tests.integration.capture import Record
from tests.stack import wait_for

PATIENCE_S = 300.0
"""For what takes a second; so long only where the machine has much else to do."""
_RANGE = 10_000
WRITERS = 3
LAST = 9_999_999


class Writer(Background):
    """Changes rows of its own range of keys, some of it in what is rolled back; one of a number at a time."""

    def __init__(self, subject: Changing, seed: int, number: int = 0) -> None:
        super().__init__(0.02)
        self._subject = subject
        self._dice = random.Random(seed)
        self._number = number
        self._first = number * _RANGE
        self._names: dict[int, str] = {}
        self._count = 0
        self.told: dict[int, list[Told]] = {}

    def adopt(self, rows: dict[int, str]) -> None:
        """Take over rows that are there already."""
        self._names |= rows

    def transaction(self) -> None:
        """Make a few changes in one, once those before are taken; one in six is rolled back."""
        if not self._subject.confirm(self._number):
            return
        names = dict(self._names)
        changes = [self._change(names) for _ in range(self._dice.randrange(1, 12))]
        if "transactions" not in self._subject.lacks and self._dice.randrange(6) == 0:
            self._subject.commit(changes, self._number, undo=True)
            return
        self._subject.commit(changes, self._number)
        self._names = names
        for change in changes:
            for key, what in self._subject.tells(change):
                self.told.setdefault(key, []).append(what)

    def until(self, look: Callable[[], bool], what: str) -> None:
        """Make one transaction after the other until something has happened."""

        def change_and_look() -> bool:
            self.transaction()
            return look()

        wait_for(change_and_look, what, PATIENCE_S)

    def _change(self, names: dict[int, str]) -> Change:
        """Return a change that can be made, and note what is there after it."""
        key = self._first + self._dice.randrange(60)
        self._count += 1
        is_new, name = key not in names, f"{self._first}-{self._count}-名"
        match self._dice.randrange(5):
            case 0 if not is_new and "delete" not in self._subject.lacks:
                del names[key]
                return Delete(key)
            case 1 if (
                not is_new and (to := key + 100) not in names and "key change" not in self._subject.lacks
            ):
                names[to] = names.pop(key)
                return Rekey(key, to, names[to])
            case _:
                names[key] = name
                return Put(key, name, is_new)


def judge(records: Sequence[Record], expected: Mapping[int, list[Told]]) -> dict[str, list[Any]]:
    """Compare the records with what was done; return what is wrong: nothing, if each key tells its story.

    lost, twice: what was told too rarely or too often; order: keys told the right things in another order;
    positions: that occur more than once, or go back within a key.
    """
    told = told_by(records)
    wanted, found = _counted(expected), _counted(told)
    alike = [key for key in told if Counter(told[key]) == Counter(expected.get(key, ()))]
    wrong: dict[str, list[Any]] = {
        "lost": list((wanted - found).elements()),
        "twice": list((found - wanted).elements()),
        "order": [key for key in alike if told[key] != expected[key]],
        "positions": twice(records) + out_of_order(records),
    }
    return {what: which for what, which in wrong.items() if which}


def _counted(story: Mapping[int, list[Told]]) -> Counter[tuple[int, Told]]:
    return Counter((key, told) for key, all_told in story.items() for told in all_told)


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


def progress(subject: AnySubject) -> tuple[str, int]:
    """Return what the connector shows of itself: its state, and the changes it has captured."""
    beat = subject.heartbeat()
    return (beat["state"], beat["figures"]["captured"]) if beat else ("", 0)


def settle(subject: AnySubject, writer: int = 0) -> None:
    """Wait until a writer's changes are taken."""
    wait_for(lambda: subject.confirm(writer), "the changes to be taken", PATIENCE_S)


def up_to_a_last_row(subject: AnySubject) -> list[Record]:
    """Commit a last row, when all that was done before is taken, and return everything up to it."""
    for writer in range(WRITERS):
        settle(subject, writer)
    subject.commit([Put(LAST, "last")])

    def is_there(found: list[Record]) -> bool:
        return subject.confirm(0) and any(record.key == {"id": LAST} for record in found)

    return table_of(subject, is_there, "the last row")


def table_of(subject: AnySubject, enough: Callable[[list[Record]], bool], what: str) -> list[Record]:
    return subject.wait_for_records(subject.tables[0], enough, what, PATIENCE_S)
