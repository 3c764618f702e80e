"""`exchange catalogue`: entries of the catalogue, written and decided on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exchange.commands.catalogue_opened import (
    Actor,
    Json,
    Opened,
    Resource,
    json_line,
    now,
    opened,
    relayed,
)
from exchange.counting import counted
from exchange.errors import ConfigError, ExchangeError

if TYPE_CHECKING:
    from exchange.catalogue.desk import CatalogueDesk
    from exchange.catalogue.entry import Entry, Event

Version = Annotated[
    int, typer.Option("--version", min=1, help="Version that was looked at, as `show` tells it.")
]
Reason = Annotated[str, typer.Option("--reason", help="Why; the steward reads it.")]
Kind = Annotated[str | None, typer.Option("--library-kind", help="base 基础库 or theme 主题库.")]
Library = Annotated[str | None, typer.Option("--library", help="Library that it belongs to, like 人口.")]
Zh = Annotated[str | None, typer.Option("--description-zh", help="What it holds, in Chinese.")]
En = Annotated[str | None, typer.Option("--description-en", help="What it holds, in English.")]
Contact = Annotated[str | None, typer.Option("--contact", help="Office that answers questions.")]


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
    _carry_out(as_json, actor, lambda desk: desk.new(actor, resource, _content(given), now()))


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
    _carry_out(
        as_json, actor, lambda desk: desk.act(actor, resource, Event.EDIT, version, now(), changes=given)
    )


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

    with opened(actor) as at:
        registered = _registered(at, resource)
        _decide(
            at,
            as_json,
            lambda desk: desk.act(
                actor, resource, Event.PUBLISH, version, now(), registry_version=registered
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
    with opened(actor) as at, relayed(at):
        naming = at.desk.settle(actor, library, element, resource, reason, now())
        told = f"{library}/{element}: {resource} is the source\n"
        sys.stdout.write(json_line(naming.model_dump(mode="json")) if as_json else told)


def sweep(as_json: Json = False) -> None:
    """Draft entries that are missing, and note which resources were changed since. For a timer.

    The working days to publish an entry anew count from here.

    Examples:
      exchange catalogue sweep
    """
    with opened() as at, relayed(at):
        written = at.desk.sweep(now())
    if as_json:
        sys.stdout.write(json_line({"noted": [one.resource for one in written]}))
        return
    sys.stdout.write("".join(f"noted: {one.resource} ({one.state})\n" for one in written))
    sys.stdout.write(f"{counted(len(written), 'resource')} noted\n")


def _registered(at: Opened, resource: str) -> int | None:
    """Return the version of the raw topic's values in the registry; None where none can be had."""
    from exchange.catalogue.registered import registered_version

    sheet = next((one for one in at.desk.shelf() if one.name == resource), None)
    if sheet is None:
        return None
    try:
        return registered_version(at.settings, sheet)
    except ExchangeError as error:
        sys.stderr.write(f"warning: the entry will not name a version of the registry: {error}\n")
        return None


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
    _carry_out(as_json, actor, lambda desk: desk.act(actor, resource, event, version, now(), reason=reason))


def _carry_out(as_json: bool, actor: str, do: Callable[[CatalogueDesk], Entry]) -> None:
    with opened(actor) as at:
        _decide(at, as_json, do)


def _decide(at: Opened, as_json: bool, do: Callable[[CatalogueDesk], Entry]) -> None:
    """Do something at the desk and answer; decision or refusal are brought into Kafka."""
    with relayed(at):
        after = do(at.desk)
        document = after.model_dump(mode="json", exclude={"submitted_sha256", "published_sha256"})
        line = f"entry {after.resource} version {after.version}: {after.state}\n"
        sys.stdout.write(json_line(document) if as_json else line)
        sys.stdout.flush()
