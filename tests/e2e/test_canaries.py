"""Values planted in every sensitive column are nowhere to be found outside the source and the raw topics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from exchange import local
from tests.checkers import places
from tests.checkers.canaries import Canary, Find, Searcher
from tests.trial.bus import CITY, NORTH, QUARANTINE, RAW, TrialBus, Watch
from tests.trial.people import id_number, insert, person

PLANTED = Path(__file__).parents[1] / "faults" / "planted.py"
NUMBERS = {"id": 700_001, "new id": 700_002, "refused id": 700_003, "large id": 700_004, "odd id": 700_005}

CANARIES = [
    *(Canary(name, id_number(number)) for name, number in NUMBERS.items()),
    Canary("name", "欧阳镜湖秋"),
    Canary("mobile", "17783642951"),
    Canary("email", "kestrel.lantern@hidden-harbour.example"),
    Canary("address", "枫丹白露秘境路七十七号"),
    Canary("birth date", "1931-07-23"),
    Canary("remark", "暗号珊瑚礁九千零一夜"),
    Canary("broken mobile", "1778364295188812"),
    Canary("broken id", "110101193107239998"),
]
SECRETS = {
    "full_name": "欧阳镜湖秋",
    "mobile": "17783642951",
    "email": "kestrel.lantern@hidden-harbour.example",
    "address": "枫丹白露秘境路七十七号",
    "birth_date": "1931-07-23",
    "remark": "暗号珊瑚礁九千零一夜",
}


@pytest.fixture(scope="module")
def watch(bus: TrialBus) -> Watch:
    """The canaries go through the log, after the snapshot."""
    watch = bus.watch("judge")
    bus.start()
    with psycopg.connect(bus.dsn) as connection:
        insert(connection, person(9_000))
    assert watch.settle() == []
    return watch


def plant(bus: TrialBus) -> None:
    """Send the canaries through every kind of change, and through every kind of refusal."""
    with psycopg.connect(bus.dsn, autocommit=True) as connection:
        insert(connection, person(NUMBERS["id"]) | SECRETS)
        here = [id_number(NUMBERS["id"])]
        connection.execute("UPDATE public.person SET version = 2 WHERE id_number = %s", here)
        connection.execute("UPDATE public.person SET region_code = '310115' WHERE id_number = %s", here)
        moved = [id_number(NUMBERS["new id"]), *here]
        connection.execute("UPDATE public.person SET id_number = %s WHERE id_number = %s", moved)
        connection.execute("DELETE FROM public.person WHERE id_number = %s", moved[:1])
        insert(connection, person(NUMBERS["refused id"]) | SECRETS | {"version": -1})
        insert(connection, person(NUMBERS["odd id"]) | SECRETS | {"balance": "NaN"})
        large = SECRETS["remark"] * 40_000
        insert(connection, person(NUMBERS["large id"]) | SECRETS | {"remark": large})
        insert(connection, person(0) | SECRETS | {"mobile": "1778364295188812"})
        insert(connection, person(1) | SECRETS | {"id_number": "110101193107239998"})


def readable(bus: TrialBus) -> Iterator[places.Place]:
    """Everything that can be asked for while the bus runs."""
    yield from places.topics(bus.client(), every_topic_but_raw(bus))
    yield from places.groups(bus.client())
    endpoints = bus.settings.endpoints()
    password = bus.settings.secrets.get("EXCHANGE_REDIS_PASSWORD").get_secret_value()
    yield from places.redis_keys(endpoints.redis, password)
    yield from places.api(
        endpoints.api,
        [
            "/api/accounts/balance?per=minute",
            f"/api/route?topic={RAW}&view_topic={CITY}",
            "/api/resource?name=trial.person",
        ],
    )
    for command in (
        ["status", "--json"],
        ["quarantine", "list", "trial.person", "--json"],
        ["consume", "campus", "trial.person.city"],
    ):
        done = bus.cli(*command, check=False)
        yield f"exchange {' '.join(command)}", (done.stdout + done.stderr).encode()


def every_topic_but_raw(bus: TrialBus) -> list[str]:
    """Internal topics and those of Kafka itself too; raw topics hold the source's rows by design."""
    from exchange.admin import admin_client

    names = admin_client(bus.client()).list_topics(timeout=30).topics
    return [name for name in names if not name.startswith("raw.")]


