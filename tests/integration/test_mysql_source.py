"""The MariaDB source on a real server: its log, refusals and types; Kafka's side is in tests/conformance."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from connectors.source import Captured
from connectors.sources.marks import TableMarks
from connectors.sources.mysql.binlog import Binlog
from connectors.sources.mysql.place import Mark, byte_of, number_of
from connectors.sources.mysql.rowimage import RowReader
from connectors.sources.mysql.shapes import Mapped, Shapes
from connectors.sources.mysql.source import MariadbSource
from exchange.apply import binlog as apply
from exchange.binlog.address import address, server_id
from exchange.binlog.charsets import CHARSETS
from exchange.binlog.fitness import Table, problems
from exchange.binlog.session import Session
from exchange.block import ReadBlock, Record
from exchange.change import Op, Reason, RecordHeader
from exchange.contract import Contract
from exchange.encoding import wire
from exchange.errors import ConfigError, GapError, SourceError, TransientError
from exchange.keys import Sealer
from exchange.position import SourcePosition
from exchange.process import Programs, process_batch
from exchange.settings import Secrets
from exchange.tablemark import to_read_anew
from tests.integration.mysql_source import FIRM, PERSON, Database, afters, at_least, database_for, value
from tests.mariadb import MISSING, Server, is_here, running_mariadb
from tests.stack import wait_for
from tests.unit.exchange.samples import KEYS, STEWARD_PUBLIC, resource, spec

pytestmark = pytest.mark.skipif(not is_here(), reason=MISSING)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_mariadb() as running:
        yield running


@pytest.fixture
def database(server: Server, request: pytest.FixtureRequest) -> Iterator[Database]:
    with database_for(server, request.node.nodeid) as made:
        yield made


# -- the log


def test_an_alter_in_the_unread_log_shifts_no_value_to_its_neighbour(database: Database) -> None:
    """The log tells the names of its own time, whatever the table looks like when it is read."""
    database.run("CREATE TABLE person (id int PRIMARY KEY, id_number varchar(18), city varchar(20))")
    with database.reading():
        pass
    database.run(
        "INSERT INTO person VALUES (1, 'canary', 'a')",
        "ALTER TABLE person ADD COLUMN phone varchar(20) AFTER id",
        "INSERT INTO person VALUES (2, '139', 'canary', 'b')",
        "ALTER TABLE person DROP COLUMN id_number, CHANGE city town varchar(20) FIRST",
        "INSERT INTO person VALUES ('c', 3, '138')",
    )
    source = database.open()
    rows = afters(database.read(source, at_least(3)))
    assert rows == [
        {"id": 1, "id_number": "canary", "city": "a"},
        {"id": 2, "phone": "139", "id_number": "canary", "city": "b"},
        {"town": "c", "id": 3, "phone": "138"},
    ]


MOVED = [
    "CREATE TABLE person (id int PRIMARY KEY, id_number varchar(18), city varchar(18))",
    "INSERT INTO person VALUES (1, 'canary', 'a')",
    "ALTER TABLE person MODIFY COLUMN city varchar(18) AFTER id",
]


@pytest.mark.parametrize("planted", [False, True])
def test_names_of_today_would_show_a_value_in_its_neighbours_column(
    database: Database, monkeypatch: pytest.MonkeyPatch, planted: bool
) -> None:
    """Control: the same events with the catalogue's names of now, which is what the library once did."""

    def named_as_of_now(shapes: Shapes, event: Any) -> Mapped | None:
        (told,) = shapes._tables.values()
        return Mapped(shapes.of_table(told), RowReader(event.columns), len(told.columns))

    database.run(MOVED[0])
    with database.reading():
        pass
    database.run(*MOVED[1:])
    if planted:
        monkeypatch.setattr(Shapes, "of_table_map", named_as_of_now)
    (row,) = afters(database.read(database.open(), at_least(1)))
    assert (row["city"] == "canary") is planted


