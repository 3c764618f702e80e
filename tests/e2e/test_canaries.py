"""Values planted in every sensitive column are nowhere to be found outside the source.

The raw topic is sealed while the bus runs; what it held before is found, so that the search can be trusted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from exchange import local
from exchange.boxes import RAW_KEYS
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
BEFORE_SEALING = 700_006
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
    """The canaries go through the log, once sealing has begun and its key was rotated."""
    watch = bus.watch("judge")
    bus.start()
    put(bus, BEFORE_SEALING)
    assert watch.settle() == []
    seal(bus)
    connector = bus.child("connector")
    watch.until("the connector has taken the plan", lambda: connector.exits and connector.process)
    put(bus, 9_001)
    assert watch.settle() == []
    bus.cli("keys", "rotate")
    bus.stop("connector")
    bus.start("connector")
    put(bus, 9_002)
    assert watch.settle() == []
    return watch


def put(bus: TrialBus, number: int) -> None:
    with psycopg.connect(bus.dsn) as connection:
        insert(connection, person(number))


def seal(bus: TrialBus) -> None:
    file = bus.files / "topology.yaml"
    file.write_text(file.read_text().replace("    partitions: 3\n", "    partitions: 3\n    sealed: true\n"))
    assert f"secret {RAW_KEYS}" in bus.cli("apply", "--yes").stdout


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
    yield from places.topics(bus.client(), every_topic(bus))
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


def every_topic(bus: TrialBus) -> list[str]:
    """Internal topics and those of Kafka itself too."""
    from exchange.admin import admin_client

    return list(admin_client(bus.client()).list_topics(timeout=30).topics)


def on_disk(bus: TrialBus) -> Iterator[places.Place]:
    """Every file of the home, once the parts are stopped, but for the source database."""
    home = bus.settings.root
    yield from places.kafka_segments(home / "kafka" / "data", ("share.", "quarantine.", "raw.", "_"))
    yield from places.clickhouse_files(home / "clickhouse")
    skipped = (home / "postgres", home / "kafka" / "data", home / "clickhouse")
    for where, data in places.files(home):
        if not where.startswith(tuple(str(path) for path in skipped)):
            yield where, data


def test_what_is_sealed_becomes_what_the_source_says_before_and_after_a_new_key(watch: Watch) -> None:
    """The journey of every record was judged by then."""
    assert set(watch.sealed_under) == {0, 1, 2}


def test_without_its_key_nothing_goes_on_and_with_it_everything_does(bus: TrialBus, watch: Watch) -> None:
    keys = bus.settings.secrets.get(RAW_KEYS).get_secret_value()
    bus.stop()
    (bus.settings.root / "secrets" / RAW_KEYS).unlink()
    refused = bus.cli("connect", "trial", check=False)
    assert (refused.returncode, RAW_KEYS in refused.stderr) == (1, True), refused.stderr
    refused = bus.cli("apply", "--yes", check=False)
    assert (refused.returncode, RAW_KEYS in refused.stderr) == (1, True), refused.stderr

    bus.settings.secrets.put(RAW_KEYS, keys)
    bus.start("connector")
    put(bus, 9_003)
    watch.until("the change is captured", watch.has_captured)
    bus.stop("connector")
    (bus.settings.root / "secrets" / RAW_KEYS).unlink()
    before = watch.journey.count(CITY)
    bus.start("worker")
    watch.until("the worker has halted", lambda: "partition_halted" in bus.child("worker").text())
    assert "sealed under version 2" in bus.child("worker").text()
    assert watch.journey.count(CITY) == before
    bus.settings.secrets.put(RAW_KEYS, keys)
    assert watch.settle() == []
    bus.start("connector")


def test_no_planted_value_leaves_the_bus(bus: TrialBus, watch: Watch) -> None:
    plant(bus)
    watch.until("every refusal is there", lambda: watch.journey.count(QUARANTINE) == 5)
    watch.until("every change is readable", lambda: watch.journey.count(CITY) == 10)
    searched = list(readable(bus))
    for part in (
        RAW,
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
        f"{RAW}-",
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
    clear = Searcher([Canary("before sealing", id_number(BEFORE_SEALING))]).search_all(on_disk(bus))
    assert clear
    assert all(f"{RAW}-" in find.where for find in clear)
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
