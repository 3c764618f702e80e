from __future__ import annotations

from dataclasses import replace

import pytest

from connectors.sources.postgres.catalog import SlotState
from connectors.sources.postgres.gap import refuse_gap
from connectors.sources.postgres.replication import Identity
from exchange.errors import GapError
from exchange.position import SourcePosition

STORED = SourcePosition("town", "1", 1, "slot", 100)
IDENTITY = Identity("1", 1)
SLOT = SlotState(ours=True, active=False, confirmed=100, lost=False)


def test_slot_at_or_before_the_stored_position_has_no_gap() -> None:
    refuse_gap(STORED, IDENTITY, "slot", SLOT)
    refuse_gap(STORED, IDENTITY, "slot", replace(SLOT, confirmed=99))


@pytest.mark.parametrize(
    ("identity", "name", "slot", "text"),
    [
        (Identity("1", 2), "slot", SLOT, "it was restored or failed over"),
        (Identity("2", 1), "slot", SLOT, "it was restored or failed over"),
        (IDENTITY, "another", SLOT, "by slot slot, and the plan names slot another"),
        (IDENTITY, "slot", None, "slot slot no longer exists in the database"),
        (IDENTITY, "slot", replace(SLOT, ours=False), "of another plugin or database"),
        (IDENTITY, "slot", replace(SLOT, lost=True), "removed the log that slot slot needs"),
        (IDENTITY, "slot", replace(SLOT, confirmed=101), "stands at 0/65: it was moved or made anew"),
    ],
)
def test_whatever_may_hide_a_change_is_a_gap(
    identity: Identity, name: str, slot: SlotState | None, text: str
) -> None:
    with pytest.raises(GapError, match=text):
        refuse_gap(STORED, identity, name, slot)
