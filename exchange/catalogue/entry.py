"""An entry of the catalogue: states, events, and one table that says what leads where.

draft ─▶ submitted ─▶ published ─▶ retired
  ▲        │  ▲          │
  │        ▼  │          │            retired: from draft, returned and published
  │      returned        │
  └──────────────────────┘

What was published stays in force while a later version is drafted, submitted or returned.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from exchange.errors import GovernanceError
from exchange.governance.request import Who
from exchange.model import Model

if TYPE_CHECKING:
    import datetime as dt

_LONGEST_TEXT: Final = 2000
Line = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
]
"""A text of one line."""
Text = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, max_length=_LONGEST_TEXT, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$"
    ),
]
"""A text that may have several lines."""


class State(StrEnum):
    """Where an entry stands."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    RETURNED = "returned"
    PUBLISHED = "published"
    RETIRED = "retired"


class Event(StrEnum):
    """What can be done to an entry; NOTICE is the bus's own: what it describes is another one by now."""

    EDIT = "edit"
    SUBMIT = "submit"
    WITHDRAW = "withdraw"
    PUBLISH = "publish"
    RETURN = "return"
    RETIRE = "retire"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the table: who leads an entry from a state to the next."""

    state: State
    event: Event
    target: State
    who: Who


TABLE: Final = (
    Step(State.DRAFT, Event.EDIT, State.DRAFT, Who.STEWARD),
    Step(State.DRAFT, Event.SUBMIT, State.SUBMITTED, Who.STEWARD),
    Step(State.DRAFT, Event.RETIRE, State.RETIRED, Who.AUTHORITY),
    Step(State.DRAFT, Event.NOTICE, State.DRAFT, Who.BUS),
    Step(State.SUBMITTED, Event.WITHDRAW, State.DRAFT, Who.STEWARD),
    Step(State.SUBMITTED, Event.PUBLISH, State.PUBLISHED, Who.AUTHORITY),
    Step(State.SUBMITTED, Event.RETURN, State.RETURNED, Who.AUTHORITY),
    Step(State.SUBMITTED, Event.NOTICE, State.SUBMITTED, Who.BUS),
    Step(State.RETURNED, Event.EDIT, State.RETURNED, Who.STEWARD),
    Step(State.RETURNED, Event.SUBMIT, State.SUBMITTED, Who.STEWARD),
    Step(State.RETURNED, Event.RETIRE, State.RETIRED, Who.AUTHORITY),
    Step(State.RETURNED, Event.NOTICE, State.RETURNED, Who.BUS),
    Step(State.PUBLISHED, Event.EDIT, State.DRAFT, Who.STEWARD),
    Step(State.PUBLISHED, Event.SUBMIT, State.SUBMITTED, Who.STEWARD),
    Step(State.PUBLISHED, Event.RETIRE, State.RETIRED, Who.AUTHORITY),
    Step(State.PUBLISHED, Event.NOTICE, State.PUBLISHED, Who.BUS),
)
"""Every way there is; what stands here on no line is refused."""

ENDS: Final = frozenset({State.RETIRED})
_DECISIONS: Final = frozenset({Event.PUBLISH, Event.RETURN})
_WITH_REASON: Final = frozenset({Event.RETURN, Event.RETIRE})


class Content(Model):
    """What people say of a resource that neither topology nor contract says."""

    library_kind: Literal["", "base", "theme"] = Field(
        default="", description="Kind of its library: base 基础库 or theme 主题库."
    )
    library: Line = Field(default="", description="Library that it belongs to, like 人口.")
    description_zh: Text = Field(default="", description="What it holds, in Chinese.")
    description_en: Text = Field(default="", description="What it holds, in English.")
    contact: Line = Field(
        default="", description="Office and telephone that answer questions; no private ones."
    )


_REQUIRED: Final = ("library_kind", "library", "description_zh", "contact")


class Publication(Model):
    """What was in force from a moment on, and the contract that it described."""

    at: AwareDatetime
    by: str
    contract_version: int
    contract_sha256: str
    registry_version: int | None = Field(
        default=None, description="Of the values' schema in the raw topic; None: nothing was captured yet."
    )


class Entry(Model):
    """An entry at one version; every change makes the next version."""

    id: int = Field(default=0, description="0: not stored yet.")
    version: int = 1
    state: State = State.DRAFT
    resource: str = Field(description="<domain>.<resource>")
    content: Content = Content()
    editors: tuple[str, ...] = Field(
        default=(), description="Who wrote or handed in what is to be decided on."
    )
    reason: str = Field(default="", description="Why it was returned or retired.")
    since: AwareDatetime = Field(description="When it came to its state.")
    submitted_sha256: str = Field(default="", description="Of what it described when it was handed in.")
    published: Content | None = Field(default=None, description="What is in force.")
    published_sha256: str = Field(default="", description="Of what that described.")
    publications: tuple[Publication, ...] = ()
    changed_at: AwareDatetime | None = Field(
        default=None, description="When its resource was first seen to differ from what is published."
    )

    @property
    def told(self) -> Content:
        """What readers of the catalogue are told: what is in force; before anything was, the draft."""
        return self.published or self.content


def step_of(entry: Entry, event: Event) -> Step:
    """Return the line of the table for an event.

    Raises: GovernanceError when the event is not possible in the entry's state.
    """
    for step in TABLE:
        if (step.state, step.event) == (entry.state, event):
            return step
    possible = sorted(
        {step.event.value for step in TABLE if step.state == entry.state and step.who != Who.BUS}
    )
    what = f"possible: {', '.join(possible)}" if possible else "it has ended"
    msg = f"entry {entry.resource} is {entry.state}; it cannot take '{event}' now ({what})"
    raise GovernanceError(msg)


def advance(
    entry: Entry,
    event: Event,
    actor: str,
    now: dt.datetime,
    *,
    reason: str = "",
    content: Content | None = None,
    described: str = "",
    publication: Publication | None = None,
) -> Entry:
    """Return the entry after an event, at its next version.

    described: digest of what topology and contract say now; content: what an EDIT writes.

    1. the table has the step; 2. nobody decides on what they wrote; 3. what is returned or retired has a
    reason; 4. what is handed in is complete; 5. what is published describes what is there now.

    Raises: GovernanceError naming the rule that is broken.
    """
    step = step_of(entry, event)
    if event in _DECISIONS and actor in entry.editors:
        msg = f"entry {entry.resource} was written by {actor}; somebody else must {event} it"
        raise GovernanceError(msg)
    if event in _WITH_REASON and not reason.strip():
        msg = f"entry {entry.resource}: '{event}' needs a reason, which the steward reads"
        raise GovernanceError(msg)
    if event == Event.SUBMIT:
        _expect_complete(entry)
    if event == Event.PUBLISH and described != entry.submitted_sha256:
        msg = (
            f"entry {entry.resource}: its table or contract was changed since it was submitted; "
            "return it, to be submitted anew"
        )
        raise GovernanceError(msg)
    update = {"state": step.target, "version": entry.version + 1} | _written(
        entry, event, actor, now, content, described, publication
    )
    if step.target != entry.state or event == Event.RETURN:
        update |= {"since": now, "reason": reason.strip()}
    return entry.model_copy(update=update)


def _written(
    entry: Entry,
    event: Event,
    actor: str,
    now: dt.datetime,
    content: Content | None,
    described: str,
    publication: Publication | None,
) -> dict[str, Any]:
    """Return what an event writes besides state and version."""
    by = (*(one for one in entry.editors if one != actor), actor)
    if event == Event.EDIT:
        begun = () if entry.state == State.PUBLISHED else by[:-1]
        return {"content": content or entry.content, "editors": (*begun, actor)}
    if event == Event.SUBMIT:
        editors = (actor,) if entry.state == State.PUBLISHED else by
        return {"submitted_sha256": described, "editors": editors}
    if event == Event.PUBLISH:
        history = (*entry.publications, *([publication] if publication else []))
        return {
            "published": entry.content,
            "published_sha256": described,
            "publications": history,
            "changed_at": None,
        }
    if event == Event.NOTICE:
        return {"changed_at": (entry.changed_at or now) if differs(entry, described) else None}
    return {}


def differs(entry: Entry, described: str) -> bool:
    """Return whether what is published, if anything, describes something else than is there now."""
    return entry.published_sha256 != described


def _expect_complete(entry: Entry) -> None:
    missing = [name for name in _REQUIRED if not getattr(entry.content, name)]
    if missing:
        options = ", ".join("--" + name.replace("_", "-") for name in missing)
        msg = f"entry {entry.resource} is not complete; give {options} with `exchange catalogue edit`"
        raise GovernanceError(msg)
