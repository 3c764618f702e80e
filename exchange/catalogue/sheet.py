"""An entry beside what topology and contract say of its resource: the whole that people read and export."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from exchange.catalogue.entry import Entry
from exchange.contract import Contract
from exchange.fieldtype import ContractField
from exchange.plan import raw_topic
from exchange.topology.model import Resource, Topology


@dataclass(frozen=True, slots=True)
class Sheet:
    """One resource of the catalogue; `entry` is None where nobody has written one."""

    name: str
    resource: Resource
    contract: Contract
    department: str
    department_zh: str
    department_en: str
    entry: Entry | None

    @property
    def contract_sha256(self) -> str:
        """Digest of the contract's document."""
        return _sha256(dict(self.contract.document))

    @property
    def described_sha256(self) -> str:
        """Digest of all that an entry describes: a change of it makes the entry old."""
        declared = {name: getattr(self.resource, name) for name in DECLARED}
        label = self.resource.label.model_dump()
        return _sha256({"resource": declared, "label": label, "contract": self.contract_sha256})

    @property
    def values_subject(self) -> str:
        """Subject of the registry under which the values of the raw topic stand."""
        return f"{raw_topic(self.resource.system, self.resource.table)}-value"

    def leaves(self) -> Iterator[tuple[str, ContractField]]:
        """Yield (dotted path, field) of all fields, those inside records one by one."""
        for field in self.contract.fields.values():
            yield from field.leaves()

    def declared(self) -> dict[str, str]:
        """Return what topology and contract say of the resource as a whole, by column of an export."""
        return {
            "code": self.resource.catalogue_code,
            "name_zh": self.resource.label.zh,
            "name_en": self.resource.label.en,
            "department": self.department,
            "system": self.resource.system,
            "table": self.resource.table,
            "share": self.resource.share,
            "update_cycle": self.resource.update_cycle,
            "contract": self.contract.name,
            "contract_version": str(self.contract.version),
            "contract_sha256": self.contract_sha256,
            "grade": str(max(field.classification for _, field in self.leaves())),
        }


DECLARED = ("system", "table", "catalogue_code", "share", "update_cycle")
"""Keys of a resource in topology.yaml whose change makes its entry old, besides label and contract."""


def sheets(topology: Topology, contracts: Mapping[str, Contract], entries: list[Entry]) -> list[Sheet]:
    """Return all resources that are declared, by name, each with its last entry."""
    last = {entry.resource: entry for entry in sorted(entries, key=lambda entry: entry.id)}
    return [_sheet(topology, contracts, name, last.get(name)) for name in sorted(topology.resources)]


def fields_of(sheet: Sheet) -> list[dict[str, Any]]:
    """Return the fields as people read them, in the contract's order."""
    return [
        {
            "path": path,
            "label_zh": field.label_zh,
            "label_en": field.label_en,
            "type": field.type.describe(),
            "nullable": field.type.nullable,
            "key": path in sheet.contract.key,
            "classification": field.classification,
            "sensitivity": field.sensitivity or "",
            "element": field.element,
        }
        for path, field in sheet.leaves()
    ]


def _sheet(topology: Topology, contracts: Mapping[str, Contract], name: str, entry: Entry | None) -> Sheet:
    department = topology.steward_department(name)
    label = topology.departments[department].label
    contract = contracts[topology.contract_name(name)]
    return Sheet(name, topology.resources[name], contract, department, label.zh, label.en, entry)


def _sha256(document: dict[str, Any]) -> str:
    text = json.dumps(document, ensure_ascii=False, sort_keys=True, default=dict)
    return hashlib.sha256(text.encode()).hexdigest()
