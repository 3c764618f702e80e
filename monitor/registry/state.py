r"""The registry's state as a fold over the records of `_schemas`, in the order of the log. No I/O.

Records follow the format that Confluent's registry and Karapace write, so either can take the topic over:

| key                                               | value                                             |
| ------------------------------------------------- | ------------------------------------------------- |
| {"keytype":"SCHEMA","subject","version","magic":1} | {"subject","version","id","schema","deleted"}    |
| {"keytype":"CONFIG","subject"\|null,"magic":0}     | {"compatibilityLevel"}                            |
| {"keytype":"DELETE_SUBJECT","subject","magic":0}  | {"subject","version"}: all up to it are deleted   |
| {"keytype":"NOOP","magic":0}                      | null; read and passed over                        |
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Final

from monitor.registry.compatibility import Level

DEFAULT_LEVEL: Final = Level.BACKWARD


@dataclass(frozen=True, slots=True)
class Registered:
    """One version of a subject."""

    subject: str
    version: int
    id: int
    schema: str
    deleted: bool = False


class State:
    """Subjects, versions, ids and compatibility levels after the records applied so far."""

    def __init__(self) -> None:
        self._subjects: dict[str, dict[int, Registered]] = {}
        self._texts: dict[int, str] = {}
        self._ids: dict[str, int] = {}
        self._levels: dict[str | None, Level] = {}

    def apply(self, key: bytes, value: bytes | None) -> None:
        """Take in the log's next record.

        Raises: ValueError when it is not in the format above.
        """
        try:
            head = json.loads(key)
            body = json.loads(value) if value is not None else None
            match head["keytype"]:
                case "SCHEMA":
                    self._apply_schema(str(head["subject"]), int(head["version"]), body)
                case "CONFIG":
                    self._apply_level(head.get("subject"), body)
                case "DELETE_SUBJECT" if body is not None:
                    self._delete_up_to(str(body["subject"]), int(body["version"]))
                case _:
                    return
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            msg = f"not a registry record: {type(error).__name__}"
            raise ValueError(msg) from None

    def subjects(self, *, deleted: bool = False) -> list[str]:
        """Return the subjects with at least one version, sorted."""
        return sorted(name for name in self._subjects if self.versions(name, deleted=deleted))

    def versions(self, subject: str, *, deleted: bool = False) -> list[Registered]:
        """Return a subject's versions, oldest first."""
        found = self._subjects.get(subject, {})
        return [found[version] for version in sorted(found) if deleted or not found[version].deleted]

    def text(self, schema_id: int) -> str | None:
        """Return the schema of an id; a deleted version's too, for its records are still read."""
        return self._texts.get(schema_id)

    def uses(self, schema_id: int) -> list[Registered]:
        """Return the versions that have an id."""
        return [found for name in self.subjects() for found in self.versions(name) if found.id == schema_id]

    def lookup(self, subject: str, schema: str) -> Registered | None:
        """Return the subject's version that holds a schema."""
        wanted = canonical(schema)
        matches = [found for found in self.versions(subject) if canonical(found.schema) == wanted]
        return matches[-1] if matches else None

    def id_for(self, schema: str) -> int:
        """Return the id that a schema has, or is the next to get."""
        return self._ids.get(canonical(schema)) or max(self._texts, default=0) + 1

    def next_version(self, subject: str) -> int:
        """Return the number of a subject's next version; numbers of deleted ones are not used again."""
        return max(self._subjects.get(subject, {}), default=0) + 1

    def level(self, subject: str | None) -> Level | None:
        """Return the level set for a subject, or for the registry (None); None when none is set."""
        return self._levels.get(subject)

    def level_in_force(self, subject: str) -> Level:
        """Return the subject's level, else the registry's, else BACKWARD."""
        return self.level(subject) or self.level(None) or DEFAULT_LEVEL

    def _apply_schema(self, subject: str, version: int, body: dict[str, Any] | None) -> None:
        if body is None:
            self._subjects.get(subject, {}).pop(version, None)
            return
        schema_id, text = int(body["id"]), str(body["schema"])
        known = self._texts.get(schema_id)
        if known is not None and canonical(known) != canonical(text):
            # An id never changes its meaning, since records already carry it; the first in the log keeps it.
            return
        self._texts.setdefault(schema_id, text)
        self._ids.setdefault(canonical(text), schema_id)
        deleted = bool(body.get("deleted", False))
        found = Registered(subject, version, schema_id, text, deleted)
        self._subjects.setdefault(subject, {})[version] = found

    def _apply_level(self, subject: str | None, body: dict[str, Any] | None) -> None:
        if body is None:
            self._levels.pop(subject, None)
        else:
            self._levels[subject] = Level(body["compatibilityLevel"])

    def _delete_up_to(self, subject: str, last: int) -> None:
        versions = self._subjects.get(subject, {})
        for version in [number for number in versions if number <= last]:
            versions[version] = replace(versions[version], deleted=True)


def canonical(schema: str) -> str:
    """Return a text that two schemas share when they are the same JSON document.

    Every attribute counts, also those Avro itself ignores: they are part of what a contract says.
    """
    try:
        return json.dumps(json.loads(schema), sort_keys=True, separators=(",", ":"))
    except ValueError:
        return schema


def schema_record(found: Registered) -> tuple[bytes, bytes]:
    """Return key and value of the record that stores a version."""
    key = {"keytype": "SCHEMA", "subject": found.subject, "version": found.version, "magic": 1}
    value = {
        "subject": found.subject,
        "version": found.version,
        "id": found.id,
        "schema": found.schema,
        "deleted": found.deleted,
    }
    return _compact(key), _compact(value)


def level_record(subject: str | None, level: Level | None) -> tuple[bytes, bytes | None]:
    """Return key and value of the record that stores a compatibility level, or takes it back (None)."""
    key = {"keytype": "CONFIG", "subject": subject, "magic": 0}
    return _compact(key), None if level is None else _compact({"compatibilityLevel": level.value})


def _compact(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
