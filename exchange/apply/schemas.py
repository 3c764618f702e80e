"""The registry side of `exchange apply`: the schemas of every view, and their ids for the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from exchange.apply.ledger import INTENDED, Ledger, Made
from exchange.apply.steps import Line, Mark, Stage, Survey
from exchange.contract import Contract
from exchange.plan_build import compiled_views
from exchange.registry import for_writing
from exchange.settings import Settings
from exchange.topology.model import Topology
from exchange.view import View

_PREFIX: Final = "share."
VIEW_COMPATIBILITY: Final = "FULL_TRANSITIVE"
"""A subscriber reads a topic's old and new records with whichever schema it has."""


def wanted(topology: Topology, contracts: Mapping[str, Contract]) -> dict[str, dict[str, Any]]:
    """Return the schemas of a valid topology's views, by subject."""
    return of_views(compiled_views(topology, contracts))


def of_views(views: Mapping[str, View]) -> dict[str, dict[str, Any]]:
    """Return the schemas of compiled views, which are given by topic, by subject."""
    subjects: dict[str, dict[str, Any]] = {}
    for topic, view in views.items():
        subjects[f"{topic}-key"] = view.key_schema()
        subjects[f"{topic}-value"] = view.value_schema()
    return subjects


def wanted_subjects(topology: Topology) -> set[str]:
    """Return the subjects of a topology: those of its views, and those that connectors register."""
    topics = [topic for topic in topology.data_topics() if topic.startswith(("share.", "raw."))]
    return {f"{topic}-{part}" for topic in topics for part in ("key", "value")}


@dataclass(frozen=True, slots=True)
class Registered:
    """What the registry holds of views: subject → id, version and schema of its latest; subject → level."""

    latest: Mapping[str, tuple[int, int, dict[str, Any]]]
    levels: Mapping[str, str]


class Schemas:
    """Brings the registry's subjects in line. ids: by subject, of those that are as wanted so far."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self.ids: dict[str, int] = {}
        self._settings = settings
        self._ledger = ledger
        self._new: list[str] = []

    def look(self, prefix: str = _PREFIX) -> Registered:
        """Return what is registered of views whose topics begin so.

        Raises: ExchangeError when the registry does not answer.
        """
        with for_writing(self._settings) as registry:
            latest = registry.all_latest(prefix)
            return Registered(latest, registry.levels(prefix, latest))

    def survey(self, seen: Survey, schemas: Mapping[str, dict[str, Any]], registered: Registered) -> bool:
        """Look at every subject; return whether all are registered as wanted, so that every id is known.

        Raises: ExchangeError when the registry does not answer.
        """
        lines: list[Line] = []
        changes: dict[str, dict[str, Any]] = {}
        for subject, schema in schemas.items():
            line = self._see(subject, schema, registered, seen)
            lines.append(line)
            if line.mark != Mark.UNCHANGED:
                changes[subject] = schema
        seen.stages.append(Stage(tuple(lines), lambda: self._register(changes)))
        return not changes

    def _see(self, subject: str, schema: dict[str, Any], registered: Registered, seen: Survey) -> Line:
        latest = registered.latest.get(subject)
        if latest is None:
            self._new.append(subject)
            return Line(Mark.CREATED, "schema", subject)
        schema_id, version, known = latest
        if known != schema:
            for reason in self._incompatibilities(subject, schema):
                seen.problems.append(
                    f"schema {subject}: the view's new form would break its readers: {reason}. "
                    "Declare it as a view of another name and move the grants"
                )
            return Line(Mark.CHANGED, "schema", subject, f"version {version} → {version + 1}")
        if registered.levels.get(subject) != VIEW_COMPATIBILITY:
            return Line(Mark.CHANGED, "schema", subject, f"compatibility → {VIEW_COMPATIBILITY}")
        self.ids[subject] = schema_id
        return Line(Mark.UNCHANGED, "schema", subject)

    def _incompatibilities(self, subject: str, schema: dict[str, Any]) -> list[str]:
        with for_writing(self._settings) as registry:
            return registry.incompatibilities(subject, schema)

    def mark(self) -> None:
        """Write down the ids of what was registered here."""
        marks: dict[str, str] = {}
        for subject, schema_id in self.ids.items():
            made = self._ledger.find("schema", subject)
            known = set(made.mark.split(",")) - {INTENDED} if made is not None else set()
            marks[subject] = ",".join(sorted(known | {str(schema_id)}, key=int))
        self._ledger.mark("schema", marks)

    def _register(self, schemas: Mapping[str, dict[str, Any]]) -> None:
        self._ledger.write(Made("schema", subject) for subject in self._new)
        with for_writing(self._settings) as registry:
            for subject, schema in schemas.items():
                registry.set_compatibility(subject, VIEW_COMPATIBILITY)
                self.ids[subject] = registry.register(subject, schema)
        self.mark()
