"""What a plan against adopted files would still do, line by line with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exchange import topology
from exchange.apply.steps import Line, Mark
from exchange.apply.work import Work
from exchange.files.contracts import load_contracts
from exchange.settings import Settings

_CREATED: Final = {
    "topic": "one of the bus's own, which apply makes",
    "user": "one of the bus's own, which apply makes",
    "access": "what the bus's own users need, or what a grant gives",
    "secret": "made once, and then kept",
    "schema": "of a view, which apply registers",
    "publication": "made in the source when it is applied",
    "plan": "no plan is in force yet",
}
_OTHERWISE: Final = "it is not as the plan in force has it"


@dataclass(frozen=True, slots=True)
class Proof:
    """lines: each with its reason; problems: what apply would refuse, and so no plan shows."""

    lines: tuple[tuple[Line, str], ...]
    problems: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether a plan against the files is empty."""
        return not self.lines and not self.problems

    @property
    def only_adds(self) -> bool:
        """Whether all that is there stays as it is."""
        return all(line.mark == Mark.CREATED or line.kind == "plan" for line, _why in self.lines)


def prove(settings: Settings, folder: Path) -> Proof:
    """Plan against adopted files.

    Raises: ExchangeError when the files are not valid, or a part does not answer.
    """
    contracts = load_contracts(folder / "avro")
    loaded = topology.read(folder / "topology.yaml", contracts, topology.today())
    seen = Work(settings, loaded.topology, contracts).survey()
    lines = tuple((line, _reason(line)) for line in (*seen.changes, *seen.undeclared))
    return Proof(lines, tuple(seen.problems))


def _reason(line: Line) -> str:
    if line.mark == Mark.CREATED:
        return _CREATED.get(line.kind, _OTHERWISE)
    if line.kind == "user":
        return "its password is not here: bring its secret, or apply sets a new one"
    if line.mark == Mark.UNDECLARED:
        return "apply made it, and the plan in force no longer has it; it stays until it is deleted by name"
    if line.kind == "plan":
        return "the plan in force was made on another day, or its schemas are not all registered"
    return _OTHERWISE
