"""MariaDB as a source of transactions that end elsewhere, by TLS, and at a promoted replica."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from connectors.source import Captured
from connectors.sources.mysql.source import MariadbSource
from connectors.sources.mysql.transaction import Transactions
from exchange.binlog.address import address
from exchange.binlog.session import Session
from exchange.change import Op
from exchange.errors import ConfigError, GapError, SourceError, TransientError
from tests.integration.mysql_source import PERSON, Database, afters, at_least, database_for, value
from tests.mariadb import MISSING, Server, is_here, running_mariadb
from tests.stack import wait_for

pytestmark = pytest.mark.skipif(not is_here(), reason=MISSING)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_mariadb() as running:
        yield running


@pytest.fixture
def database(server: Server, request: pytest.FixtureRequest) -> Iterator[Database]:
    with database_for(server, request.node.nodeid) as made:
        yield made


# -- failover


REPLICA = {"server_id": "8", "gtid_strict_mode": "ON", "log_slave_updates": "ON"}


@contextmanager
def replica_of(database: Database) -> Iterator[Server]:
    """A replica that has taken all that its primary has logged since now."""
    primary = database.server
    primary.execute("RESET MASTER")
    primary.execute("CREATE OR REPLACE USER follower IDENTIFIED BY 'pw'")
    primary.execute("GRANT REPLICATION SLAVE ON *.* TO follower")
    with running_mariadb(**REPLICA) as replica:
        with replica.connect() as connection, connection.cursor() as cursor:
            for statement in ("SET sql_log_bin = 0", f"CREATE DATABASE {database.name}"):
                cursor.execute(statement)
        replica.execute(
            f"CHANGE MASTER TO master_host = '127.0.0.1', master_port = {primary.port},"
            " master_user = 'follower', master_password = 'pw', master_use_gtid = slave_pos"
        )
        replica.execute("FLUSH BINARY LOGS")  # its files and bytes are others than the primary's
        replica.execute("START SLAVE")
        yield replica


def caught_up(database: Database, replica: Server) -> None:
    ((at,),) = database.server.execute("SELECT @@gtid_binlog_pos")
    wait_for(lambda: replica.execute("SELECT @@gtid_slave_pos") == ((at,),), "the replica")


def promote(replica: Server) -> None:
    replica.execute("STOP SLAVE")
    replica.execute("RESET SLAVE ALL")


def test_it_goes_on_at_a_promoted_replica_with_nothing_lost_or_twice(database: Database) -> None:
    with replica_of(database) as replica:
        database.run(PERSON, "INSERT INTO person VALUES (1, 'snapshot', 1)")
        with database.reading() as source:
            database.run("INSERT INTO person VALUES (2, 'a', 1), (3, 'b', 1)", "UPDATE person SET name = 'c'")
            told = database.read(source, at_least(5))
        database.run("INSERT INTO person VALUES (4, 'before the failover, not yet captured', 1)")
        caught_up(database, replica)
        promote(replica)
        primary, database.server = database.server, replica
        database.run("INSERT INTO person VALUES (5, 'at the new primary', 1)")
        source = database.open()
        told += database.read(source, at_least(2))
        source.close()
        assert [(change.op, value(change)["after"]["id"]) for change in told] == [
            *((Op.CREATE, 2), (Op.CREATE, 3), (Op.UPDATE, 1), (Op.UPDATE, 2), (Op.UPDATE, 3)),
            *((Op.CREATE, 4), (Op.CREATE, 5)),
        ]
        assert len({change.position for change in told}) == len(told)
        assert len({change.position.stream for change in told}) == 2
        replica.restart(**REPLICA)
        database.run("INSERT INTO person VALUES (6, 'after a restart there', 1)")
        assert [row["id"] for row in afters(database.read(database.open(), at_least(1)))] == [6]
        database.server = primary


def same_numbers(seen: Iterable[str], wanted: tuple[str, ...]) -> bool:
    return [gtid.rpartition("-")[2] for gtid in seen] == [gtid.rpartition("-")[2] for gtid in wanted]


def test_a_replica_that_was_behind_or_went_another_way_is_a_gap(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with replica_of(database) as replica:
        database.run(PERSON)
        caught_up(database, replica)
        promote(replica)
        with database.reading() as source:
            database.run("INSERT INTO person VALUES (1, 'captured, and lost with the old primary', 1)")
            database.read(source, at_least(1))
        primary, database.server = database.server, replica
        try:
            with pytest.raises(GapError, match="it was behind, or went another way"):
                database.open()
            database.run("INSERT INTO person VALUES (1, 'another way', 1), (2, 'b', 1)")
            with pytest.raises(GapError, match="it was behind, or went another way"):
                database.open()
            # Control: told by number alone, the new primary's transaction passes for the old one's.
            monkeypatch.setattr("connectors.sources.mysql.failover._same", same_numbers)
            monkeypatch.setattr("connectors.sources.mysql.source.refuse_gap", lambda *_: None)
            source = database.open()
            database.run("INSERT INTO person VALUES (3, 'c', 1)")
            assert [row["id"] for row in afters(database.read(source, at_least(1)))] == [3]
        finally:
            database.server = primary


# -- XA transactions


def prepared(database: Database, xid: str, *statements: str) -> None:
    database.run(f"XA START '{xid}'", *statements, f"XA END '{xid}'", f"XA PREPARE '{xid}'")


def planted_commit(self: Transactions, event: Any) -> list[Captured]:
    """Take what is prepared for committed, as a reader does that does not know of XA transactions."""
    rows = self._xa.rows_of(self._xa.hold()) or []
    taken = [record for one in rows for record in self._records(one)]
    self._end(event)
    return taken


def planted_end(self: Transactions, event: Any, xid: str) -> list[Captured]:
    self._drop_prepared(event, xid)
    return []


@pytest.mark.parametrize("planted", [False, True])
def test_an_xa_transaction_is_told_where_it_was_committed_and_never_if_it_was_rolled_back(
    database: Database, monkeypatch: pytest.MonkeyPatch, planted: bool
) -> None:
    if planted:
        monkeypatch.setattr(Transactions, "_prepare", planted_commit)
        monkeypatch.setattr(Transactions, "_end_prepared", planted_end)
    database.run(PERSON, "INSERT INTO person VALUES (1, 'a', 1)")
    with database.reading() as source:
        prepared(database, "x", "INSERT INTO person VALUES (2, 'x', 1)", "UPDATE person SET name = 'u'")
        prepared(database, "y", "INSERT INTO person VALUES (3, 'y', 1)")
        database.run("INSERT INTO person VALUES (4, 'between', 1)", "XA ROLLBACK 'y'", "XA COMMIT 'x'")
        one_phase = ["XA START 'z'", "INSERT INTO person VALUES (5, 'z', 1)", "XA END 'z'"]
        database.run(*one_phase, "XA COMMIT 'z' ONE PHASE")
        found = database.read(source, at_least(5))
    told = [(change.op, value(change)["after"]["id"]) for change in found]
    right = [*((Op.CREATE, 4), (Op.CREATE, 2), (Op.UPDATE, 1), (Op.UPDATE, 2), (Op.CREATE, 5))]
    assert (told[: len(right)] == right) is not planted
    assert ((Op.CREATE, 3) in told) is planted
    positions = [change.position for change in found]
    assert positions == sorted(set(positions))


def test_a_reader_that_stops_between_prepare_and_commit_loses_and_repeats_nothing(database: Database) -> None:
    database.run(PERSON)
    with database.reading() as source:
        prepared(database, "x", "INSERT INTO person VALUES (1, 'x', 1), (2, 'x', 1)")
        database.run("INSERT INTO person VALUES (3, 'a', 1)", "FLUSH BINARY LOGS")
        database.run("INSERT INTO person VALUES (4, 'a', 1)")
        found = database.read(source, at_least(2))
    database.server.restart()  # what is prepared outlives the server too
    database.run("INSERT INTO person VALUES (5, 'b', 1)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("connectors.sources.mysql.stream._IDLE_POSITION_EVERY_S", 0.0)
        source = database.open()
        found += database.read(source, at_least(1))
        assert source.read().changes == []
    source.close()
    database.run("XA COMMIT 'x'")
    source = database.open()
    found += database.read(source, at_least(2))
    held_back = database.position
    source.close()
    database.run("INSERT INTO person VALUES (6, 'c', 1)")
    source = database.open()
    found += database.read(source, at_least(1))
    assert [row["id"] for row in afters(found)] == [3, 4, 5, 1, 2, 6]
    assert len({change.position for change in found}) == 6
    assert held_back is not None
    assert held_back.resume > found[-2].position.commit  # nothing is held any more


def test_a_large_xa_transaction_goes_in_several_batches_and_is_taken_up_again_in_the_middle(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.sources.mysql.stream._MOST_CHANGES", 1000)
    database.run(PERSON)
    with database.reading():
        pass
    values = ",".join(f"({number}, 'x', 1)" for number in range(5000))
    prepared(database, "x", "INSERT INTO person VALUES " + values)  # noqa: S608 - numbers of our own
    database.run("INSERT INTO person VALUES (9000, 'between', 1)", "XA COMMIT 'x'")
    database.run("INSERT INTO person VALUES (9001, 'after', 1)")
    found: list[Captured] = []
    rounds = 0
    while len(found) < 5002:
        source = database.open()
        batch = source.read()
        taken = [change for change in batch.changes if isinstance(change, Captured)]
        assert len(taken) < 2000
        found += taken
        database.position = batch.position
        source.close()
        rounds += 1
    assert rounds > 3
    assert [row["id"] for row in afters(found)] == [9000, *range(5000), 9001]
    positions = [change.position for change in found]
    assert positions == sorted(set(positions))


def test_what_was_prepared_before_the_capture_is_waited_for_and_never_left_out(database: Database) -> None:
    database.run(PERSON)
    prepared(database, "early", "INSERT INTO person VALUES (1, 'x', 1)")
    try:
        with pytest.raises(TransientError, match="1 prepared XA transactions wait for their end"):
            database.open()
        with pytest.MonkeyPatch.context() as patch:  # as if it had been prepared unseen at just that moment
            patch.setattr("connectors.sources.mysql.catalog.Catalog.refuse_prepared", lambda *_: None)
            source = database.streaming()
    finally:
        database.run("XA COMMIT 'early'")
    assert "stand in the log before the capture began" in database.halts(source)


# -- TLS


@pytest.fixture(scope="module")
def secured(server: Server) -> Iterator[tuple[Server, Path]]:
    """A server with a certificate for localhost, and a user who must show one of the same authority."""
    folder = server.make_certificates("localhost")
    server.restart(**{f"ssl_{part}": f"{folder}/{file}" for part, file in SERVER_FILES.items()})
    server.execute("CREATE USER strict IDENTIFIED BY 'pw' REQUIRE X509")
    server.execute("GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO strict")
    yield server, folder
    server.restart()


SERVER_FILES = {"ca": "ca.pem", "cert": "server.pem", "key": "server.key"}


def strict(server: Server, folder: Path, options: str = "", host: str = "localhost") -> SecretStr:
    files = f"?ssl_ca={folder}/ca.pem&ssl_cert={folder}/client.pem&ssl_key={folder}/client.key"
    return SecretStr(server.url("strict", password="pw", host=host, options=files + options))


def test_snapshot_and_log_are_read_over_tls_with_a_certificate_of_ours(
    secured: tuple[Server, Path], database: Database
) -> None:
    """The server lets this user in with a certificate only: on each of the connections that are made."""
    database.run(PERSON, "INSERT INTO person VALUES (1, 'a', 1)")
    source = MariadbSource("s", strict(*secured), "", "", [f"{database.name}.person"])
    database.made.append(source)
    source.open(None)
    database.run("INSERT INTO person VALUES (2, 'b', 1)")
    assert [row["id"] for row in afters(database.read(source, at_least(2)))] == [1, 2]
    began = time.monotonic()
    source.close()
    assert time.monotonic() - began < 4


def test_who_cannot_prove_to_be_the_server_gets_no_password(
    secured: tuple[Server, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, folder = secured
    other = server.make_certificates("elsewhere.example")
    not_this_host = strict(server, folder, host="127.0.0.1")  # its certificate is for localhost
    for url in (strict(server, other), not_this_host):
        with pytest.raises(SourceError, match="does not prove that it is this host"):
            Session("s", address("s", url))
    Session("s", address("s", strict(server, folder, "&ssl_mode=verify_ca", "127.0.0.1"))).close()
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # control: the same, not verified
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    trusting.load_cert_chain(folder / "client.pem", folder / "client.key")
    monkeypatch.setattr("exchange.binlog.address.context", lambda *_: trusting)
    Session("s", address("s", not_this_host)).close()


def test_a_wish_for_tls_is_never_passed_over(server: Server, tmp_path: Path) -> None:
    folder = server.make_certificates("localhost")
    server.restart(skip_ssl="1")
    try:
        with pytest.raises(SourceError, match="offers no TLS"):
            Session("s", address("s", strict(server, folder)))
    finally:
        server.restart()
    with pytest.raises(ConfigError, match="ssl_ca: the file is not there"):
        Session("s", address("s", strict(server, tmp_path)))
