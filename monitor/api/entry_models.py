"""What the API takes and answers of the catalogue's entries."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field

from exchange.catalogue.entry import Content, Line, Publication, State
from exchange.catalogue.entry import Text as LongText
from exchange.governance.clock import Notice
from exchange.model import Label, Model
from monitor.api.request_models import Text

Word = Literal["new", "edit", "submit", "withdraw", "publish", "return", "retire"]
_LONGEST_ID = 2**31 - 1


class EntrySummary(Model):
    """A resource that is declared, with its entry at one version."""

    resource: str
    code: str
    name: Label
    department: str
    system: str
    table: str
    library_kind: Literal["", "base", "theme"]
    library: str
    state: State | None = Field(description="Null where nobody has written an entry.")
    version: int = Field(description="0 where there is no entry.")
    due: str | None = Field(description="By when it must be published as it is now; null: it is.")
    due_is_estimated: bool
    notice: Notice
    acts: tuple[Word, ...] = Field(description="What the caller may do with it now; the rest is refused.")


class FieldOfEntry(Model):
    """One field of the contract, those inside records one by one."""

    path: str
    label: Label
    type: str
    nullable: bool
    key: bool
    classification: int = Field(description="Grade: 1 (public) to 4 (core).")
    sensitivity: str
    element: str = Field(description="Code of the data element that it holds; empty: none is named.")


class ClaimOfEntry(Model):
    """An element of a library that this and other published resources claim."""

    library: str
    element: str
    fields: dict[str, tuple[str, ...]] = Field(description="Resource → paths that hold it.")
    source: str = Field(description="The resource that is named its source; empty: none is.")
    may_settle: bool = Field(description="Whether the caller may name it.")


class Happened(Model):
    """What was done to an entry, and the version that was looked at."""

    at: AwareDatetime
    actor: str
    event: str
    version: int
    state: str
    reason: str


class EntryDetail(EntrySummary):
    """An entry beside what topology and contract say of its resource."""

    share: str
    update_cycle: str
    contract: str
    contract_version: int
    contract_sha256: str
    grade: int = Field(description="Highest of its fields.")
    since: AwareDatetime | None
    reason: str = Field(description="Why it was returned or retired.")
    in_force: Content | None = Field(description="What is published; null: nothing was yet.")
    draft: Content | None = Field(description="What is not; null where there is none, or not for the caller.")
    publications: tuple[Publication, ...]
    fields: tuple[FieldOfEntry, ...]
    claims: tuple[ClaimOfEntry, ...]
    history: tuple[Happened, ...] = Field(
        description="In order; empty unless the draft is the caller's to see."
    )


class EntryDone(EntryDetail):
    """An entry as it is after what was done."""

    notes: tuple[str, ...] = Field(default=(), description="What was not as it is wanted, and why.")


class Entries(Model):
    """A page of the catalogue."""

    total: int
    entries: tuple[EntrySummary, ...]


class EntriesParams(Model):
    """Query parameters of /api/catalogue."""

    words: Annotated[str, Field(max_length=200)] = Field(default="", description="All must occur somewhere.")
    state: tuple[State, ...] = Field(default=(), description="Only in these states.")
    waiting: bool = Field(default=False, description="Only what waits for the caller, first due first.")
    offset: int = Field(default=0, ge=0, le=_LONGEST_ID)
    limit: int = Field(default=50, ge=1, le=500)


class EntryAct(Model):
    """What is done to an entry; what is not said of its content is left as it is."""

    version: int | None = Field(default=None, ge=1, le=_LONGEST_ID, description="As it was looked at.")
    reason: Text = Field(default="", description="For return and retire; the steward reads it.")
    library_kind: Literal["", "base", "theme"] | None = Field(default=None, description="For new and edit.")
    library: Line | None = Field(default=None, description="For new and edit.")
    description_zh: LongText | None = Field(default=None, description="For new and edit.")
    description_en: LongText | None = Field(default=None, description="For new and edit.")
    contact: Line | None = Field(default=None, description="For new and edit.")

    def changes(self) -> dict[str, Any]:
        """Return what is said of the content."""
        given = {name: getattr(self, name) for name in Content.model_fields}
        return {name: value for name, value in given.items() if value is not None}


class Settled(Model):
    """Which element of which library the resource is the source of, and why."""

    library: Annotated[Text, Field(max_length=200)]
    element: Annotated[Text, Field(max_length=200)]
    reason: Text = Field(description="The others that claim it read it.")
