"""`exchange quarantine`: what was refused and why; opening it with the steward's key; sending it again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exchange.counting import counted
from exchange.errors import ConfigError, SealError

if TYPE_CHECKING:
    from exchange.quarantine.entries import Entry, Topics
    from exchange.settings import Settings
    from exchange.topology import Topology

_Resource = Annotated[str, typer.Argument(help="Resource: <domain>.<resource>.")]
_KeyFile = Annotated[Path, typer.Option("--key-file", help="The steward's private key: <department>.key.")]


def list_refused(
    resource: _Resource,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List what a resource's quarantine holds: place, time, stage, reason, field and origin; never a value.

    Example:
      exchange quarantine list population.person
    """
    from exchange.quarantine.described import described
    from exchange.quarantine.entries import entries

    count = 0
    for entry in entries(_topics(resource), resource):
        told = described(entry)
        sys.stdout.write(_line(told) if not as_json else json.dumps(told) + "\n")
        count += 1
    sys.stderr.write(f"{counted(count, 'refused record')} in quarantine.{resource}\n")


def show(
    resource: _Resource,
    place: Annotated[str, typer.Argument(help="<partition>:<offset> as `list` shows it.")],
    key_file: _KeyFile,
) -> None:
    """Open one refused record with the steward's private key and print it as JSON, values and all.

    Example:
      exchange quarantine show population.person 2:17 --key-file public_security.key
    """
    from exchange.quarantine.described import decoded, described
    from exchange.quarantine.entries import chosen
    from exchange.registry import Registry
    from exchange.settings import Settings
    from exchange.subscriber.decoder import WireDecoder

    private_key = _private_key(key_file)
    [entry] = chosen(_topics(resource), resource, [place])
    if entry.record is None:
        msg = f"quarantine.{resource} {place}: not a quarantine record of this version"
        raise SealError(msg)
    key, value = entry.record.open(private_key)
    with Registry(Settings().endpoints().registry) as registry:
        decoder = WireDecoder(registry)
        document = described(entry) | {"key": decoded(decoder, key), "value": decoded(decoder, value)}
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2, default=str) + "\n")


def redrive(
    resource: _Resource,
    key_file: _KeyFile,
    places: Annotated[list[str] | None, typer.Argument(help="<partition>:<offset> …")] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Everything refused for this reason.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything in the quarantine.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen; send nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Send refused records through the bus again, once the contract or the mask has been mended.

    They are validated and masked like any other record. One is kept back, with the reason, when a later
    change of the same row has arrived meanwhile (it would overwrite newer data), when it was re-driven
    before, or when it never reached the bus (mend the row at the source instead). The exit code is 1 when a
    place that was named is kept back.

    Examples:
      exchange quarantine redrive population.person 2:17 --key-file public_security.key --dry-run
      exchange quarantine redrive population.person --reason code --key-file public_security.key
    """
    from exchange import rawkeys
    from exchange.apply.access import redriver
    from exchange.quarantine.entries import Topics, chosen, entries
    from exchange.quarantine.redrive import redrive as send_again
    from exchange.settings import Settings

    if sum((bool(places), reason is not None, everything)) != 1:
        msg = "say what to re-drive: either places like 2:17, or --reason, or --all"
        raise ConfigError(msg)
    settings = Settings()
    private_key = _private_key(key_file)
    department = _department(settings, resource)
    kafka = settings.kafka_client(redriver(department))
    topics = Topics(kafka, f"{redriver(department)}.quarantine")
    opener = rawkeys.opener(settings.secrets)
    sealer = rawkeys.sealer_of(settings.secrets, _declaring(settings, resource), resource)
    if places:
        picked = chosen(topics, resource, dict.fromkeys(places))
    else:
        picked = _matching(entries(topics, resource), reason)
    outcomes = send_again(
        kafka, f"redrive-{department}", topics, picked, private_key, opener, sealer, dry_run=dry_run
    )
    for outcome in outcomes:
        told = {"place": outcome.entry.place, "done": outcome.done, "text": outcome.text}
        line = json.dumps(told, ensure_ascii=False) if as_json else f"{told['place']}  {told['text']}"
        sys.stdout.write(line + "\n")
    done = sum(outcome.done for outcome in outcomes)
    sys.stderr.write(f"{done} {'would be ' if dry_run else ''}re-driven, {len(outcomes) - done} kept back\n")
    if places and done < len(outcomes):
        raise typer.Exit(1)


def _topics(resource: str) -> Topics:
    """Return the reader of the steward that a resource belongs to."""
    from exchange.apply.access import steward
    from exchange.quarantine.entries import Topics
    from exchange.settings import Settings

    settings = Settings()
    principal = steward(_department(settings, resource))
    return Topics(settings.kafka_client(principal), f"{principal}.quarantine")


def _department(settings: Settings, resource: str) -> str:
    return _declaring(settings, resource).steward_department(resource)


def _declaring(settings: Settings, resource: str) -> Topology:
    from exchange import topology

    declared = topology.read(settings.topology, None, topology.today()).topology
    if resource not in declared.resources:
        known = ", ".join(sorted(declared.resources))
        msg = f"{resource}: no such resource in {settings.topology} (declared: {known})"
        raise ConfigError(msg)
    return declared


def _private_key(file: Path) -> bytes:
    from exchange.keys import read_key

    try:
        text = file.read_text()
    except OSError as error:
        msg = f"{file}: the private key cannot be read ({type(error).__name__})"
        raise ConfigError(msg) from None
    return read_key(text, str(file))


def _matching(found: Iterator[Entry], reason: str | None) -> list[Entry]:
    from exchange.change import Reason

    if reason is not None and reason not in set(Reason):
        msg = f"--reason {reason}: there is no such reason; one of {', '.join(Reason)}"
        raise ConfigError(msg)
    return [entry for entry in found if reason is None or (entry.record and entry.record.reason == reason)]


def _line(described: dict[str, Any]) -> str:
    names = ("place", "at", "stage", "reason", "field", "raw")
    again = "  refused again after a re-drive" if described.get("redriven") else ""
    return "  ".join(str(described.get(name) or "-") for name in names) + again + "\n"
