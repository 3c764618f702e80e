"""`exchange catalogue`: what is in the catalogue, listed, searched, shown and checked."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exchange.commands.catalogue_opened import Json, Resource, json_line, now, opened
from exchange.counting import counted

if TYPE_CHECKING:
    from exchange.catalogue.sheet import Sheet
    from exchange.topology.model import Topology


def list_entries(as_json: Json = False) -> None:
    """List all resources with the state of their entries.

    Examples:
      exchange catalogue list
      exchange catalogue list --json
    """
    with opened() as at:
        _list(at.desk.shelf(), at.topology, as_json=as_json)


def search(
    words: Annotated[list[str], typer.Argument(help="Words, all of which must occur.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Find resources by names, labels, descriptions and fields, in Chinese and English; parts of words count.

    Examples:
      exchange catalogue search 身份号码
      exchange catalogue search resident income --json
    """
    from exchange.catalogue.search import search as find

    with opened() as at:
        _list(find(at.desk.shelf(), " ".join(words)), at.topology, as_json=as_json)


def show(resource: Resource, as_json: Json = False) -> None:
    """Show a resource whole: entry, fields with their grades, contract versions, what is due.

    Examples:
      exchange catalogue show population.person
      exchange catalogue show population.person --json
    """
    from exchange.catalogue.sheet import fields_of
    from exchange.governance import authority

    with opened() as at:
        authority.expect_known(at.topology, resource=resource)
        sheet = next(one for one in at.desk.shelf() if one.name == resource)
        document = _document(sheet, at.topology)
    fields = fields_of(sheet)
    if as_json:
        sys.stdout.write(json_line(document | {"fields": fields}))
        return
    for name, value in document.items():
        if isinstance(value, str | int) and value != "":
            sys.stdout.write(f"{name:<20} {value}\n")
    for one in document["publications"]:
        registered = f", registry version {one['registry_version']}" if one["registry_version"] else ""
        sys.stdout.write(
            f"{'published':<20} {one['at']} by {one['by']}: contract version {one['contract_version']} "
            f"({one['contract_sha256'][:12]}){registered}\n"
        )
    for one in fields:
        notes = [f"grade {one['classification']}", one["sensitivity"], one["element"]]
        told = ", ".join(note for note in notes if note)
        sys.stdout.write(
            f"  {one['path']:<28} {one['type']:<16} {one['label_zh']} {one['label_en']}: {told}\n"
        )


def check(as_json: Json = False) -> None:
    """Tell what the catalogue lacks: missing and overdue entries, elements that several resources claim.

    Exit code 2 where there is something.

    Examples:
      exchange catalogue check
      exchange catalogue check --json
    """
    from exchange.catalogue.check import lacks

    with opened() as at:
        found = lacks(at.desk.shelf(), at.desk.claims(), now(), at.topology.governance)
    if as_json:
        sys.stdout.write(
            json_line({"lacks": [{"kind": x.kind, "about": x.about, "told": x.told} for x in found]})
        )
    else:
        sys.stdout.write("".join(f"{one.kind}: {one.told}\n" for one in found) or "nothing is lacking\n")
    if found:
        raise typer.Exit(2)


def sources(as_json: Json = False) -> None:
    """List the elements that several published resources claim, with the source that is named.

    Examples:
      exchange catalogue sources
    """
    with opened() as at:
        found = at.desk.claims()
    if as_json:
        told = [
            {"library": x.library, "element": x.element, "fields": x.fields, "source": x.source}
            for x in found
        ]
        sys.stdout.write(json_line({"claims": told}))
        return
    sys.stdout.write("".join(f"{one.told}\n" for one in found) or "every element has one source\n")


def _list(shelf: list[Sheet], topology: Topology, *, as_json: bool) -> None:
    told = [_document(sheet, topology) for sheet in shelf]
    if as_json:
        sys.stdout.write(json_line({"resources": told}))
        return
    for one in told:
        due = f", due {one['due']} ({one['notice']})" if one["due"] else ""
        sys.stdout.write(
            f"{one['code']:<16} {one['resource']} version {one['version']}: "
            f"{one['name_zh']} {one['name_en']}: "
            f"{one['state'] or 'no entry'}{due}\n"
        )
    sys.stderr.write(f"{counted(len(told), 'resource')}\n")


def _document(sheet: Sheet, topology: Topology) -> dict[str, Any]:
    from exchange.catalogue import check as checks
    from exchange.catalogue.entry import Content, Entry

    entry = sheet.entry
    due = checks.deadline(sheet, topology.governance)
    stored = (entry or Entry(resource=sheet.name, since=now(), version=1)).model_dump(mode="json")
    content = entry.told if entry is not None else Content()
    return (
        {"resource": sheet.name}
        | sheet.declared()
        | content.model_dump()
        | {
            "version": entry.version if entry else 0,
            "state": entry.state.value if entry else "",
            "reason": entry.reason if entry else "",
            "due": due.day.isoformat() if due else "",
            "due_is_estimated": bool(due and due.is_estimated),
            "notice": checks.notice(sheet, now(), topology.governance).value,
            "publications": stored["publications"],
            "draft": stored["content"] if entry is not None and entry.content != content else None,
        }
    )
