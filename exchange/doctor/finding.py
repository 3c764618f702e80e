"""What an examination of a source gives, whatever kind of source it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from exchange.contract import Contract
from exchange.errors import ExchangeError
from exchange.settings import Secrets
from exchange.topology.model import Topology

_MOST_SKEW_S: Final = 2.0
MIB: Final = 1024**2


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


def unreachable(error: ExchangeError, where: str) -> Finding:
    """Return that a source does not let us in. where: what else than the connection string may be wrong."""
    return Finding(
        "reachable",
        Level.ERROR,
        str(error),
        "nothing can be captured from a database that does not let us in",
        f"correct the connection string, {where} or the network; then run this again",
    )


def of_problem(check: str, problem: str, why: str) -> Finding:
    """Return what `exchange apply` would refuse. problem: its SQL stands in the lines after the first."""
    told, _, statement = problem.partition("\n")
    return Finding(check, Level.ERROR, told, why, statement.strip())


def clock(skew_s: float, unsure_s: float) -> Iterator[Finding]:
    """Return that a source's clock is off ours, if it surely is. skew_s: ahead, give or take unsure_s."""
    if abs(skew_s) - unsure_s > _MOST_SKEW_S:
        yield Finding(
            "clock",
            Level.WARNING,
            f"the source's clock is {skew_s:+.1f} s off ours",
            "delays are measured from the source's commit time, and rules like not_future compare with it",
            "synchronise both machines by NTP (chrony)",
        )


def mib(size_bytes: float) -> str:
    """Return a size for people."""
    return f"{size_bytes / MIB:,.0f} MiB"
