"""What of the raw topics lies in clear on Kafka's disks, and does what is sealed open here. Only looks.

| check | asks |
| --- | --- |
| key | is EXCHANGE_RAW_KEYS here and can it be read, where a resource is sealed |
| missing_key | is there a raw record that none of the keys here opens |
| stored_in_clear | which resources with sensitive fields are not sealed |
| not_in_force | does the plan of connectors and workers seal what topology.yaml seals |
| sealed | which resources are, and under which keys their records |

No key is shown: versions, and the ids that stand in clear in each sealed record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from exchange import rawkeys
from exchange.boxes import RAW_KEYS, RawKeys, key_name
from exchange.contract import Contract
from exchange.counting import counted
from exchange.doctor.finding import Finding, Level
from exchange.doctor.rawlook import Found, Key, Looked, RawLook
from exchange.errors import ConfigError
from exchange.plan import PLAN_TOPIC, raw_topic
from exchange.plan_topic import read_plan
from exchange.settings import Secrets
from exchange.suggest import listing
from exchange.topology.model import Topology

_HALTS: Final = (
    "a connector of a sealed resource does not start without it, and workers halt on what is sealed"
)
_COPY: Final = (
    f"put it into <home>/secrets/{RAW_KEYS} of every machine with a worker, from a copy or from another "
    "machine; docs/sealing.md says what is left to do where it is lost"
)


def examine(
    topology: Topology,
    contracts: Mapping[str, Contract],
    secrets: Secrets,
    client: Mapping[str, Any],
    group: str,
    tell: Callable[[str], None],
) -> Iterator[Finding]:
    """Yield what is so. client: properties of a user that may read raw topics; group: the workers'.

    Raises: PartError, TransientError, PlanError when Kafka or the plan cannot be read.
    """
    yield from in_clear(topology, contracts)
    wanted = {raw_topic(one.system, one.table): one.sealed for one in topology.resources.values()}
    with RawLook(dict(client), group, tell) as reader:
        there = reader.topics()
        plan = read_plan(dict(client)) if PLAN_TOPIC in there else None
        planned = {one.raw_topic: one.sealed for one in plan.resources} if plan is not None else {}
        yield from _not_in_force(wanted, planned)
        looked = {name: reader.look(name, there.get(name, 0)) for name in sorted(wanted | planned)}
    sealed = [
        topic for topic, one in looked.items() if wanted.get(topic) or planned.get(topic) or _boxes(one)
    ]
    keys, found = _keys(secrets, sealed)
    yield from found
    for topic in sorted(sealed):
        yield from of_topic(topic, looked[topic], keys, is_sealed=bool(wanted.get(topic)))


def in_clear(topology: Topology, contracts: Mapping[str, Contract]) -> Iterator[Finding]:
    """Yield the resources whose sensitive fields lie in clear in their raw topic."""
    for name, one in sorted(topology.resources.items()):
        paths = _sensitive(contracts[topology.contract_name(name)])
        if paths and not one.sealed:
            topic = raw_topic(one.system, one.table)
            yield Finding(
                "stored_in_clear",
                Level.WARNING,
                f"resource {name}: {topic} holds {counted(len(paths), 'sensitive field')} in clear "
                f"({listing(paths, 8)})",
                "whoever gets a broker's disk or its backup reads them for seven days, past all access rules",
                f"`sealed: true` of resource {name} in topology.yaml, `exchange apply`; see docs/sealing.md",
            )


def of_topic(topic: str, looked: Looked, keys: RawKeys | None, *, is_sealed: bool) -> Iterator[Finding]:
    """Yield what is so of a topic with sealed records, or of a resource that is sealed."""
    for key, found in _unopened(looked.ahead, keys):
        why = "workers halt on them, and go on by themselves when the key is there"
        yield Finding("missing_key", Level.ERROR, _lacks(topic, key, found, keys), why, _COPY)
    for key, found in _unopened(looked.behind, keys):
        if key not in looked.ahead:
            why = "they are processed; objections, re-drives and workers that are set back cannot open them"
            yield Finding("missing_key", Level.WARNING, _lacks(topic, key, found, keys), why, _COPY)
    under = {one for one in (*looked.ahead, *looked.behind) if one is not None}
    told = listing(key_name(*one) for one in under) if under else "no key by now"
    seen = f"{topic}: what is sealed and was looked at is under {told}"
    if None in looked.ahead or None in looked.behind:
        seen += "; there are records in clear too"
    why = "records from before a resource was sealed stay in clear until they are seven days old"
    yield Finding("sealed", Level.NOTE, seen, why if seen.endswith("too") and is_sealed else "")
    if keys is not None and is_sealed and _lags(looked, keys):
        yield Finding(
            "sealed",
            Level.NOTE,
            f"{topic}: its newest records are sealed under an older key than version {keys.newest}",
            "a connector seals with what was newest when it started",
            "start the connector anew, once every worker has the key",
        )


def _keys(secrets: Secrets, sealed: list[str]) -> tuple[RawKeys | None, list[Finding]]:
    try:
        keys = rawkeys.read(secrets)
    except ConfigError as error:
        level = Level.ERROR if sealed else Level.WARNING
        return None, [
            Finding("key", level, str(error), _HALTS, f"mend {RAW_KEYS} as it says; no key is shown")
        ]
    if keys is None and sealed:
        seen = f"secret {RAW_KEYS} is missing here, and sealed is {listing(sealed)}"
        mend = "`exchange apply` makes the first key; where it made one before: " + _COPY
        return None, [Finding("key", Level.ERROR, seen, _HALTS, mend)]
    if keys is None:
        return None, []
    versions = ", ".join(map(str, sorted(keys.by_version)))
    return keys, [Finding("key", Level.NOTE, f"{RAW_KEYS}: versions {versions}; {keys.newest} seals")]


def _not_in_force(wanted: Mapping[str, bool], planned: Mapping[str, bool]) -> Iterator[Finding]:
    for topic in sorted(wanted):
        if wanted[topic] != planned.get(topic, False):
            now = "sealed" if wanted[topic] else "not sealed"
            yield Finding(
                "not_in_force",
                Level.WARNING,
                f"{topic} is {now} by topology.yaml, and not by the plan that is published",
                "connectors write it as the plan says",
                "`exchange apply`",
            )


def _unopened(found: Mapping[Key | None, Found], keys: RawKeys | None) -> list[tuple[Key, Found]]:
    return [
        (key, one)
        for key, one in found.items()
        if key is not None and (keys is None or keys.id_of(key[0]) != key[1])
    ]


def _lacks(topic: str, key: Key, found: Found, keys: RawKeys | None) -> str:
    here = [] if keys is None else [key_name(one, keys.id_of(one)) for one in sorted(keys.by_version)]
    return (
        f"{topic}: {counted(found.records, 'record')} looked at, from {found.place} on, sealed under "
        f"{key_name(*key)} of {RAW_KEYS}; here is {', '.join(here) or 'none'}"
    )


def _boxes(looked: Looked) -> bool:
    return any(key is not None for key in (*looked.ahead, *looked.behind))


def _lags(looked: Looked, keys: RawKeys) -> bool:
    return any(key is not None and key[0] < keys.newest for key in looked.newest.values())


def _sensitive(contract: Contract) -> list[str]:
    leaves = (pair for name, one in contract.fields.items() for pair in [(name, one), *one.leaves(name)])
    return sorted({path for path, one in leaves if one.sensitive})