def on_disk(bus: TrialBus) -> Iterator[places.Place]:
    """Every file of the home, once the parts are stopped, but for the source database and the raw topics."""
    home = bus.settings.root
    yield from places.kafka_segments(home / "kafka" / "data", ("share.", "quarantine.", "_"))
    yield from places.clickhouse_files(home / "clickhouse")
    skipped = (home / "postgres", home / "kafka" / "data", home / "clickhouse")
    for where, data in places.files(home):
        if not where.startswith(tuple(str(path) for path in skipped)):
            yield where, data


def test_no_planted_value_leaves_the_bus(bus: TrialBus, watch: Watch) -> None:
    plant(bus)
    watch.until("every refusal is there", lambda: watch.journey.count(QUARANTINE) == 5)
    watch.until("every change is readable", lambda: watch.journey.count(CITY) == 7)
    searched = list(readable(bus))
    for part in (
        CITY,
        NORTH,
        QUARANTINE,
        "_exchange.accounts",
        "group ",
        "redis ",
        "api /api/route?",
        "api /metrics",
        "exchange consume",
    ):
        assert any(where.startswith(part) and data for where, data in searched), f"nothing of {part} was read"
    assert Searcher(CANARIES).search_all(searched) == []


def test_no_planted_value_is_left_on_disk(bus: TrialBus, watch: Watch) -> None:
    """The search is worth something only if it reads what it means to read."""
    bus.stop()
    local.down(bus.settings)
    seen = {where: len(data) for where, data in on_disk(bus)}
    for part in (
        f"{CITY}-",
        f"{NORTH}-",
        f"{QUARANTINE}-",
        "clickhouse",
        "connector.log",
        "worker.log",
        "monitor.log",
    ):
        assert any(part in where and size for where, size in seen.items()), f"nothing of {part} was searched"
    assert Searcher(CANARIES).search_all(on_disk(bus)) == []
    local.up(bus.settings)


def test_the_search_finds_what_a_worker_without_masks_lets_out(bus: TrialBus, watch: Watch) -> None:
    before = watch.journey.count(CITY)
    child = bus.stand_in("worker", [str(PLANTED), "masks-off", "stream"])
    child.start()
    bus.start("connector")
    try:
        with psycopg.connect(bus.dsn, autocommit=True) as connection:
            insert(connection, person(NUMBERS["new id"]) | SECRETS)
        watch.until("the unmasked record is readable", lambda: watch.journey.count(CITY) > before)
    finally:
        child.kill()
    finds = Searcher(CANARIES).search_all(places.topics(bus.client(), [CITY]))
    assert {find.canary for find in finds} == {"name", "mobile", "email"}


def test_the_gate_behind_the_masks_withholds_what_they_let_through(bus: TrialBus, watch: Watch) -> None:
    child = bus.stand_in("worker", [str(PLANTED), "masks-off-gate-on", "stream"])
    child.start()
    try:
        with psycopg.connect(bus.dsn, autocommit=True) as connection:
            here = [id_number(NUMBERS["new id"])]
            connection.execute("UPDATE public.person SET version = 9 WHERE id_number = %s", here)
        before = watch.journey.count(QUARANTINE)
        watch.until("the record is withheld", lambda: watch.journey.count(QUARANTINE) > before)
    finally:
        child.kill()
    assert " leak " in bus.cli("quarantine", "list", "trial.person").stdout


def test_the_search_finds_a_value_in_a_log(bus: TrialBus) -> None:
    log = bus.settings.root / "logs" / "planted.log"
    log.write_text("error: duplicate key (id_number)=(" + id_number(NUMBERS["id"]) + ")")
    found: list[Find] = Searcher(CANARIES).search_all(places.files(log.parent))
    assert [(find.canary, Path(find.where).name) for find in found] == [("id", "planted.log")]
    log.unlink()
