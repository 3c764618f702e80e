"""`exchange catalogue`: entries of the catalogue, written, decided on, searched, exported and imported."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exchange.commands.topology import load
from exchange.counting import counted
from exchange.errors import ConfigError, ExchangeError, GovernanceError

if TYPE_CHECKING:
    from exchange.catalogue.desk import CatalogueDesk
    from exchange.catalogue.entry import Entry, Event
    from exchange.catalogue.exchanged import Judged
    from exchange.catalogue.sheet import Sheet
    from exchange.governance.store import Store
    from exchange.settings import Settings
    from exchange.topology.model import Topology

Actor = Annotated[str, typer.Option("--as", help="Who does it: one of `people` in the topology.")]
Resource = Annotated[str, typer.Argument(help="<domain>.<resource>.", show_default=False)]
Version = Annotated[
    int, typer.Option("--version", min=1, help="Version that was looked at, as `show` tells it.")
]
Reason = Annotated[str, typer.Option("--reason", help="Why; the steward reads it.")]
Kind = Annotated[str | None, typer.Option("--library-kind", help="base 基础库 or theme 主题库.")]
Library = Annotated[str | None, typer.Option("--library", help="Library that it belongs to, like 人口.")]
Zh = Annotated[str | None, typer.Option("--description-zh", help="What it holds, in Chinese.")]
En = Annotated[str | None, typer.Option("--description-en", help="What it holds, in English.")]
Contact = Annotated[str | None, typer.Option("--contact", help="Office that answers questions.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


@dataclass(frozen=True, slots=True)
class _Opened:
    """What every command of the group works with."""

    settings: Settings
    topology: Topology
    store: Store
    desk: CatalogueDesk


def new(
    resource: Resource,
    actor: Actor,
    library_kind: Kind = None,
    library: Library = None,
    description_zh: Zh = None,
    description_en: En = None,
    contact: Contact = None,
    as_json: Json = False,
) -> None:
    """Draft an entry, as steward of the resource's department.

    What topology and contract say of the resource is read from there; an entry adds what they do not say.

    Examples:
      exchange catalogue new population.person --as wang-wei --library-kind base --library 人口
    """
    given = _given(library_kind, library, description_zh, description_en, contact)
    _carry_out(as_json, lambda desk: desk.new(actor, resource, _content(given), _now()))


def edit(
    resource: Resource,
    actor: Actor,
    version: Version,
    library_kind: Kind = None,
    library: Library = None,
    description_zh: Zh = None,
    description_en: En = None,
    contact: Contact = None,
    as_json: Json = False,
) -> None:
    """Change a draft or what was returned; of a published entry, begin a draft beside what is in force.

    Examples:
      exchange catalogue edit population.person --as wang-wei --version 1 --contact "大数据科 0571-0000"
    """
    from exchange.catalogue.entry import Event

    given = _given(library_kind, library, description_zh, description_en, contact)
    _content(given)
    _carry_out(as_json, lambda desk: desk.act(actor, resource, Event.EDIT, version, _now(), changes=given))


def submit(resource: Resource, actor: Actor, version: Version, as_json: Json = False) -> None:
    """Hand an entry in for a decision; a published one again, when its table or contract was changed.

    Examples:
      exchange catalogue submit population.person --as wang-wei --version 2
    """
    from exchange.catalogue.entry import Event

    _act(as_json, actor, resource, Event.SUBMIT, version)


def withdraw(resource: Resource, actor: Actor, version: Version, as_json: Json = False) -> None:
    """Take back what was handed in.

    Examples:
      exchange catalogue withdraw population.person --as wang-wei --version 3
    """
    from exchange.catalogue.entry import Event

    _act(as_json, actor, resource, Event.WITHDRAW, version)


def publish(resource: Resource, actor: Actor, version: Version, as_json: Json = False) -> None:
    """Put an entry into force, as share authority of the department; not one's own.

    Examples:
      exchange catalogue publish population.person --as zhao-min --version 3
    """
    from exchange.catalogue.entry import Event

    with _opened() as opened:
        registered = _registered(opened, resource)
        _decide(
            opened,
            as_json,
            lambda desk: desk.act(
                actor, resource, Event.PUBLISH, version, _now(), registry_version=registered
            ),
        )


def return_entry(
    resource: Resource, actor: Actor, version: Version, reason: Reason, as_json: Json = False
) -> None:
    """Send an entry back with the reason, to be mended and submitted again.

    Examples:
      exchange catalogue return population.person --as zhao-min --version 3 --reason "names no use"
    """
    from exchange.catalogue.entry import Event

    _act(as_json, actor, resource, Event.RETURN, version, reason)


def retire(resource: Resource, actor: Actor, version: Version, reason: Reason, as_json: Json = False) -> None:
    """End an entry, as share authority of the department.

    Examples:
      exchange catalogue retire population.person --as zhao-min --version 4 --reason "taken over by another"
    """
    from exchange.catalogue.entry import Event

    _act(as_json, actor, resource, Event.RETIRE, version, reason)


def settle(
    library: Annotated[str, typer.Argument(help="Library of the element.", show_default=False)],
    element: Annotated[str, typer.Argument(help="Code of the element.", show_default=False)],
    resource: Resource,
    actor: Actor,
    reason: Reason,
    as_json: Json = False,
) -> None:
    """Name the one source of an element that several published resources claim; the last naming holds.

    Wanted is somebody who is share authority of all departments that claim it.

    Examples:
      exchange catalogue settle 人口 DE00032 population.person --as zhao-min --reason "三定方案"
    """
    with _opened() as opened, _relayed(opened):
        naming = opened.desk.settle(actor, library, element, resource, reason, _now())
        told = f"{library}/{element}: {resource} is the source\n"
        sys.stdout.write(_json(naming.model_dump(mode="json")) if as_json else told)


def list_entries(as_json: Json = False) -> None:
    """List all resources with the state of their entries.

    Examples:
      exchange catalogue list
      exchange catalogue list --json
    """
    with _opened() as opened:
        _list(opened.desk.shelf(), opened.topology, as_json=as_json)


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

    with _opened() as opened:
        _list(find(opened.desk.shelf(), " ".join(words)), opened.topology, as_json=as_json)


def show(resource: Resource, as_json: Json = False) -> None:
    """Show a resource whole: entry, fields with their grades, contract versions, what is due.

    Examples:
      exchange catalogue show population.person
      exchange catalogue show population.person --json
    """
    from exchange.catalogue.sheet import fields_of
    from exchange.governance import authority

    with _opened() as opened:
        authority.expect_known(opened.topology, resource=resource)
        sheet = next(one for one in opened.desk.shelf() if one.name == resource)
        document = _document(sheet, opened.topology)
    fields = fields_of(sheet)
    if as_json:
        sys.stdout.write(_json(document | {"fields": fields}))
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

    with _opened() as opened:
        found = lacks(opened.desk.shelf(), opened.desk.claims(), _now(), opened.topology.governance)
    if as_json:
        sys.stdout.write(
            _json({"lacks": [{"kind": x.kind, "about": x.about, "told": x.told} for x in found]})
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
    with _opened() as opened:
        found = opened.desk.claims()
    if as_json:
        told = [
            {"library": x.library, "element": x.element, "fields": x.fields, "source": x.source}
            for x in found
        ]
        sys.stdout.write(_json({"claims": told}))
        return
    sys.stdout.write("".join(f"{one.told}\n" for one in found) or "every element has one source\n")


def sweep(as_json: Json = False) -> None:
    """Draft entries that are missing, and note which resources were changed since. For a timer.

    The working days to publish an entry anew count from here.

    Examples:
      exchange catalogue sweep
    """
    with _opened() as opened, _relayed(opened):
        written = opened.desk.sweep(_now())
    if as_json:
        sys.stdout.write(_json({"noted": [one.resource for one in written]}))
        return
    sys.stdout.write("".join(f"noted: {one.resource} ({one.state})\n" for one in written))
    sys.stdout.write(f"{counted(len(written), 'resource')} noted\n")


def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write; for odcs a folder.")],
    format_: Annotated[str, typer.Option("--format", help="csv, xlsx, odcs or dcat.")] = "csv",
    resource: Annotated[
        list[str] | None, typer.Option("--resource", help="Only this one; may be given again.")
    ] = None,
) -> None:
    """Write the catalogue as CSV, Excel, Open Data Contract Standard 3.1 or DCAT-AP (published alone).

    Examples:
      exchange catalogue export --format xlsx -o catalogue.xlsx
      exchange catalogue export --format odcs -o contracts --resource population.person
    """
    from exchange.catalogue import formats
    from exchange.governance import authority

    with _opened() as opened:
        for name in resource or ():
            authority.expect_known(opened.topology, resource=name)
        shelf = [sheet for sheet in opened.desk.shelf() if not resource or sheet.name in resource]
    formats.write(format_, out, shelf)
    sys.stderr.write(f"{counted(len(shelf), 'resource')} in {out}\n")


def import_entries(
    file: Annotated[Path, typer.Argument(help=".csv, .xlsx, .yaml (ODCS), .jsonld, or a folder of .yaml.")],
    actor: Actor,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what it would do; write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Take entries in as drafts, all of a file or, where one row is refused, none.

    What topology and contract say must be the same in the file, or not be in it. Exit code 1 where a row is
    refused, each with its line and reason; also with --dry-run.

    Examples:
      exchange catalogue import catalogue.xlsx --as wang-wei --dry-run
      exchange catalogue import contracts --as wang-wei
    """
    from exchange.catalogue import formats

    rows = formats.read(file)
    with _opened() as opened, _relayed(opened, needed=not dry_run):
        judged = opened.desk.take_in(actor, rows, _now(), dry_run=dry_run)
    refused = sum(bool(one.refused) for one in judged)
    if as_json:
        told = [_judged(one) for one in judged]
        sys.stdout.write(_json({"written": not (dry_run or refused), "refused": refused, "rows": told}))
    else:
        _tell(judged, refused, dry_run=dry_run)
    if refused:
        raise typer.Exit(1)


