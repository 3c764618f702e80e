"""Commits new rows at a fixed rate, a few in each transaction.

`python -m bench.peers.row_writer <settings.json>`; settings: dsn, table, first (number of the first row),
rows (how many), rate (rows a second), per_transaction, out (file for how long it took).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import psycopg

from bench import person

CONNECTIONS: Final = 4
"""They write in turn, so that one commit's flush to the disk does not hold up the next."""


def main(settings: dict[str, Any]) -> None:
    """Commit what is due; a delay is made up for, so that the rate holds over the whole."""
    numbers = range(settings["first"], settings["first"] + settings["rows"])
    each = settings["per_transaction"]
    statements = [
        _insert(settings["table"], numbers[at : at + each]) for at in range(0, settings["rows"], each)
    ]
    every_s = each / settings["rate"]
    began = time.monotonic() + 0.1
    with ThreadPoolExecutor(CONNECTIONS) as writers:
        done = [
            writers.submit(_write, settings["dsn"], statements, first, began, every_s)
            for first in range(CONNECTIONS)
        ]
    seconds = max(max(one.result() for one in done) - began, settings["rows"] / settings["rate"])
    Path(settings["out"]).write_text(json.dumps({"seconds": seconds}))


def _write(dsn: str, statements: Sequence[bytes], first: int, began: float, every_s: float) -> float:
    """Make every CONNECTIONS-th transaction, from `first` on, when it is due; return when all were made."""
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        for number in range(first, len(statements), CONNECTIONS):
            early_s = began + number * every_s - time.monotonic()
            if early_s > 0:
                time.sleep(early_s)
            connection.execute(statements[number])
    return time.monotonic()


def _insert(table: str, numbers: range) -> bytes:
    """Return the statement of some rows; it is a transaction by itself."""
    rows = (person.row(number) | {"person_id": str(number + 1)} for number in numbers)
    values = ", ".join("('" + "', '".join(row.values()) + "')" for row in rows)
    columns = ", ".join(name for name, _, _ in person.COLUMNS)
    return f"INSERT INTO {table} ({columns}) VALUES {values}".encode()  # noqa: S608 - our own rows


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
