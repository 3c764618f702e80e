"""What the catalogue lacks on a day: entries that are missing or overdue, elements that nobody settled."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from exchange.catalogue.elements import Claim
from exchange.catalogue.entry import State, differs
from exchange.catalogue.sheet import Sheet
from exchange.governance import clock
from exchange.governance.clock import Deadline, Notice
from exchange.topology.model import Governance


@dataclass(frozen=True, slots=True)
class Lack:
    """One thing to be done: what kind, about which resource or element, in words."""

    kind: str
    about: str
    told: str


def deadline(sheet: Sheet, rules: Governance) -> Deadline | None:
    """Return by when an entry must be published anew; None where it was not seen to be old."""
    entry = sheet.entry
    if entry is None or entry.state == State.RETIRED or entry.changed_at is None:
        return None
    return clock.deadline_from(entry.changed_at, rules.catalogue_days, rules)


def notice(sheet: Sheet, now: dt.datetime, rules: Governance) -> Notice:
    """Return what is due of an entry at a moment."""
    return clock.notice_of(deadline(sheet, rules), now, rules)


def lacks(
    shelf: Iterable[Sheet], claimed: Iterable[Claim], now: dt.datetime, rules: Governance
) -> list[Lack]:
    """Return what is to be done, resource by resource, then elements."""
    found = []
    for sheet in shelf:
        entry = sheet.entry
        if entry is None or entry.state == State.RETIRED:
            what = "has no entry" if entry is None else "is declared, and its entry is retired"
            told = f"{sheet.name} {what}; `exchange catalogue new {sheet.name}` drafts one"
            found.append(Lack("missing", sheet.name, told))
            continue
        due = deadline(sheet, rules)
        if due is not None and clock.notice_of(due, now, rules) in (Notice.OVERDUE, Notice.ESCALATED):
            told = f"{sheet.name} had to be published by {due.day} as it is now; it is {entry.state}"
            found.append(Lack("overdue", sheet.name, told))
        elif entry.changed_at is None and differs(entry, sheet.described_sha256):
            told = (
                f"{sheet.name} was changed since it was published; "
                "`exchange catalogue sweep` notes it, and its time begins"
            )
            found.append(Lack("changed", sheet.name, told))
    found += [
        Lack("unsettled", f"{one.library}/{one.element}", one.told) for one in claimed if not one.source
    ]
    return found