LABEL = {"zh": "列", "en": "Column"}
PHONE = b"13912345678"


def shown(changes: list[Captured], *columns: str) -> bytes:
    """Return all that a view of these columns writes, whatever else the table has."""
    fields = [
        {"name": name, "type": ["null", "string"], "default": None, "classification": 1, "label": LABEL}
        for name in columns
    ]
    key = {"name": "id", "type": "long", "classification": 1, "label": LABEL}
    document = {"type": "record", "namespace": "shop", "name": "person", "label": LABEL, "key": ["id"]}
    contract = Contract.parse(document | {"contractVersion": 1, "fields": [key, *fields]}, "test")
    planned = resource(contract, spec(contract, dict.fromkeys(("id", *columns), "clear")))
    schemas = dict(enumerate({change.shape: None for change in changes}, 1))
    numbers = {shape: number for number, shape in schemas.items()}
    batch = ReadBlock()
    for offset, change in enumerate(changes):
        number = numbers[change.shape]
        key_bytes = wire.prefix(1000 + number) + (change.key or b"")
        header = RecordHeader(change.position, change.op, change.source_ms).pack()
        batch.add(Record(offset, 0, key_bytes, wire.prefix(number) + change.value, header))
    programs = Programs(
        planned, KEYS, lambda n: schemas[n % 1000].key_schema if n > 1000 else schemas[n].value_schema
    )
    sealer = Sealer({planned.name: STEWARD_PUBLIC})
    done = process_batch(batch, "raw", 0, planned, programs, sealer, writer="w", plan_version=1, now_ms=1)
    assert done.halt is None
    outgoing = list(done.outgoing)
    assert len(outgoing) == len(changes)
    return b"".join(out.value or b"" for out in outgoing)


def test_a_new_sensitive_column_reaches_no_view_until_one_lists_it(database: Database) -> None:
    database.run("CREATE TABLE person (id bigint PRIMARY KEY, name varchar(20))")
    with database.reading() as source:
        database.run(
            "INSERT INTO person VALUES (1, 'before')",
            "ALTER TABLE person ADD COLUMN phone varchar(20) AFTER id",
            "INSERT INTO person VALUES (2, '13912345678', 'after')",
        )
        found = database.read(source, at_least(2))
    written = shown(found, "name")
    assert b"before" in written
    assert b"after" in written
    assert PHONE not in written
    assert PHONE in shown(found[1:], "name", "phone")  # control: the search finds what is shown


def test_positions_grow_over_log_files_and_restarts_of_the_server(database: Database) -> None:
    database.run(PERSON, "INSERT INTO person VALUES (1, 'snapshot', 1)")
    with database.reading() as source:
        database.run("INSERT INTO person VALUES (2, 'a', 1), (3, 'b', 1)", "FLUSH BINARY LOGS")
        database.run("INSERT INTO person VALUES (4, 'c', 1)")
        found = database.read(source, at_least(3))
    database.server.restart()
    database.run("INSERT INTO person VALUES (5, 'd', 1)")
    found += database.read(database.open(), at_least(1))
    positions = [change.position for change in found]
    assert positions == sorted(set(positions))
    assert len({number_of(position.commit) for position in positions}) == 3
    assert [row["id"] for row in afters(found)] == [2, 3, 4, 5]