def _tell(judged: list[Judged], refused: int, *, dry_run: bool) -> None:
    for one in judged:
        name = one.row.resource[:80]
        if one.refused:
            sys.stdout.write("".join(f"refused: {one.row.where}: {reason}\n" for reason in one.refused))
        elif one.is_new or one.changed:
            word = "new" if one.is_new else "changed"
            sys.stdout.write(f"{word}: {name}: {', '.join(one.changed) or 'empty'}\n")
        else:
            sys.stdout.write(f"unchanged: {name}\n")
    done = "nothing was written" if refused or dry_run else "all were taken in as drafts"
    sys.stdout.write(f"{counted(len(judged), 'row')}, {refused} refused; {done}\n")


def _judged(one: Judged) -> dict[str, Any]:
    return {
        "where": one.row.where,
        "resource": one.row.resource,
        "new": one.is_new,
        "changed": one.changed,
        "refused": one.refused,
    }


def _list(shelf: list[Sheet], topology: Topology, *, as_json: bool) -> None:
    told = [_document(sheet, topology) for sheet in shelf]
    if as_json:
        sys.stdout.write(_json({"resources": told}))
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
    stored = (entry or Entry(resource=sheet.name, since=_now(), version=1)).model_dump(mode="json")
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
            "notice": checks.notice(sheet, _now(), topology.governance).value,
            "publications": stored["publications"],
            "draft": stored["content"] if entry is not None and entry.content != content else None,
        }
    )


