"""The registry side of `exchange apply`: the schemas of every view, and their ids for the plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from exchange.apply.steps import Line, Mark, Stage, Survey
from exchange.contract import Contract
from exchange.plan_build import compiled_views
from exchange.registry import Registry, for_writing
from exchange.settings import Settings
from exchange.topology.model import Topology

VIEW_COMPATIBILITY: Final = "FULL_TRANSITIVE"
"""A subscriber reads a topic's old and new records with whichever schema it has."""


def wanted(topology: Topology, contracts: Mapping[str, Contract]) -> dict[str, dict[str, Any]]:
    """Return the schemas of a valid topology's views, by subject."""
    subjects: dict[str, dict[str, Any]] = {}
    for topic, view in compiled_views(topology, contracts).items():
        subjects[f"{topic}-key"] = view.key_schema()
        subjects[f"{topic}-value"] = view.value_schema()
    return subjects


class Schemas:
    """Brings the registry's subjects in line. ids: by subject, of those that are as wanted so far."""

    def __init__(self, settings: Settings) -> None:
        self.ids: dict[str, int] = {}
        self._settings = settings

    def survey(self, seen: Survey, schemas: Mapping[str, dict[str, Any]]) -> bool:
        """Look at every subject; return whether all are registered as wanted, so that every id is known.

        Raises: ExchangeError when the registry does not answer.
        """
        lines: list[Line] = []
        changes: dict[str, dict[str, Any]] = {}
        with for_writing(self._settings) as registry:
            for subject, schema in schemas.items():
                line = self._see(registry, subject, schema, seen)
                lines.append(line)
                if line.mark != Mark.UNCHANGED:
                    changes[subject] = schema
        seen.stages.append(Stage(tuple(lines), lambda: self._register(changes)))
        return not changes

    def _see(self, registry: Registry, subject: str, schema: dict[str, Any], seen: Survey) -> Line:
        latest = registry.latest(subject)
        if latest is None:
            return Line(Mark.CREATED, "schema", subject)
        schema_id, version, registered = latest
        if registered != schema:
            for reason in registry.incompatibilities(subject, schema):
                seen.problems.append(
                    f"schema {subject}: the view's new form would break its readers: {reason}. "
                    "Declare it as a view of another name and move the grants"
                )
            return Line(Mark.CHANGED, "schema", subject, f"version {version} → {version + 1}")
        if registry.compatibility(subject) != VIEW_COMPATIBILITY:
            return Line(Mark.CHANGED, "schema", subject, f"compatibility → {VIEW_COMPATIBILITY}")
        self.ids[subject] = schema_id
        return Line(Mark.UNCHANGED, "schema", subject)

    def _register(self, schemas: Mapping[str, dict[str, Any]]) -> None:
        with for_writing(self._settings) as registry:
            for subject, schema in schemas.items():
                registry.set_compatibility(subject, VIEW_COMPATIBILITY)
                self.ids[subject] = registry.register(subject, schema)
