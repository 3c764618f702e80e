from __future__ import annotations

import pytest

from connectors.sources.postgres.marks import Marks
from exchange.errors import GapError
from exchange.tablemark import ANEW, TableMark, to_read_anew


def compared(*entries: str, resume: int = 0, **usable: str) -> Marks:
    """Compare entries with usable tables (name → identity), beside one that is always well."""
    marks = Marks("town")
    found = {"public.well": "1.2"} | {f"public.{name}": identity for name, identity in usable.items()}
    marks.compare(("public.well@1.2", *entries), resume, found, {"public.gone": "table public.gone is away"})
    return marks


@pytest.mark.parametrize(
    "mark",
    [
        TableMark("public.person"),
        TableMark("public.person", "16385.16390", 0x1A2B),
        TableMark("public.person", "16385.16390", 0, "recreated"),
        TableMark("public.person", "", 7, ANEW),
    ],
)
def test_mark_is_read_as_written(mark: TableMark) -> None:
    assert TableMark.parse(str(mark)) == mark


def test_empty_entry_is_none() -> None:
    with pytest.raises(ValueError, match="not an entry"):
        TableMark.parse("")


def test_table_to_read_anew_forgets_what_it_was() -> None:
    entries = ("public.a@1.2", "public.b@3.4!recreated")
    assert to_read_anew(entries, "public.b") == ("public.a@1.2", "public.b!anew")


@pytest.mark.parametrize(
    ("entry", "identity", "state", "told"),
    [
        ("public.person@1.2", "1.2", "", ""),
        ("public.person", "1.2", "", ""),
        ("public.person@9.2", "1.2", "recreated", "was dropped and made anew"),
        ("public.person@1.9", "1.2", "republished", "was taken out of the publication"),
        ("public.person@1.2!republished", "1.2", "republished", "was taken out of the publication"),
        ("public.person@1.2!unusable", "1.2", "unusable", "could not be captured for a while"),
    ],
)
def test_table_is_halted_unless_it_is_the_one_that_was_captured(
    entry: str, identity: str, state: str, told: str
) -> None:
    marks = compared(entry, person=identity)
    assert TableMark.parse(marks.entries()[1]).state == state
    assert told in marks.halted.get("public.person", "")
    assert ("public.person" in marks.halted) == bool(state)
    assert marks.is_complete("public.person") == (not state)


def test_table_that_is_away_is_halted_for_good_only_where_it_was_captured() -> None:
    assert compared("public.gone@1.2").entries()[1] == "public.gone@1.2!unusable"
    fresh = compared()
    assert "is away" in fresh.halted["public.gone"]
    assert len(fresh.entries()) == 1


def test_table_to_be_read_anew_is_emptied_first_and_then_new() -> None:
    marks = compared("public.person!anew", person="5.6")
    assert marks.to_empty() == ["public.person"]
    marks.emptied(marks.to_empty())
    assert not marks.is_complete("public.person")
    marks.complete("public.person", 0x50, "5.6")
    assert marks.entries()[1] == "public.person@5.6+50"
    assert marks.since("public.person") == 0x50


def test_once_the_stream_has_passed_it_the_beginning_is_forgotten() -> None:
    assert compared("public.person@1.2+50", person="1.2", resume=0x4F).since("public.person") == 0x50
    assert compared("public.person@1.2+50", person="1.2", resume=0x50).since("public.person") == 0


def test_where_no_table_is_left_the_stream_halts() -> None:
    with pytest.raises(GapError, match=r"public\.person was dropped and made anew"):
        Marks("town").compare(["public.person@9.9"], 0, {"public.person": "1.2"}, {})


def test_a_stranger_is_seen_while_running() -> None:
    marks = compared("public.person@1.2", person="1.2")
    now = {"public.well": "1.2", "public.person": "1.2"}
    assert list(marks.strangers(now)) == []
    assert list(marks.strangers(now | {"public.person": "1.3"})) == ["public.person"]
    assert list(marks.strangers({"public.well": "1.2"})) == ["public.person"]
