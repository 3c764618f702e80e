"""What people order of a whole connector: what a pause means for each kind, and how far reading anew is."""

from __future__ import annotations

import pytest

from exchange.errors import PartError
from exchange.pauses import PAUSED, PAUSES, Meanwhile, Pause, Wish, is_obeyed, meanwhile, paused_text
from exchange.plan import PlannedEngine, PlannedSystem
from exchange.position import SnapshotProgress, SourcePosition
from exchange.resnapshots import Resnapshot, State, how_far

PAUSE = Pause(operation="1f", wish=Wish.PAUSE, by="chen-hao", since_ms=1_795_903_200_000, reason="disk moved")
ENGINE = PlannedEngine(connector_class="c", properties={}, secrets={})
POSITION = SourcePosition("town", "7", 1, "slot", 9, tables=("public.person@1+2", "public.job@3+2"))
ORDER = Resnapshot(operation="1f", by="chen-hao", at_ms=0, state=State.BEGUN)


@pytest.mark.parametrize(
    ("system", "wanted"),
    [
        (PlannedSystem(name="a"), "wal"),
        (PlannedSystem(name="a", protect_by="drop_slot"), "wal_until_limit"),
        (PlannedSystem(name="a", kind="mariadb"), "log"),
        (PlannedSystem(name="a", kind="mysql"), "log"),
        (PlannedSystem(name="a", kind="debezium"), "topics"),
        (PlannedSystem(name="a", kind="debezium", engine=ENGINE), "log"),
        (PlannedSystem(name="a", kind="http"), "refuses"),
        (PlannedSystem(name="a", kind="files"), "folders"),
    ],
)
def test_who_keeps_what_changes_in_a_pause_follows_from_the_kind(
    system: PlannedSystem, wanted: Meanwhile
) -> None:
    assert meanwhile(system) == wanted


def test_only_a_heartbeat_that_names_the_pause_says_that_it_is_obeyed() -> None:
    beat = {"state": PAUSED, "figures": PAUSE.figures}
    assert is_obeyed(PAUSE, beat)
    assert not is_obeyed(PAUSE, {})
    assert not is_obeyed(PAUSE, {"state": "streaming", "figures": {}})
    assert not is_obeyed(PAUSE.model_copy(update={"operation": "2f"}), beat)
    resumed = PAUSE.model_copy(update={"wish": Wish.RUN})
    assert not is_obeyed(resumed, beat)
    assert is_obeyed(resumed, {"state": "streaming", "figures": {}})
    assert paused_text(PAUSE.figures) == "paused since 2026-11-28 22:00 UTC by chen-hao: disk moved"


def test_an_order_that_does_not_fit_is_refused_with_its_places_and_no_content() -> None:
    with pytest.raises(PartError, match="exchange connector resume") as caught:
        PAUSES.parsed(b"town", b'{"operation": "1f", "wish": "canary"}')
    assert "by; since_ms" in str(caught.value) or "wish" in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("order", "position", "wanted"),
    [
        (ORDER.model_copy(update={"state": State.ORDERED}), POSITION, "ordered"),
        (ORDER.model_copy(update={"state": State.REFUSED}), POSITION, "refused"),
        (ORDER, POSITION, "complete"),
        (ORDER, SourcePosition("town", "7", 1, "slot", 0), "reading"),
        (ORDER, SourcePosition("town", "7", 1, "slot", 9, snapshot=SnapshotProgress(1)), "reading"),
        (
            ORDER.model_copy(update={"table": "public.job"}),
            SourcePosition("town", "7", 1, "slot", 9, tables=("public.person@1", "public.job!anew")),
            "reading",
        ),
        (
            ORDER.model_copy(update={"table": "public.person"}),
            SourcePosition("town", "7", 1, "slot", 9, tables=("public.person@1", "public.job!anew")),
            "complete",
        ),
    ],
)
def test_how_far_reading_anew_is_stands_in_the_position(
    order: Resnapshot, position: SourcePosition, wanted: str
) -> None:
    assert how_far(order, position) == wanted
