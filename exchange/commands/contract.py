"""`exchange contract draft`: a first contract for a table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from exchange.draft.document import Draft
    from exchange.draft.table import LiveTable
    from exchange.settings import Secrets
    from exchange.topology.model import Topology


def draft(
    system: Annotated[str, typer.Argument(help="System that holds the table, as topology.yaml names it.")],
    table: Annotated[str, typer.Argument(help="<schema>.<table> in it.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; default stdout. Never overwritten.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="<domain>.<resource>; default: of topology.yaml, or of the file."),
    ] = None,
    sample: Annotated[
        bool, typer.Option("--sample/--no-sample", help="Look at the shapes of a thousand rows' values.")
    ] = True,
) -> None:
    """Write a contract for a live table: types, key, labels, and guesses of what is sensitive.

    A guess rests on the column's name and comment (English, pinyin, Chinese) and on the shapes of sampled
    values, which are neither kept nor printed; its reason stands in the field's doc, and of two guesses the
    stricter one. `exchange check` takes the file as it is; a person has to agree with it.

    Examples:
      exchange contract draft population public.person -o avro/population/person.avsc
      exchange contract draft population public.person --no-sample
      exchange contract draft shop sales.customer
    """
    from exchange import topology
    from exchange.draft.document import draft as make
    from exchange.errors import ConfigError
    from exchange.settings import Settings
    from exchange.suggest import did_you_mean

    settings = Settings()
    declared = topology.read(settings.topology, None, topology.today()).topology
    if system not in declared.systems:
        msg = f"{settings.topology}: no system is called {did_you_mean(system, declared.systems)}"
        raise ConfigError(msg)
    if system not in declared.databases():
        msg = f"{system}: tables of kind {declared.systems[system].kind} cannot be drafted"
        raise ConfigError(msg)
    if table.count(".") != 1:
        msg = f"{table!r} is not <schema>.<table>"
        raise ConfigError(msg)
    if out is not None and out.exists():
        msg = f"{out} exists; a draft never takes a contract's place"
        raise ConfigError(msg)
    live = _live(declared, system, settings.secrets, table, sample=sample)
    made = make(live, name or _name(declared, system, table, out))
    text = json.dumps(made.document, ensure_ascii=False, indent=2) + "\n"
    if out is None:
        sys.stdout.write(text)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    _tell(made)


def _live(declared: Topology, system: str, secrets: Secrets, table: str, *, sample: bool) -> LiveTable:
    """Read the table by the way of its kind of database."""
    from exchange.apply import binlog as apply_binlog
    from exchange.apply import source
    from exchange.draft import binlog, postgres

    database = declared.databases()[system]
    if database.kind == "postgres":
        wish = source.Wanted(system, database.connection_env, declared.publication(system), ())
        return postgres.read_table(wish, secrets, table, sample=sample)
    server = apply_binlog.Wanted(system, database.kind, database.connection_env, ())
    return binlog.read_table(server, secrets, table, sample=sample)


def _name(declared: Topology, system: str, table: str, out: Path | None) -> str:
    """Return the contract's name: of the resource that is declared for the table, or of the file."""
    from exchange.encoding.avroname import avro_name

    for resource, entry in declared.resources_of(system).items():
        if entry.table == table:
            return declared.contract_name(resource)
    if out is not None:
        return f"{avro_name(out.resolve().parent.name)}.{avro_name(out.stem)}"
    return f"{avro_name(system)}.{avro_name(table.partition('.')[2])}"


def _tell(made: Draft) -> None:
    """Say on stderr what was guessed and left out."""
    for field in made.document["fields"]:
        grade = f"{field['classification']} {field.get('sensitivity', '-')}"
        sys.stderr.write(f"{field['name']:<24} {grade:<22} {field['doc']}\n")
    for column, why in made.left_out.items():
        sys.stderr.write(f"{column:<24} left out               {why}\n")
