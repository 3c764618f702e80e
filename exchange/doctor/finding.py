"""What an examination of a source gives, whatever kind of source it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from exchange.contract import Contract
from exchange.settings import Secrets
from exchange.topology.model import Topology


class Level(StrEnum):
    """How bad a finding is, worst first."""

    ERROR = "error"
    """The source cannot be captured as it is, or changes will be missing."""
    WARNING = "warning"
    """It can be captured, at a risk to the source or the capture."""
    NOTE = "note"
    """Nothing to mend, worth knowing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found. check: its stable name; seen: what is so; why: why it matters; mend: SQL or a command.

    No text holds a value of the source's tables.
    """

    check: str
    level: Level
    seen: str
    why: str = ""
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """The source to examine. tables: more of them than the topology declares, as <schema>.<table>."""

    system: str
    topology: Topology
    contracts: Mapping[str, Contract]
    tables: tuple[str, ...] = ()


class Examine(Protocol):
    """Looks at one source and changes nothing."""

    def __call__(self, patient: Patient, secrets: Secrets) -> Iterable[Finding]:
        """Return what is found; a source that cannot be reached is a finding too.

        Raises: ConfigError when the topology or its secrets do not say how to reach it.
        """
