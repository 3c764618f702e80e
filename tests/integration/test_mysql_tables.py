"""One table of a MariaDB goes wrong: it halts alone, is seen, and comes back whole once a person decides."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exchange.change import Op
from tests.conformance import story
from tests.conformance.databases import MariadbSubject
from tests.integration.capture import PARTITIONS, Record
from tests.integration.mysql_source import FIRM, PERSON
from tests.mariadb import MISSING, is_here, running_mariadb
from tests.stack import Stack, wait_for

pytestmark = pytest.mark.skipif(not is_here(), reason=MISSING)


@pytest.fixture
def shop(stack: Stack) -> Iterator[MariadbSubject]:
    with running_mariadb() as server:
        MariadbSubject.server = server
        subject = MariadbSubject(stack, "shop", ())
        subject.tables = ["shop.person", "shop.firm"]
        for statement in (PERSON, FIRM):
            subject.run_sql(statement)
        subject.publish()
        yield subject
        subject.close()


def firm_flows(shop: MariadbSubject, number: int) -> None:
    shop.run_sql(f"INSERT INTO firm VALUES ({number})")  # noqa: S608 - our own number
    shop.wait_for_records("shop.firm", lambda r: any(x.key == {"id": number} for x in r), f"firm {number}")


def halt_of(shop: MariadbSubject) -> str:
    said = wait_for(lambda: shop.heartbeat().get("halted"), "the halt in the heartbeat")
    (reason,) = [halt["reason"] for halt in said]
    assert "exchange resnapshot shop --table shop.person" in reason
    return str(reason)


@pytest.mark.slow_faults
def test_a_dropped_table_halts_alone_and_comes_back_whole_under_writers_and_kills(
    shop: MariadbSubject,
) -> None:
    shop.run_sql("INSERT INTO person VALUES (1, 'before', 1), (2, 'before', 1)")
    with shop.connector() as connector:
        connector.says("stream_started")
        shop.run_sql("DROP TABLE person")
        connector.says("table_halted")
        assert "table shop.person was dropped" in halt_of(shop)
        firm_flows(shop, 1)
        connector.kill()
    shop.run_sql(PERSON)
    values = ",".join(f"({key}, 'again', 1)" for key in range(50_000, 58_000))
    shop.run_sql(f"INSERT INTO person VALUES {values}")  # noqa: S608 - our own numbers
    with shop.connector() as connector:  # what it missed is still not known
        assert "was dropped" in halt_of(shop)
        firm_flows(shop, 2)
        assert connector.stop() == 0
    assert [record.header.op for record in shop.records("shop.person")] == [Op.READ] * 2
    with story.Writer(shop, 7) as writer:
        shop.run("resnapshot", "shop", "--table", "shop.person", "--yes")
        with shop.connector() as connector:
            shop.wait_for_positions(3, connector)
            connector.kill()
        with shop.connector() as connector:
            connector.says("stream_started")
            firm_flows(shop, 3)
            writer.stop()
            shop.run_sql("INSERT INTO person VALUES (9999999, 'last', 1)")
            persons = shop.wait_for_records(
                "shop.person", lambda r: any(x.key == {"id": 9999999} for x in r), "the last change"
            )
            assert "halted" not in connector.text()
            assert connector.stop() == 0
    assert story.final_state(persons) == story.source_state(shop)
    assert (story.twice(persons), story.out_of_order(keyed(persons))) == ([], [])
    assert sum(record.header.op is Op.TRUNCATE for record in persons) == PARTITIONS


def keyed(records: list[Record]) -> list[Record]:
    return [record for record in records if record.key is not None]
