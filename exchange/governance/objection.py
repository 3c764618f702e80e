"""An objection to a value that was delivered: states, events, and one table that says what leads where.

filed ─▶ answered ─▶ corrected | rejected | withdrawn        the same three: from filed too
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, Field, StringConstraints

from exchange.errors import GovernanceError
from exchange.governance import clock
from exchange.governance.clock import Deadline, Notice
from exchange.governance.request import Who
from exchange.model import Model
from exchange.topology.model import Governance

Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=4000)]
"""A text that is kept in the store alone: it may quote values."""


class State(StrEnum):
    """Where an objection stands."""

    FILED = "filed"
    ANSWERED = "answered"
    CORRECTED = "corrected"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


class Event(StrEnum):
    """What can be done to an objection."""

    ANSWER = "answer"
    REJECT = "reject"
    CORRECT = "correct"
    WITHDRAW = "withdraw"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the table: who leads an objection from a state to the next."""

    state: State
    event: Event
    target: State
    who: Who


TABLE: Final = (
    Step(State.FILED, Event.ANSWER, State.ANSWERED, Who.STEWARD),
    Step(State.FILED, Event.REJECT, State.REJECTED, Who.STEWARD),
    Step(State.FILED, Event.CORRECT, State.CORRECTED, Who.STEWARD),
    Step(State.FILED, Event.WITHDRAW, State.WITHDRAWN, Who.REQUESTER),
    Step(State.ANSWERED, Event.REJECT, State.REJECTED, Who.STEWARD),
    Step(State.ANSWERED, Event.CORRECT, State.CORRECTED, Who.STEWARD),
    Step(State.ANSWERED, Event.WITHDRAW, State.WITHDRAWN, Who.REQUESTER),
)
"""Every way there is; what stands here on no line is refused."""

ENDS: Final = frozenset({State.CORRECTED, State.REJECTED, State.WITHDRAWN})
_DECISIONS: Final = frozenset({Event.ANSWER, Event.REJECT, Event.CORRECT})
_WITH_TEXT: Final = frozenset({Event.ANSWER, Event.REJECT})


class Place(Model):
    """Where a change stands: in the raw topic, and in its source as the header of its records says it."""

    offset: int = Field(ge=0, description="In the partition of the raw topic.")
    position: str = Field(description="As `exchange consume` shows it.")


class Objection(Model):
    """An objection at one version; every change makes the next. `claim` and `answer` may quote values."""

    id: int = Field(default=0, description="0: not stored yet.")
    version: int = 1
    state: State = State.FILED
    subscriber: str
    view: str
    fields: tuple[str, ...]
    partition: int = Field(ge=0, description="Of the view's topic, and of the raw one.")
    offset: int = Field(ge=0, description="Of the record in the view's topic.")
    change: Place = Field(description="The change that brought the value.")
    claim: Text = Field(min_length=1, description="What is wrong; stored here alone.")
    filer: str
    answer: Text = Field(default="", description="What the steward says to it; stored here alone.")
    correction: Place | None = Field(
        default=None, description="The later change of the same row that mends it."
    )
    since: AwareDatetime = Field(description="When it came to its state.")

    @property
    def resource(self) -> str:
        """The resource of its view."""
        return self.view.rpartition(".")[0]


def step_of(objection: Objection, event: Event) -> Step:
    """Return the line of the table for an event.

    Raises: GovernanceError when the event is not possible in the objection's state.
    """
    for step in TABLE:
        if (step.state, step.event) == (objection.state, event):
            return step
    possible = sorted(step.event.value for step in TABLE if step.state == objection.state)
    what = f"possible: {', '.join(possible)}" if possible else "it has ended"
    msg = f"objection {objection.id} is {objection.state}; it cannot take '{event}' now ({what})"
    raise GovernanceError(msg)


def advance(
    objection: Objection,
    event: Event,
    actor: str,
    now: dt.datetime,
    *,
    answer: str = "",
    correction: Place | None = None,
) -> Objection:
    """Return the objection after an event, at its next version.

    1. the table has the step; 2. nobody decides on an objection of their own; 3. an answer and a rejection
    say something; 4. a correction is a later change.

    Raises: GovernanceError naming the rule that is broken.
    """
    step = step_of(objection, event)
    if event in _DECISIONS and actor == objection.filer:
        msg = f"objection {objection.id} is {actor}'s own; somebody else must {event} it"
        raise GovernanceError(msg)
    if event in _WITH_TEXT and not answer.strip():
        msg = f"objection {objection.id}: '{event}' needs a text, which the subscriber reads"
        raise GovernanceError(msg)
    update: dict[str, Any] = {"state": step.target, "version": objection.version + 1, "since": now}
    if event == Event.CORRECT:
        if correction is None or correction.offset <= objection.change.offset:
            msg = f"objection {objection.id}: what corrects it must be a later change of the same row"
            raise GovernanceError(msg)
        update["correction"] = correction
    if answer.strip():
        update["answer"] = answer.strip()
    return objection.model_copy(update=update)


def deadline(objection: Objection, rules: Governance) -> Deadline | None:
    """Return by when an objection must be answered, or what was answered be ended; None at its end."""
    days = {State.FILED: rules.objection_days, State.ANSWERED: rules.correction_days}.get(objection.state)
    return None if days is None else clock.deadline_from(objection.since, days, rules)


def notice(objection: Objection, now: dt.datetime, rules: Governance) -> Notice:
    """Return what is due of an objection at a moment."""
    return clock.notice_of(deadline(objection, rules), now, rules)
