"""The binary log's places, gaps, and values as far as they need no server."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr
from pymysqlreplication.constants import FIELD_TYPE

from connectors.sources.convert import Unrepresentable
from connectors.sources.mysql.gap import refuse_gap, refuse_other_log
from connectors.sources.mysql.place import Mark, byte_of, number_of, place
from connectors.sources.mysql.rowimage import MalformedImage, RowReader, is_whole
from connectors.sources.mysql.snapshot import SourceTable, _after
from connectors.sources.mysql.types import mapping
from exchange.binlog.address import address, server_id
from exchange.binlog.charsets import CHARSETS
from exchange.binlog.columns import Column, UnknownColumn, from_catalogue
from exchange.errors import ConfigError, GapError
from exchange.position import PositionCodec, SourcePosition

GTIDS = ("0-1-7", "2-1-3")
STORED = SourcePosition(
    "shop", "server 1 domain 0", 5, "", place(12, 400), mark=Mark("binlog", 1_700_000_000, GTIDS).text()
)
FILES = {"binlog.000011": 900, "binlog.000012": 500}


def test_places_grow_over_the_files_and_come_apart_again() -> None:
    places = [place(1, 4), place(1, 900), place(2, 4), place(999_999, 1 << 30), place(1_000_000, 4)]
    assert places == sorted(set(places))
    assert [(number_of(at), byte_of(at)) for at in places[:2]] == [(1, 4), (1, 900)]


def test_a_mark_survives_the_position_record() -> None:
    codec = PositionCodec("shop", SecretStr("secret"))
    assert codec.decode(codec.encode(STORED)) == STORED
    assert Mark.of(STORED.mark) == Mark("binlog", 1_700_000_000, GTIDS)


def test_the_same_log_is_no_gap() -> None:
    refuse_gap(STORED, "server 1 domain 0", FILES, GTIDS)
    refuse_other_log(STORED, 1_700_000_000)
    refuse_other_log(replace(STORED, mark=Mark("binlog", 0).text()), 1)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (("server 2 domain 0", FILES, GTIDS), "replaced, restored or failed over"),
        (
            ("server 1 domain 0", {"binlog.000013": 500}, None),
            "no longer has that file (oldest: binlog.000013)",
        ),
        (("server 1 domain 0", {}, None), "oldest: none"),
        (("server 1 domain 0", FILES | {"binlog.000012": 399}, GTIDS), "ends at byte 399"),
        (("server 1 domain 0", FILES, ("0-1-7",)), "the GTIDs differ"),
        (("server 1 domain 0", {"mysql-bin.000012": 500}, GTIDS), "no longer has that file"),
    ],
)
def test_whatever_may_hide_a_change_is_a_gap_that_says_what_to_do(seen: Any, words: str) -> None:
    with pytest.raises(GapError, match="exchange resnapshot shop") as told:
        refuse_gap(STORED, *seen)
    assert words in str(told.value)
    assert "binlog.000012:400" in str(told.value)


def test_a_file_of_the_same_name_begun_at_another_time_is_a_gap() -> None:
    with pytest.raises(GapError, match="RESET MASTER"):
        refuse_other_log(STORED, 1_700_000_001)


def test_each_system_has_a_server_id_of_its_own_that_no_server_has() -> None:
    ids = {server_id(f"system{number}") for number in range(2000)}
    assert len(ids) == 2000
    assert all(2**31 <= number < 2**32 for number in ids)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@h/d",
        "mysql://h/d",
        "mysql:geheim",
        "mysql://u:p@h:port/d",
        "mysql://u@:1/d",
        "geheim",
        "mysql://u:p@h/d?ssl=1",
        "mysql://u:p#x@h/d",
    ],
)
def test_a_wrong_connection_string_is_told_without_a_word_of_it(url: str) -> None:
    with pytest.raises(ConfigError) as told:
        address("shop", SecretStr(url))
    assert url not in str(told.value)
    assert "mysql://user:password@host:3306/database" in str(told.value)


def test_a_connection_string_may_hold_any_password() -> None:
    found = address("shop", SecretStr("mysql://u:p%40%2F%3A@h:3307/d"))
    assert (found.host, found.port, found.user, found.database) == ("h", 3307, "u", "d")
    assert found.password.get_secret_value() == "p@/:"
    assert "p@/:" not in repr(found)


@pytest.mark.parametrize(
    ("host", "options", "mode"),
    [
        ("127.0.0.1", "", "disabled"),
        ("localhost", "", "disabled"),
        ("[::1]", "", "disabled"),
        ("10.0.0.1", "", "verify_identity"),
        ("db.example", "", "verify_identity"),
        ("db.example", "?ssl_mode=disabled", "disabled"),
        ("db.example", "?ssl_mode=verify_ca", "verify_ca"),
        ("localhost", "?ssl_ca=/ca.pem", "verify_identity"),
    ],
)
def test_only_this_machine_is_spoken_to_in_clear_without_being_told_so(
    host: str, options: str, mode: str
) -> None:
    assert address("shop", SecretStr(f"mysql://u:p@{host}/d{options}")).tls.mode == mode


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("ssl_mode=required", "none of disabled, verify_ca, verify_identity"),
        ("ssl_mode=disabled&ssl_ca=/ca.pem", "take either out"),
        ("ssl_key=/k.pem", "without ssl_cert"),
        ("ssl_verify=1", "an option that is not known"),
        ("ssl_ca", "an option that is not known"),
    ],
)
def test_contradicting_wishes_for_tls_are_told(options: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        address("shop", SecretStr(f"mysql://u:p@h/d?{options}"))


def column(type_: int, **given: Any) -> Any:
    return SimpleNamespace(type=type_, unsigned=False, **given)


def test_rows_are_cut_at_their_ends_and_a_broken_one_is_found_out() -> None:
    reader = RowReader([column(FIELD_TYPE.LONG), column(FIELD_TYPE.VARCHAR, max_length=20)])
    data = b"\x00\x05\x00\x00\x00\x02ab" + b"\x02\xff\xff\xff\xff"
    assert reader.rows(data) == [(0, (b"5", b"ab")), (8, (b"-1", None))]
    for end in range(1, len(data)):
        if end != 8:
            with pytest.raises(MalformedImage):
                reader.rows(data[:end])


def test_an_image_without_all_columns_is_known() -> None:
    assert is_whole(b"\xff\x01", 9)
    assert is_whole(b"\xff\xff", 9)
    assert not is_whole(b"\xff\x00", 9)
    assert not is_whole(b"\xfe\x01", 9)


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        (Column("a", "date"), ["0000-00-00", "2024-00-00", "2024-02-00", "2024-02-30"]),
        (Column("a", "datetime"), ["0000-00-00 00:00:00", "2024-00-01 00:00:00"]),
        (Column("a", "timestamp"), ["0000-00-00 00:00:00.000"]),
        (Column("a", "time"), ["-00:00:01", "24:00:00", "838:59:59"]),
        (Column("a", "enum", charset="utf8mb4", labels=("x",)), ["0", "2"]),
        (Column("a", "set", charset="utf8mb4", labels=("x",)), ["2"]),
        (Column("a", "text", charset="utf8mb4"), ["\udcff"]),
        (Column("a", "double"), ["inf", "nan"]),
        (Column("a", "float"), ["0.1"]),
        (Column("a", "decimal", precision=4, scale=2), ["1.2", "12"]),
    ],
)
def test_a_value_without_an_exact_form_is_refused(given: Column, texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(Unrepresentable):
            mapping(given).convert(text.encode(errors="surrogateescape"))


@pytest.mark.parametrize(
    "row",
    [
        ("a", "varchar", "varchar(9)", "big5", "0", "0", "0", "9"),
        ("a", "enum", "enum('é')", "latin1", "0", "0", "0", "1"),
        ("a", "enum", "enum('e')", "utf16", "0", "0", "0", "1"),
        ("a", "json", "json", "", "0", "0", "0", "0"),
        ("a", "vector", "vector(3)", "", "0", "0", "0", "0"),
    ],
)
def test_a_column_that_cannot_be_read_exactly_is_refused_by_name(row: tuple[str, ...]) -> None:
    with pytest.raises(UnknownColumn, match="column a"):
        from_catalogue(row)


def test_labels_with_quotes_and_commas_come_apart() -> None:
    found = from_catalogue(("a", "enum", "enum('it''s','a,b','')", "utf8mb4", "0", "0", "0", "4"))
    assert found.labels == ("it's", "a,b", "")


def test_the_servers_latin1_is_windows_1252_with_its_holes_filled() -> None:
    assert CHARSETS["latin1"](bytes([0x80, 0x81, 0xE9])).decode() == "€\x81é"


def test_the_next_page_is_told_column_by_column() -> None:
    table = SourceTable(
        "d.t", (Column("a", "int"), Column("b", "text", charset="gbk")), ("a", "b"), {"b": "gbk_bin"}
    )
    condition = _after(table, (b"5".hex(), "中".encode("gbk").hex()))
    assert condition == "`a` >= 5 AND (`a` > 5 OR (`b` > _gbk X'd6d0' COLLATE gbk_bin))"