def _registered(opened: _Opened, resource: str) -> int | None:
    """Return the version of the raw topic's values in the registry; None where none can be had."""
    from exchange.registry import Registry

    sheet = next((one for one in opened.desk.shelf() if one.name == resource), None)
    if sheet is None:
        return None
    try:
        with Registry(opened.settings.endpoints().registry) as registry:
            found = registry.latest(sheet.values_subject)
    except ExchangeError as error:
        sys.stderr.write(f"warning: the entry will not name a version of the registry: {error}\n")
        return None
    return found[1] if found else None


def _given(
    library_kind: str | None, library: str | None, zh: str | None, en: str | None, contact: str | None
) -> dict[str, str]:
    options = {
        "library_kind": library_kind,
        "library": library,
        "description_zh": zh,
        "description_en": en,
        "contact": contact,
    }
    return {name: value for name, value in options.items() if value is not None}


def _content(given: dict[str, str]) -> Any:
    """Return what options say of an entry. Raises: ConfigError where one says what it may not."""
    from pydantic import ValidationError

    from exchange.catalogue.entry import Content

    try:
        return Content.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        msg = f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}"
        raise ConfigError(msg) from None


def _act(as_json: bool, actor: str, resource: str, event: Event, version: int, reason: str = "") -> None:
    _carry_out(as_json, lambda desk: desk.act(actor, resource, event, version, _now(), reason=reason))


def _carry_out(as_json: bool, do: Callable[[CatalogueDesk], Entry]) -> None:
    with _opened() as opened:
        _decide(opened, as_json, do)


def _decide(opened: _Opened, as_json: bool, do: Callable[[CatalogueDesk], Entry]) -> None:
    """Do something at the desk and answer; decision or refusal are brought into Kafka."""
    with _relayed(opened):
        after = do(opened.desk)
        document = after.model_dump(mode="json", exclude={"submitted_sha256", "published_sha256"})
        line = f"entry {after.resource} version {after.version}: {after.state}\n"
        sys.stdout.write(_json(document) if as_json else line)
        sys.stdout.flush()


@contextmanager
def _relayed(opened: _Opened, *, needed: bool = True) -> Iterator[None]:
    """Bring decisions into Kafka at the end, after a refusal too."""
    from exchange.cluster import ADMIN
    from exchange.governance.relay import relay

    try:
        yield
    except GovernanceError:
        if needed:
            relay(opened.store, opened.settings.kafka_client(ADMIN))
        raise
    if needed:
        relay(opened.store, opened.settings.kafka_client(ADMIN))


@contextmanager
def _opened() -> Iterator[_Opened]:
    from exchange.catalogue.desk import CatalogueDesk
    from exchange.governance.store import Store
    from exchange.settings import Settings

    settings = Settings()
    loaded, contracts = load(settings, settings.topology)
    with Store.of(settings) as store:
        desk = CatalogueDesk(store, loaded.topology, contracts)
        yield _Opened(settings, loaded.topology, store, desk)


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False) + "\n"


def _now() -> dt.datetime:
    return dt.datetime.now().astimezone()
