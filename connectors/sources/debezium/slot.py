"""The replication slot of Debezium's PostgreSQL connector: it goes on without a word where its log does not.

A slot that has moved past the stored offset, or one that an interrupted snapshot left, would give the changes
from there on, and nobody would see the gap.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import psycopg
from psycopg.conninfo import make_conninfo

from exchange.errors import GapError, SourceError, TransientError

POSTGRES: Final = "io.debezium.connector.postgresql.PostgresConnector"

_T = TypeVar("_T")
_CONNECT_S: Final = 10
_PARTS: Final = {
    "database.hostname": "host",
    "database.port": "port",
    "database.user": "user",
    "database.password": "password",
    "database.dbname": "dbname",
    "database.sslmode": "sslmode",
    "database.sslrootcert": "sslrootcert",
}
"""Debezium's properties → libpq's."""
_GONE: Final = "is not there any more"
_AHEAD: Final = "has moved past what is in Kafka"
_NO_ENTRY: Final = re.compile(r"authentication failed|pg_hba\.conf|does not exist|no password")
"""A login that is refused has no SQLSTATE in libpq."""
_REACHED: Final = (
    "SELECT active, (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots WHERE slot_name = %s"
)


class Slot:
    """Looks at the slot, or drops it; a connection for each."""

    def __init__(self, system: str, properties: Mapping[str, str]) -> None:
        self._system = system
        self._name = properties["slot.name"]
        parts = {ours: properties[theirs] for theirs, ours in _PARTS.items() if theirs in properties}
        self._conninfo = make_conninfo("", connect_timeout=_CONNECT_S, application_name="exchange", **parts)

    def refuse_another(self) -> None:
        """Refuse a slot of that name before the first snapshot: it is not ours, or its position is lost.

        Raises: SourceError when there is one; TransientError when the database is away.
        """
        if self._asked(self._look) is not None:
            msg = (
                f"source {self._system}: replication slot {self._name} is there already, and Kafka holds no "
                "position of it. If nothing else reads it, drop it: "
                f"SELECT pg_drop_replication_slot('{self._name}'); else set `slot.name` to another"
            )
            raise SourceError(msg)

    def refuse_gap(self, offset: str) -> None:
        """Refuse a slot that cannot give every change behind an offset.

        Raises: GapError when it is gone or has moved on; TransientError when in use, or the database is away.
        """
        stored = json.loads(offset)
        wanted = int(stored.get("lsn_commit", stored["lsn"]))
        found = self._asked(self._look)
        if found is None:
            raise self._gap(_GONE)
        active, reached = found
        if active:
            msg = f"source {self._system}: replication slot {self._name} is read by another connection"
            raise TransientError(msg)
        if reached is None or reached > wanted:
            raise self._gap(_AHEAD)

    def drop(self) -> None:
        """Drop it if it is there: what is read next begins with a snapshot of its own.

        Raises: TransientError while another connection reads it, and when the database is away.
        """
        self._asked(self._drop)

    def told_whole(self, offset: str) -> str:
        """Return an offset at which Debezium takes all that the slot gives, where it is a transaction's end.

        With its own it looks for the change to go on at by LSN alone, and passes over transactions that began
        before that end and committed behind it. The slot gives whole transactions by their commit.
        Source: https://github.com/apache/flink-cdc/pull/4323
        """
        stored = json.loads(offset)
        if stored.get("lsn") != stored.get("lsn_proc") or stored.get("lsn") != stored.get("lsn_commit"):
            return offset
        return json.dumps({name: stored[name] for name in stored.keys() - {"lsn_proc", "lsn_commit"}})

    def _look(self, connection: psycopg.Connection[Any]) -> tuple[bool, int | None] | None:
        row = connection.execute(_REACHED, [self._name]).fetchone()
        return None if row is None else (bool(row[0]), None if row[1] is None else int(row[1]))

    def _drop(self, connection: psycopg.Connection[Any]) -> None:
        sql = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"
        connection.execute(sql, [self._name])

    def _asked(self, ask: Callable[[psycopg.Connection[Any]], _T]) -> _T:
        try:
            with psycopg.connect(self._conninfo, autocommit=True) as connection:
                return ask(connection)
        except psycopg.Error as error:
            state = error.sqlstate or ""
            refused = state.startswith(("28", "3D", "42")) or bool(_NO_ENTRY.search(str(error)))
        if not refused:
            msg = f"source {self._system}: its database does not answer ({state or 'no connection'})"
            raise TransientError(msg)
        msg = (
            f"source {self._system}: its database refuses user, password or database, or a look at "
            f"its replication slots ({state or 'at the login'}); mend `engine` in topology.yaml or the secret"
        )
        raise SourceError(msg)

    def _gap(self, what: str) -> GapError:
        return GapError(
            f"source {self._system}: replication slot {self._name} {what}. Changes may be missing, so "
            f"nothing was captured since. Read all tables anew: `exchange resnapshot {self._system}`"
        )