def test_a_large_transaction_is_taken_up_again_at_any_of_its_rows(database: Database) -> None:
    database.run(PERSON)
    with database.reading():
        pass
    begin = database.position
    assert begin is not None
    values = ",".join(f"({number}, 'x', 1)" for number in range(3000))
    insert = "INSERT INTO person VALUES " + values  # noqa: S608 - numbers of our own
    database.run(insert, "UPDATE person SET id = -1 WHERE id = 0")
    source = database.open()
    whole = database.read(source, at_least(3002))
    source.close()
    assert [change.op for change in whole[-2:]] == [Op.DELETE, Op.CREATE]
    for taken in (1, 2, 700, 2999, 3000):
        done = whole[taken - 1].position
        stored = SourcePosition(
            begin.system, begin.system_identifier, begin.timeline, begin.slot, begin.resume,
            done.commit, done.index, begin.tables, None, begin.mark,
        )  # fmt: skip
        source = database.open(stored)
        rest = database.read(source, at_least(len(whole) - taken))
        source.close()
        assert [change.position for change in rest] == [change.position for change in whole[taken:]]
        assert [(change.key, change.value[-8:]) for change in rest] == [
            (change.key, change.value[-8:]) for change in whole[taken:]
        ]


def test_stopped_after_every_event_it_loses_and_repeats_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between table maps and rows, behind BEGIN, in the middle of a transaction, before a statement."""
    monkeypatch.setattr("connectors.sources.mysql.stream._MOST_CHANGES", 1)
    database.run(PERSON)
    with database.reading():
        pass
    database.run(
        "INSERT INTO person VALUES (1, 'a', 1)",
        "BEGIN",
        "INSERT INTO person VALUES (2, 'b', 1)",
        "UPDATE person SET name = 'c' WHERE id = 1",
        "DELETE FROM person WHERE id = 2",
        "COMMIT",
        "ALTER TABLE person ADD COLUMN more int",
        "INSERT INTO person VALUES (3, 'd', 1, 1)",
    )
    found: list[Captured] = []
    while len(found) < 5:
        source = database.open()
        found += database.read(source, at_least(1))
        source.close()
    assert [change.op.value for change in found] == ["c", "c", "u", "d", "c"]
    positions = [change.position for change in found]
    assert positions == sorted(set(positions))


def test_it_moves_on_while_others_write_and_stops_within_a_moment(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.sources.mysql.stream._IDLE_POSITION_EVERY_S", 0.0)
    database.run(PERSON, "CREATE TABLE other (id int PRIMARY KEY)")
    with database.reading() as source:
        before = database.position
        assert before is not None
        database.run("INSERT INTO other VALUES (1)")
        database.read(source, lambda _: database.position is not None and database.position != before)
        assert database.position is not None
        assert database.position.resume > before.resume
        assert (database.position.commit, database.position.index) == (before.commit, before.index)
        began = time.monotonic()
        assert source.read().changes == []
    assert time.monotonic() - began < 4


# -- gaps


def test_a_purged_log_is_a_gap(database: Database) -> None:
    database.run(PERSON)
    with database.reading():
        pass
    database.run("INSERT INTO person VALUES (1, 'lost', 1)", "FLUSH BINARY LOGS", "FLUSH BINARY LOGS")
    ((newest, *_),) = database.server.execute("SHOW MASTER STATUS")

    def purged() -> bool:  # refused while the server still thinks that the reader before reads it
        database.server.execute(f"PURGE BINARY LOGS TO '{newest}'")
        return len(database.server.execute("SHOW BINARY LOGS")) == 1

    wait_for(purged, "a purged log")
    with pytest.raises(GapError, match=r"purged, reset or renamed.*exchange resnapshot"):
        database.open()


def test_a_reset_log_is_a_gap_even_where_file_and_byte_are_there_again(database: Database) -> None:
    database.run(PERSON)
    with database.reading():
        pass
    stored = database.position
    assert stored is not None
    database.server.execute("RESET MASTER")
    with pytest.raises(GapError, match="exchange resnapshot"):
        database.open()
    # The same numbers in the new log, and its own GTIDs: only the time at which the file was begun is left.
    ((file, byte, *_),) = database.server.execute("SHOW MASTER STATUS")
    mark = Mark(file.partition(".")[0], Mark.of(stored.mark).created_s)
    forged = SourcePosition(
        stored.system, stored.system_identifier, stored.timeline, stored.slot, (1 << 32) | byte,
        tables=stored.tables, mark=mark.text(),
    )  # fmt: skip
    assert mark.created_s > 0
    with pytest.raises(GapError, match="RESET MASTER"):
        database.open(forged)


def test_another_server_is_a_gap(database: Database) -> None:
    database.run(PERSON)
    with database.reading():
        pass
    database.server.restart(server_id="8")
    try:
        with pytest.raises(GapError, match="gtid_strict_mode is OFF there"):
            database.open()
    finally:
        database.server.restart()


# -- refusals


INSERT = "INSERT INTO person VALUES (9, 'b', 1)"
UPDATE = "UPDATE person SET name = 'b'"
HALTING = {
    "minimal image": (["SET SESSION binlog_row_image = MINIMAL", UPDATE], "does not tell all columns"),
    "image without blobs": (
        ["ALTER TABLE person ADD COLUMN t text", "SET SESSION binlog_row_image = NOBLOB", UPDATE],
        "does not tell all columns",
    ),
    "names left out": (["SET GLOBAL binlog_row_metadata = MINIMAL", INSERT], "names"),
    "drop": (["DROP TABLE person"], "was dropped"),
    "drop and make anew": (["DROP TABLE person", PERSON, INSERT], "was dropped"),
    "rename": (["RENAME TABLE person TO people"], "was renamed"),
    "no key": (["ALTER TABLE person DROP PRIMARY KEY", INSERT], "primary key"),
    "character set": (
        ["ALTER TABLE person MODIFY name varchar(20) CHARACTER SET big5", INSERT],
        "character set big5",
    ),
}


@pytest.mark.parametrize("case", HALTING)
def test_a_table_that_the_log_does_not_tell_exactly_halts_alone_and_names_no_value(
    database: Database, case: str
) -> None:
    statements, words = HALTING[case]
    database.tables = ("person", "firm")
    database.run(PERSON, FIRM, "INSERT INTO person VALUES (1, 'canary', 1)")
    with database.reading() as source:
        try:
            database.run("INSERT INTO firm VALUES (1)", *statements)
            text = database.halts_table(source)
        finally:
            database.server.execute("SET GLOBAL binlog_row_metadata = FULL")
        database.run("INSERT INTO firm VALUES (2)")
        assert [row["id"] for row in afters(database.read(source, at_least(1)))] == [2]
    assert words in text
    assert f"exchange resnapshot {database.name} --table {database.name}.person" in text
    assert "canary" not in text
    again = database.open()  # what was halted stays so, whatever the table looks like now
    database.run("INSERT INTO firm VALUES (3)")
    assert [row["id"] for row in afters(database.read(again, at_least(1)))] == [3]
    assert f"table {database.name}.person" in again.read().halted[f"{database.name}.person"]


def test_a_dropped_database_halts_its_tables(database: Database) -> None:
    database.run(PERSON)
    with database.reading() as source:
        database.server.execute(f"DROP DATABASE {database.name}")
        assert "was dropped with its database" in database.halts_table(source)
    database.server.execute(f"CREATE DATABASE {database.name}")
    with pytest.raises(SourceError, match="does not exist"):  # nothing is left that could flow
        database.open()


def test_a_statement_that_may_have_changed_any_table_halts_all(database: Database) -> None:
    """A trigger may have changed other tables by it: nobody can tell which."""
    database.tables = ("person", "firm")
    database.run(PERSON, FIRM, "INSERT INTO person VALUES (1, 'canary', 1)")
    with database.reading() as source:
        database.run("SET SESSION binlog_format = STATEMENT", UPDATE)
        text = database.halts(source)
    assert "logged as a statement" in text
    assert "canary" not in text


def resnapshot(database: Database, table: str) -> None:
    """Do to the position what `exchange resnapshot --table` does."""
    stored = database.position
    assert stored is not None
    database.position = replace(stored, tables=to_read_anew(stored.tables, f"{database.name}.{table}"))


@pytest.mark.parametrize("planted", [False, True])
def test_a_table_is_read_anew_behind_what_halted_it_and_loses_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch, planted: bool
) -> None:
    """The stream passes the halting change once more, which is older than the new snapshot."""
    database.tables = ("person", "firm")
    database.run(PERSON, FIRM, "INSERT INTO person VALUES (1, 'a', 1)")
    with database.reading() as source:
        database.run("DROP TABLE person")
        database.halts_table(source)
    database.run(PERSON, "INSERT INTO person VALUES (2, 'b', 1), (3, 'c', 1)", "INSERT INTO firm VALUES (1)")
    database.run("DELETE FROM person WHERE id = 3")
    resnapshot(database, "person")
    if planted:
        monkeypatch.setattr(TableMarks, "takes", lambda self, name, _: name not in self.halted)
    source = database.open()
    database.run("INSERT INTO person VALUES (4, 'd', 1)", "INSERT INTO firm VALUES (2)")
    if planted:
        assert "was dropped" in database.halts_table(source)
        return
    found = database.read(source, at_least(5))
    of_person = [change for change in found if change.shape.table.endswith("person")]
    assert [change.op for change in of_person] == [Op.TRUNCATE, Op.READ, Op.CREATE]
    assert [row["id"] for row in afters(of_person[1:])] == [2, 4]
    assert [row["id"] for row in afters([one for one in found if one not in of_person])] == [1, 2]
    positions = [change.position for change in of_person]
    assert positions == sorted(set(positions))
    assert source.read().halted == {}


WANTED = {
    "binlog_format": "ROW",
    "binlog_row_image": "FULL",
    "binlog_row_metadata": "FULL",
    "binlog_checksum": "CRC32",
}


def test_wrong_settings_are_each_named_with_what_mends_them(server: Server) -> None:
    wrong = {
        "binlog_format": "MIXED",
        "binlog_row_image": "MINIMAL",
        "binlog_row_metadata": "MINIMAL",
        "binlog_checksum": "NONE",
    }
    for name, setting in (wrong | {"log_bin_compress": "ON"}).items():
        server.execute(f"SET GLOBAL {name} = {setting}")
    try:
        with Session("s", address("s", SecretStr(server.url()))) as session:
            found = list(problems(session, "mariadb", []))
            other = list(problems(session, "mysql", []))
    finally:
        for name in wrong:
            server.execute(f"SET GLOBAL {name} = {WANTED[name]}")
        server.execute("SET GLOBAL log_bin_compress = OFF")
    assert len(found) == 5
    for (name, seen), problem in zip(wrong.items(), found, strict=False):
        assert f"{name} is '{seen}'" in problem
        assert f"SET GLOBAL {name} = '{WANTED[name]}';" in problem
    assert "SET GLOBAL log_bin_compress = OFF;" in found[4]
    assert "write `kind: mariadb`" in other[0]


def test_grants_and_tables_are_checked_and_a_user_with_just_what_is_named_may_capture(
    database: Database,
) -> None:
    database.run(
        PERSON,
        "CREATE TABLE nokey (id int)",
        "CREATE TABLE child (id int PRIMARY KEY, person bigint, FOREIGN KEY (person) REFERENCES person (id)"
        " ON DELETE CASCADE)",
        "CREATE VIEW seen AS SELECT * FROM person",
        f"CREATE OR REPLACE USER capture_{database.name} IDENTIFIED BY 'geheim'",
    )
    name = f"capture_{database.name}"
    where = address("s", SecretStr(database.server.url(name, password="geheim")))
    wanted = [
        Table(f"{database.name}.person", {"id": "id", "nome": "name"}),
        *(Table(f"{database.name}.{table}", {}) for table in ("nokey", "child", "seen", "absent")),
    ]
    with Session("s", where) as session:
        before = "\n".join(problems(session, "mariadb", wanted))
    assert f"GRANT REPLICATION SLAVE ON *.* TO '{name}'@'%';" in before
    assert f"GRANT REPLICATION CLIENT ON *.* TO '{name}'@'%';" in before
    assert f"GRANT SELECT ON `{database.name}`.`person`" in before
    database.run(
        f"GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {name}",
        f"GRANT SELECT ON {database.name}.* TO {name}",
    )
    with Session("s", where) as session:
        found = list(problems(session, "mariadb", wanted))
    assert len(found) == 5
    assert "has no column 'nome' for field 'name'" in found[0]
    assert "has no primary key" in found[1]
    assert "changed by its foreign key child_ibfk_1" in found[2]
    assert "is of kind VIEW" in found[3]
    assert "does not exist" in found[4]
    url = SecretStr(database.server.url(name, password="geheim"))
    source = MariadbSource("s", url, "", "", [f"{database.name}.person"])
    database.made.append(source)
    source.open(None)
    database.run("INSERT INTO person VALUES (1, 'a', 1)")
    assert [row["id"] for row in afters(database.read(source, at_least(1)))] == [1]


def test_a_log_that_leaves_the_tables_changes_out_is_refused(database: Database) -> None:
    database.run(PERSON)
    where = address("s", SecretStr(database.server.url()))
    table = Table(f"{database.name}.person", {})
    database.server.restart(binlog_ignore_db=database.name)
    try:
        database.server.execute("SET GLOBAL gtid_slave_pos = '3-9-5'")
        with Session("s", where) as session:
            replica, left_out = problems(session, "mariadb", [table])
    finally:
        database.server.restart(binlog_do_db="elsewhere")
        database.server.execute("SET GLOBAL gtid_slave_pos = ''")
        with Session("s", where) as session:
            (limited,) = problems(session, "mariadb", [table])
        database.server.restart()
    assert "log_slave_updates is OFF and the server has been a replica" in replica
    assert f"changes in database {database.name} are left out" in left_out
    assert f"changes in database {database.name} are left out" in limited
    with Session("s", where) as session:
        assert list(problems(session, "mariadb", [table])) == []


def test_apply_tells_what_is_missing_and_changes_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.run("CREATE TABLE person (id bigint)")
    secrets = Secrets(tmp_path)
    wish = apply.Wanted("shop", "mariadb", "SHOP_URL", (Table(f"{database.name}.person", {"id": "id"}),))
    with pytest.raises(ConfigError, match="set the environment variable SHOP_URL"):
        apply.check(wish, secrets)
    monkeypatch.setenv("SHOP_URL", database.server.url(database=database.name))
    before = database.server.execute("SHOW MASTER STATUS")
    with pytest.raises(SourceError, match=r"system shop: table .* has no primary key"):
        apply.check(wish, secrets)
    assert database.server.execute("SHOW MASTER STATUS") == before
    database.run("ALTER TABLE person ADD PRIMARY KEY (id)")
    apply.check(wish, secrets)


def test_a_cascade_writes_nothing_into_the_log(database: Database) -> None:
    """Why it is refused: should a server begin to tell such changes, this fails and the rule can go."""
    database.tables = ("person", "child")
    database.run(PERSON, "CREATE TABLE child (id int PRIMARY KEY, person bigint)")
    database.run("INSERT INTO person VALUES (1, 'a', 1), (2, 'b', 1)", "INSERT INTO child VALUES (1, 1)")
    with database.reading() as source:
        database.run("ALTER TABLE child ADD FOREIGN KEY (person) REFERENCES person (id) ON DELETE CASCADE")
        assert "foreign key" in database.halts_table(source, "child")
        database.run("DELETE FROM person WHERE id = 1")
        (only,) = database.read(source, at_least(1))
    assert only.shape.table == f"{database.name}.person"
    database.run("INSERT INTO child VALUES (1, 2)")  # the row was there once, and went without a word


def test_a_wrong_password_is_told_without_it(server: Server) -> None:
    server.execute("CREATE OR REPLACE USER known IDENTIFIED BY 'right'")
    with pytest.raises(SourceError, match="correct the connection string") as told:
        Session("s", address("s", SecretStr(server.url("known", password="wrong-secret"))))
    assert "wrong-secret" not in str(told.value)


# -- one reader


def test_a_second_connector_waits_and_the_first_reads_on(database: Database) -> None:
    database.run(PERSON)
    with database.reading() as source:
        with pytest.raises(TransientError, match="only one may"):
            database.open(contended=True)
        database.run("INSERT INTO person VALUES (1, 'a', 1)")
        assert len(database.read(source, at_least(1))) == 1


def test_a_foreign_reader_with_our_id_ends_the_stream_with_a_text(database: Database) -> None:
    database.run(PERSON)
    with database.reading() as source:
        assert database.position is not None
        base = Mark.of(database.position.mark).base
        file = f"{base}.{number_of(database.position.resume):06d}"
        where = address("s", SecretStr(database.server.url()))
        foreign = Binlog(database.name, where, file, byte_of(database.position.resume), [])
        foreign.start()
        try:
            text = database.halts(source)
        finally:
            foreign.close()
    assert f"another reader with server id {server_id(database.name)}" in text


# -- values


ALL = (
    "id bigint unsigned PRIMARY KEY, ti tinyint, tu tinyint unsigned, si smallint, su smallint unsigned,"
    " m mediumint, mu mediumint unsigned, i int, iu int unsigned, b bigint,"
    " d decimal(65,30), d0 decimal(5,0),"
    " d9 decimal(18,9), f float, g double, da date, t0 time, t6 time(6), d3 datetime(3), d6 datetime(6),"
    " ts timestamp(6) null, y year, e enum('a','','中'), s set('x','y','z'), b1 bit(1), b64 bit(64),"
    " ch char(5),"
    " bi binary(6), vb varbinary(300), tx text character set gbk,"
    " l1 varchar(20) character set latin1, bl blob,"
    " j json, u uuid, i6 inet6, p point, vc int generated always as (ti+1) virtual"
)
ROWS = (
    "(18446744073709551615,-128,255,-32768,65535,-8388608,16777215,-2147483648,4294967295,"
    "-9223372036854775808,"
    "-12345678901234567890123456789012345.000000000000000000000000000001,-99999,-123456789.987654321,"
    "0.1,0.1,"
    "'2024-02-29','12:00:01','23:59:59.999999','2024-01-01 00:00:00.123','9999-12-31 23:59:59.999999',"
    "'2038-01-19 03:14:07.000001',2155,'中','x,z',1,18446744073709551615,'a  ',X'0102',X'00ff',"
    "'中文','é€',X'00',"
    "'{\"a\": 1}','123e4567-e89b-12d3-a456-426655440000','::1',point(1,2),default)",
    "(1,0,0,0,0,0,0,0,0,0,0,0,0,-1e30,-1.7976931348623157e308,'0001-01-01','00:00:00','00:00:00.000001',"
    "'1000-01-01','1000-01-01 00:00:00.000009','1970-01-01 00:00:01',1901,'','',0,0,'','','','','','','null',"
    "'223e4567-e89b-12d3-a456-000000000000','::',null,default)",
    "(2,null,null,null,null,null,null,null,null,null,null,null,null,5e-40,5e-324,null,null,null,null,null,null,"
    "0,null,null,null,null,null,null,null,null,null,null,null,null,null,null,default)",
)


def test_every_type_is_the_same_from_snapshot_and_log(database: Database) -> None:
    """Two ways to each value, by the server's texts and by the log's bytes, must give the same Avro bytes."""
    database.tables = ("every",)
    rows = ",".join(ROWS)
    insert = ["SET time_zone = '+00:00'", "INSERT INTO every VALUES " + rows]  # noqa: S608 - a constant
    database.run(f"CREATE TABLE every ({ALL})", *insert)
    with database.reading() as source:
        database.run("DELETE FROM every", *insert)
        streamed = database.read(source, at_least(6))
    database.position = None
    read = database.read(database.open(), at_least(3))
    assert [change.rejected for change in streamed + read] == [None] * 9
    from_log = {
        value(change)["after"]["id"]: value(change)["after"] for change in streamed if change.op is Op.CREATE
    }
    from_snapshot = {value(change)["after"]["id"]: value(change)["after"] for change in read}
    assert from_log == from_snapshot
    assert [change.op for change in read] == [Op.READ] * 3
    assert read[0].shape.value_schema == streamed[0].shape.value_schema
    first = next(iter(from_log.values()))
    assert (first["tx"], first["l1"], first["e"], first["s"], first["vc"]) == (
        "中文",
        "é€",
        "中",
        "x,z",
        -127,
    )


def test_what_has_no_exact_form_is_refused_alike_and_what_mends_it_passes(database: Database) -> None:
    database.run("CREATE TABLE person (id int PRIMARY KEY, d date, t time, e enum('a'))")
    bad = [
        "SET sql_mode = ''",
        "INSERT INTO person VALUES (1,'0000-00-00','00:00:00','a'), (2,'2024-00-00','00:00:00','a'),"
        " (3,'2024-01-01','-00:00:01','a'), (4,'2024-01-01','24:00:00','a'),"
        " (5,'2024-01-01','00:00:00','nope')",
    ]
    fields = ["d", "d", "t", "t", "e"]
    database.run(*bad)
    read = database.read(first := database.open(), at_least(5))
    database.read(first, lambda _: first._stream is not None)
    database.run("UPDATE person SET d = '2024-01-01', t = '00:00:00', e = 'a'")
    mended = database.read(first, at_least(5))
    database.run("DELETE FROM person", *bad)
    streamed = database.read(first, at_least(10))[5:]
    for changes in (read, streamed):
        assert [change.rejected and change.rejected.field for change in changes] == fields
        assert {change.rejected and change.rejected.reason for change in changes} == {Reason.UNREPRESENTABLE}
    assert [change.rejected for change in mended] == [None] * 5


def test_each_character_is_converted_as_the_server_converts_it(server: Server) -> None:
    """All codes of one and two bytes of each character set that is taken."""
    listed = {
        name for (name,) in server.execute("SELECT character_set_name FROM information_schema.character_sets")
    }
    with server.connect() as connection, connection.cursor() as cursor:
        for name in sorted(set(CHARSETS) & listed):
            for codes in pages(name):
                shown = ",".join(
                    f"HEX(CONVERT(CONVERT(X'{code.hex()}' USING {name}) USING utf8mb4))" for code in codes
                )
                cursor.execute(f"SELECT {shown}")
                for code, hexed in zip(codes, cursor.fetchone(), strict=True):
                    is_known = hexed is not None and (b"?" not in bytes.fromhex(hexed) or b"?" in code)
                    if is_known:
                        assert CHARSETS[name](code) == bytes.fromhex(hexed), (name, code.hex())


def pages(charset: str) -> Iterator[list[bytes]]:
    """Yield codes in portions: one byte, and two where a character has two."""
    wide = charset.startswith(("ucs", "utf16", "utf32"))
    codes = (
        []
        if wide
        else [bytes([code]) for code in range(128 if charset.startswith(("utf8", "ascii")) else 256)]
    )
    if charset in ("gbk", "gb2312", "ucs2", "utf16"):
        codes += [bytes([high, low]) for high in range(0x81, 0xD8) for low in range(0x40, 0xFF)]
    for first in range(0, len(codes), 1000):
        yield codes[first : first + 1000]
