"""Examines a PostgreSQL source: what `exchange apply` would refuse, and what harms the source later.

Only SELECTs, in a read-only session.
Source: PostgreSQL 18 documentation, "Logical Decoding", "Replication", "The Cumulative Statistics System".
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import psycopg
from psycopg.rows import DictRow

from exchange.apply import source
from exchange.doctor.finding import Finding, Level, Patient, clock, of_problem, unreachable
from exchange.doctor.postgres_slot import slot_findings
from exchange.errors import SourceError
from exchange.settings import Secrets

_OLDEST: Final = 150_000
_FIRST_THAT_DROPS_IDLE_SLOTS: Final = 180_000
_LONG_TRANSACTION_S: Final = 600
_SHORTEST_SENDER_TIMEOUT_MS: Final = 10_000
_STATEMENT_TIMEOUT_MS: Final = 15_000

_SERVER: Final = """
SELECT current_user::text AS "user", r.rolsuper AS super, r.rolreplication AS replicates,
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_all,
       pg_is_in_recovery() AS standby, pg_encoding_to_char(d.encoding) AS encoding,
       extract(epoch FROM clock_timestamp())::float8 AS clock_s,
       current_setting('max_replication_slots')::int AS most_slots,
       (SELECT count(*) FROM pg_replication_slots) AS slots,
       current_setting('max_wal_senders')::int AS most_senders,
       (SELECT count(*) FROM pg_stat_replication) AS senders,
       (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_sender_timeout') AS sender_timeout_ms,
       (SELECT setting::bigint FROM pg_settings WHERE name = 'idle_replication_slot_timeout') AS idle_slot_s
FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()
"""
_LONG_TRANSACTIONS: Final = """
SELECT pid, extract(epoch FROM clock_timestamp() - xact_start)::bigint AS age_s FROM pg_stat_activity
WHERE backend_xid IS NOT NULL AND xact_start < clock_timestamp() - make_interval(secs => %s)
ORDER BY xact_start LIMIT 5
"""
_PREPARED: Final = """
SELECT gid, extract(epoch FROM clock_timestamp() - prepared)::bigint AS age_s FROM pg_prepared_xacts
WHERE prepared < clock_timestamp() - make_interval(secs => %s) ORDER BY prepared LIMIT 5
"""


@dataclass(frozen=True, slots=True)
class _Look:
    """What all checks look at. skew_s: how far the source's clock is ahead of ours, give or take unsure_s."""

    wish: source.Wanted
    version: int
    server: Mapping[str, Any]
    has_slot: bool
    skew_s: float
    unsure_s: float


def examine(patient: Patient, secrets: Secrets) -> Iterator[Finding]:
    """Return what is found at a PostgreSQL source."""
    wish = _wish(patient)
    try:
        connection = source.connect(wish, secrets)
    except SourceError as error:
        yield unreachable(error, "pg_hba.conf")
        return
    with connection:
        try:
            yield from _examine(patient, wish, connection)
        except psycopg.Error as error:
            msg = f"system {wish.system}: PostgreSQL refused a question (SQLSTATE {error.sqlstate or 'none'})"
            raise SourceError(msg) from None


def _wish(patient: Patient) -> source.Wanted:
    """Return the publication as the topology wants it, with the tables asked for besides."""
    topology, system = patient.topology, patient.topology.databases()[patient.system]
    wishes = {wish.system: wish for wish in source.wanted(topology, patient.contracts)}
    empty = source.Wanted(patient.system, system.connection_env, topology.publication(patient.system), ())
    wish = wishes.get(patient.system, empty)
    declared = {table.name for table in wish.tables}
    more = [name for name in patient.tables if name not in declared]
    asked = tuple(source.Table("none yet", name, {}, scoped=False) for name in more)
    return replace(wish, tables=wish.tables + asked)


def _examine(
    patient: Patient, wish: source.Wanted, connection: psycopg.Connection[DictRow]
) -> Iterator[Finding]:
    connection.execute("SET default_transaction_read_only = on")
    connection.execute(f"SET statement_timeout = {_STATEMENT_TIMEOUT_MS}")
    version = connection.info.server_version
    yield Finding("version", Level.NOTE, f"PostgreSQL {version // 10_000}.{version % 10_000}")
    if version < _OLDEST:
        yield Finding(
            "version",
            Level.ERROR,
            f"PostgreSQL {version // 10_000} is too old; 15 is needed",
            "older ones do not tell which columns and rows a publication leaves out",
            "upgrade the server",
        )
        return
    asked_s = time.time()
    server = connection.execute(_SERVER).fetchone() or {}
    unsure_s = (time.time() - asked_s) / 2
    slot = patient.topology.slot(patient.system)
    has_slot = bool(
        connection.execute("SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", [slot]).fetchall()
    )
    look = _Look(wish, version, server, has_slot, server["clock_s"] - asked_s - unsure_s, unsure_s)
    yield from _settings(look)
    yield from _role(look)
    yield from _capture(source.look(wish, connection))
    yield from slot_findings(patient, connection)
    yield from _transactions(look, connection)


def _settings(look: _Look) -> Iterator[Finding]:
    server = look.server
    if server["standby"]:
        yield Finding(
            "standby",
            Level.ERROR,
            "this server is a standby",
            "publication and slot live on the primary; a standby's slot is lost with it",
            "let the connection string name the primary",
        )
    if server["encoding"] == "SQL_ASCII":
        yield Finding(
            "encoding",
            Level.ERROR,
            "the database's encoding is SQL_ASCII",
            "the server cannot say how its texts are written, so none of them can be taken as UTF-8",
            "-- dump the database and restore it into one WITH ENCODING 'UTF8'",
        )
    yield from _room("max_replication_slots", server["slots"], server["most_slots"], taken=look.has_slot)
    yield from _room("max_wal_senders", server["senders"], server["most_senders"], taken=False)
    timeout_ms = server["sender_timeout_ms"]
    if timeout_ms < _SHORTEST_SENDER_TIMEOUT_MS:
        yield Finding(
            "wal_sender_timeout",
            Level.WARNING,
            "wal_sender_timeout is off" if timeout_ms == 0 else f"wal_sender_timeout is {timeout_ms} ms",
            "off: a dead connection keeps the slot from its successor; short: every pause breaks the stream",
            "ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf();",
        )
    if look.version >= _FIRST_THAT_DROPS_IDLE_SLOTS and server["idle_slot_s"]:
        yield Finding(
            "idle_replication_slot_timeout",
            Level.WARNING,
            f"idle_replication_slot_timeout is {server['idle_slot_s']} s",
            "a connector that is down for longer loses its slot, and all tables must be read anew",
            "ALTER SYSTEM RESET idle_replication_slot_timeout; SELECT pg_reload_conf();",
        )
    yield from clock(look.skew_s, look.unsure_s)


def _room(setting: str, used: int, most: int, *, taken: bool) -> Iterator[Finding]:
    """taken: one of the used places is ours already."""
    free = most - used
    if free > 0 or taken:
        yield Finding(setting, Level.NOTE, f"{used} of {most} in use")
        return
    yield Finding(
        setting,
        Level.ERROR,
        f"all {most} of {setting} are in use",
        "the connector needs a place of its own; it would wait for one for ever",
        f"ALTER SYSTEM SET {setting} = {most + 4}; -- then restart PostgreSQL",
    )


def _role(look: _Look) -> Iterator[Finding]:
    server, user = look.server, look.server["user"]
    if server["super"]:
        yield Finding(
            "superuser",
            Level.WARNING,
            f"the connection's user {user} is a superuser",
            "whoever gets hold of the connection string then owns the department's database",
            "CREATE ROLE exchange_capture LOGIN REPLICATION PASSWORD '...'; -- with SELECT on the tables",
        )
    elif not server["replicates"]:
        yield Finding(
            "replication_right",
            Level.ERROR,
            f"user {user} may not replicate",
            "the log is sent to users with REPLICATION only",
            f'ALTER ROLE "{user}" REPLICATION;',
        )


def _capture(seen: source.Seen) -> Iterator[Finding]:
    """Return what `exchange apply` would refuse or do."""
    for problem in seen.of_server:
        yield of_problem("wal_level", problem, "without it the log does not hold what changed in a row")
    for problems in seen.of_tables.values():
        for problem in problems:
            yield of_problem("table", problem, "the table cannot be captured whole and without harm")
    for problem in seen.of_publication:
        yield of_problem("publication", problem, "the publication is what the stream is read through")
    planned = seen.publication
    if planned.statement and not seen.problems and planned.wanted.tables:
        there = "does not exist yet" if planned.before is None else "is not as the topology wants it"
        level = Level.NOTE if planned.before is None else Level.WARNING
        yield Finding(
            "publication",
            level,
            f"publication {planned.wanted.publication} {there}",
            "changes of tables and operations that it leaves out are not sent",
            "exchange apply",
        )


def _transactions(look: _Look, connection: psycopg.Connection[DictRow]) -> Iterator[Finding]:
    why = "the slot keeps the log back to its beginning, and a first snapshot waits for its end"
    if not (look.server["super"] or look.server["sees_all"]):
        yield Finding(
            "long_transactions",
            Level.NOTE,
            f"user {look.server['user']} may not see the transactions of others",
            why,
            f'GRANT pg_read_all_stats TO "{look.server["user"]}"; -- or ask the database\'s administrator',
        )
    for row in connection.execute(_LONG_TRANSACTIONS, [_LONG_TRANSACTION_S]).fetchall():
        yield Finding(
            "long_transactions",
            Level.WARNING,
            f"the transaction of process {row['pid']} has been open for {row['age_s']} s",
            why,
            f"SELECT pg_terminate_backend({row['pid']}); -- once its owner agrees",
        )
    for row in connection.execute(_PREPARED, [_LONG_TRANSACTION_S]).fetchall():
        yield Finding(
            "long_transactions",
            Level.WARNING,
            f"a prepared transaction has waited for its end for {row['age_s']} s",
            why,
            "SELECT gid, prepared, owner FROM pg_prepared_xacts; -- then COMMIT or ROLLBACK PREPARED",
        )
