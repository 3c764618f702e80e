"""What `exchange apply` sees to where raw records are sealed, and says where they are not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from exchange import rawkeys
from exchange.apply.steps import Line, Mark, Stage, Survey
from exchange.boxes import RAW_KEYS
from exchange.contract import Contract
from exchange.errors import ConfigError
from exchange.plan import PublishedPlan
from exchange.settings import Secrets
from exchange.topology.model import Topology

_CORE: Final = 4


def survey(seen: Survey, secrets: Secrets, topology: Topology, last: PublishedPlan | None) -> None:
    """Note the keys of sealed resources: made for the first of them, never anew where they were lost."""
    try:
        keys = rawkeys.read(secrets)
    except ConfigError as error:
        seen.problems.append(str(error))
        return
    sealed = {name for name, one in topology.resources.items() if one.sealed}
    before = {one.name: one.raw_topic for one in last.resources if one.sealed} if last is not None else {}
    for name in sorted(before.keys() & topology.resources.keys() - sealed):
        seen.notes.append(f"resource {name} is sealed no more: its raw records will lie in clear from now on")
    if keys is None and before:
        seen.problems.append(rawkeys.lost(min(before.values())))
    elif sealed:
        if keys is None:
            line = Line(Mark.CREATED, "secret", RAW_KEYS)
            seen.stages.append(Stage((line,), lambda: _make(secrets)))
        else:
            seen.stages.append(Stage((Line(Mark.UNCHANGED, "secret", RAW_KEYS),), lambda: None))


def in_clear(topology: Topology, contracts: Mapping[str, Contract]) -> list[str]:
    """Return a note where fields of the highest grade lie in clear on Kafka's disks."""
    found = [
        name
        for name, one in sorted(topology.resources.items())
        if not one.sealed and any(_core(contracts[topology.contract_name(name)].document))
    ]
    if not found:
        return []
    return [
        f"fields of grade {_CORE} lie in clear on Kafka's disks, in the raw topics of {', '.join(found)}; "
        "`sealed: true` of a resource seals them, see docs/sealing.md"
    ]


def _make(secrets: Secrets) -> None:
    rawkeys.rotate(secrets)


def _core(node: object) -> Iterator[bool]:
    if isinstance(node, Mapping):
        if node.get("classification") == _CORE:
            yield True
        node = list(node.values())
    if isinstance(node, list):
        for inner in node:
            yield from _core(inner)
