"""What the API takes and answers of objections."""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, Field, StringConstraints

from exchange.governance.clock import Notice
from exchange.governance.objection import Event, Objection, Place, State
from exchange.model import Label, Model
from monitor.api.request_models import NameFilter

_LONGEST_ID = 2**31 - 1
_LONGEST_OFFSET = 2**63 - 1
_LONGEST_TEXT = 4000

_NO_NUL = r"^[^\x00]*$"

Text = Annotated[str, Field(max_length=_LONGEST_TEXT, pattern=_NO_NUL)]


class ShownObjection(Model):
    """An objection at one version, with its deadline; what its texts say is told by `Detail` alone."""

    id: int
    version: int
    state: State
    subscriber: str
    view: str
    fields: tuple[str, ...]
    partition: int = Field(description="Of the view's topic, and of the raw one.")
    offset: int = Field(description="Of the record in the view's topic.")
    position: str = Field(description="Of the change in its source, as the header of its records says it.")
    filer: str
    since: AwareDatetime = Field(description="When it came to its state.")
    department: str = Field(
        description="Whose steward answers; empty where the topology has the view no more."
    )
    due: str | None = Field(description="Last day to answer, or to correct or reject what was answered.")
    due_is_estimated: bool
    notice: Notice
    correction: Place | None = Field(description="The later change of the same row that mends it.")
    acts: tuple[Event, ...] = Field(description="What the caller may do with it now; the rest is refused.")


class Texts(Model):
    """What was said, which may quote values."""

    claim: str
    answer: str


class Happened(Model):
    """What was done to an objection, and the version that was looked at."""

    at: AwareDatetime
    actor: str
    event: str
    version: int
    state: str


class Detail(ShownObjection):
    """An objection with its history."""

    raw_offset: int = Field(description="Of the change in its partition of the raw topic.")
    texts: Texts | None = Field(description="Null unless the caller filed it, or is steward of its source.")
    history: tuple[Happened, ...] = Field(description="In order; refused attempts are in /api/decisions.")


class Objections(Model):
    """A page of objections, newest first."""

    total: int
    objections: tuple[ShownObjection, ...]


class ObjectionsParams(Model):
    """Query parameters of /api/objections."""

    state: tuple[State, ...] = Field(default=(), description="Only in these states.")
    subscriber: NameFilter = ""
    view: NameFilter = ""
    waiting: bool = Field(
        default=False, description="Only what waits for the caller's answer, first due first."
    )
    offset: int = Field(default=0, ge=0, le=_LONGEST_ID)
    limit: int = Field(default=50, ge=1, le=500)

    def takes(self, one: Objection) -> bool:
        """Return whether an objection is asked for."""
        return (
            (not self.state or one.state in self.state)
            and self.subscriber in ("", one.subscriber)
            and self.view in ("", one.view)
        )


class Filed(Model):
    """A new objection to fields of a record that was delivered."""

    subscriber: str = Field(min_length=1, max_length=63)
    view: str = Field(min_length=1, max_length=200)
    partition: int = Field(ge=0, le=_LONGEST_ID, description="Of the record, as `exchange consume` shows it.")
    offset: int = Field(ge=0, le=_LONGEST_OFFSET)
    fields: tuple[NameFilter, ...] = Field(min_length=1, max_length=100, description="What is wrong.")
    claim: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=_LONGEST_TEXT, pattern=_NO_NUL)
    ] = Field(description="What is wrong; may quote values: who filed it and the steward read it.")


class Act(Model):
    """What is done to an objection."""

    version: int | None = Field(default=None, ge=1, le=_LONGEST_ID, description="As it was looked at.")
    text: Text = Field(default="", description="For answer and reject; the subscriber reads it.")
    position: Annotated[str, Field(max_length=200, pattern=_NO_NUL)] = Field(
        default="", description="For correct: of the change that mends it; empty: the row's last."
    )


class ObjectChoice(Model):
    """A view that a subscriber is granted, and the fields that it shows."""

    subscriber: str
    view: str
    label: Label
    fields: tuple[str, ...]


class ObjectChoices(Model):
    """What the caller may object to, by subscriber and view."""

    choices: tuple[ObjectChoice, ...]
    total: int


class ObjectChoicesParams(Model):
    """Query parameters of /api/objections/choices."""

    text: Annotated[str, Field(max_length=200)] = Field(
        default="", description="Part of a view's name or label."
    )
    offset: int = Field(default=0, ge=0, le=_LONGEST_ID)
    limit: int = Field(default=100, ge=1, le=500)
