"""`exchange objection`: a value that is said to be wrong, what the steward says to it, and what mends it."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exchange.commands.topology import load
from exchange.counting import counted
from exchange.errors import ConfigError, GovernanceError

if TYPE_CHECKING:
    from exchange.governance.objection import Event, Objection, Place
    from exchange.governance.objection_desk import ObjectionDesk
    from exchange.governance.store import Store
    from exchange.settings import Settings
    from exchange.topology.model import Topology

Actor = Annotated[str, typer.Option("--as", help="Who does it: one of `people` in the topology.")]
Id = Annotated[int, typer.Argument(help="Number of the objection, as `list` shows it.", show_default=False)]
Version = Annotated[
    int, typer.Option("--version", min=1, help="Version that was looked at, as `show` tells it.")
]
TextFile = Annotated[
    Path, typer.Option("--text-file", help="File with what is said; - reads it from standard input.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


@dataclass(frozen=True, slots=True)
class _Opened:
    """What every command of the group works with; the topology has the grants that were approved."""

    settings: Settings
    topology: Topology
    store: Store
    desk: ObjectionDesk


def new(
    subscriber: Annotated[str, typer.Argument(help="Subscriber that read it.", show_default=False)],
    view: Annotated[str, typer.Argument(help="<domain>.<resource>.<view>.", show_default=False)],
    place: Annotated[
        str, typer.Argument(help="<partition>:<offset>, as `exchange consume` shows it.", show_default=False)
    ],
    actor: Actor,
    field: Annotated[list[str], typer.Option("--field", help="What is wrong; may be given again.")],
    claim_file: Annotated[
        Path, typer.Option("--claim-file", help="File that says what is wrong; - reads standard input.")
    ],
    as_json: Json = False,
) -> None:
    """Object to a value of a record that was delivered. The record is looked at as the subscriber.

    The claim may quote values: it stays in the store, and is not given on the command line, which others see.

    Examples:
      exchange objection new tax population.person.tax 2:1500 --as li-na --field status --claim-file claim.txt
    """
    from exchange.governance.objecting import objected_change
    from exchange.governance.objection_desk import Objected

    partition, offset = _place(place)
    about = Objected(subscriber, view, partition, offset, tuple(field), _text(claim_file, "--claim-file"))
    with _opened(actor) as opened, _relayed(opened):

        def find() -> Place:
            return objected_change(opened.settings, opened.topology, about)

        _answer(as_json, opened.desk.new(actor, about, find, _now()), opened.topology)


def answer(id_: Id, actor: Actor, version: Version, text_file: TextFile, as_json: Json = False) -> None:
    """Say what will be done about it, as the source's steward; the time for the correction begins.

    Examples:
      exchange objection answer 7 --as wang-wei --version 1 --text-file answer.txt
    """
    from exchange.governance.objection import Event

    _act(as_json, actor, id_, Event.ANSWER, version, _text(text_file, "--text-file"))


def reject(id_: Id, actor: Actor, version: Version, text_file: TextFile, as_json: Json = False) -> None:
    """Say why the value is right, as the source's steward.

    Examples:
      exchange objection reject 7 --as wang-wei --version 1 --text-file reason.txt
    """
    from exchange.governance.objection import Event

    _act(as_json, actor, id_, Event.REJECT, version, _text(text_file, "--text-file"))


def withdraw(id_: Id, actor: Actor, version: Version, as_json: Json = False) -> None:
    """Take an objection back.

    Examples:
      exchange objection withdraw 7 --as li-na --version 1
    """
    from exchange.governance.objection import Event

    _act(as_json, actor, id_, Event.WITHDRAW, version)


def correct(
    id_: Id,
    actor: Actor,
    version: Version,
    position: Annotated[
        str, typer.Option("--position", help="Position of the change that mends it; default: the row's last.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Name the later change of the same row that mends it, once the source has made it.

    The change is looked for in the raw topic; readers of the resource's views are told of both positions.

    Examples:
      exchange objection correct 7 --as wang-wei --version 2
    """
    from exchange.governance.objecting import correcting_change
    from exchange.governance.objection import Event

    with _opened(actor) as opened, _relayed(opened):

        def find(one: Objection) -> Place:
            return correcting_change(opened.settings, opened.topology, one, position)

        after = opened.desk.act(actor, id_, Event.CORRECT, version, _now(), find=find)
        _answer(as_json, after, opened.topology)


def list_objections(as_json: Json = False) -> None:
    """List objections with their state and deadline; what they say is told by `show` alone.

    Examples:
      exchange objection list
      exchange objection list --json
    """
    with _opened() as opened:
        told = [_document(one, opened.topology) for one in opened.desk.all()]
    if as_json:
        sys.stdout.write(json.dumps({"objections": told}, ensure_ascii=False) + "\n")
        return
    sys.stdout.write("".join(_line(one) + "\n" for one in told))
    sys.stderr.write(f"{counted(len(told), 'objection')}\n")


def show(id_: Id, actor: Actor, as_json: Json = False) -> None:
    """Show an objection with claim and answer, to who filed it or may decide on it.

    Examples:
      exchange objection show 7 --as wang-wei
    """
    with _opened(actor) as opened:
        one = opened.desk.one(id_)
        opened.desk.expect_may_read(actor, one)
        document = _document(one, opened.topology) | {"claim": one.claim, "answer": one.answer}
    if as_json:
        sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
        return
    for name, value in document.items():
        if value not in (None, "", [], False):
            told = ", ".join(value) if isinstance(value, list) else value
            sys.stdout.write(f"{name:<20} {told}\n")


def corrections(
    subscriber: Annotated[str, typer.Argument(help="Subscriber whose views are meant.", show_default=False)],
    as_json: Json = False,
) -> None:
    """List corrections of what a subscriber may read: the position that was wrong, and what mends it.

    Both stand in the header `x-exchange` of its records, as `exchange consume` shows them.

    Examples:
      exchange objection corrections tax
      exchange objection corrections tax --json
    """
    from exchange.cluster import ADMIN
    from exchange.governance import authority
    from exchange.governance.corrections import announce, corrections_for
    from exchange.topology import today

    with _opened() as opened:
        authority.expect_known(opened.topology, subscriber=subscriber)
        client = opened.settings.kafka_client(ADMIN)
        announce(opened.store, client)
        views = opened.topology.granted_views(subscriber, today())
        found = corrections_for(client, opened.topology, views)
    if as_json:
        told = [one.model_dump(mode="json") for one in found]
        sys.stdout.write(json.dumps({"corrections": told}, ensure_ascii=False) + "\n")
        return
    for one in found:
        sys.stdout.write(f"{one.resource} partition {one.partition}: {one.wrong} → {one.corrected}\n")
    sys.stderr.write(f"{counted(len(found), 'correction')}\n")


def sweep(as_json: Json = False) -> None:
    """Tell what is due, and bring into Kafka what broke off. For a timer.

    Examples:
      exchange objection sweep
    """
    with _opened() as opened, _relayed(opened):
        told = [_document(one, opened.topology) for one in opened.desk.all()]
    due = [one for one in told if one["notice"] != "none"]
    if as_json:
        sys.stdout.write(json.dumps({"due": due}, ensure_ascii=False) + "\n")
        return
    sys.stdout.write("".join(f"{one['notice']}: {_line(one)}\n" for one in due))
    sys.stdout.write(f"{counted(len(due), 'objection')} due\n")


def _act(as_json: bool, actor: str, id_: int, event: Event, version: int, text: str = "") -> None:
    with _opened(actor) as opened, _relayed(opened):
        after = opened.desk.act(actor, id_, event, version, _now(), answer=text)
        _answer(as_json, after, opened.topology)


def _place(text: str) -> tuple[int, int]:
    from exchange.subscriber.reader import Start

    start = Start.parse(text)
    if start.kind != "at":
        msg = f"{text[:40]}: <partition>:<offset> is wanted, for instance 2:1500"
        raise ConfigError(msg)
    return start.partition, start.offset


def _text(file: Path, option: str) -> str:
    """Return what a file says. Raises: ConfigError when it says nothing, or too much."""
    from pydantic import TypeAdapter, ValidationError

    from exchange.governance.objection import Text

    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        text: str = TypeAdapter(Text).validate_python(raw.decode("utf-8-sig"))
    except OSError as error:
        msg = f"{option} {file}: cannot be read ({error.strerror})"
        raise ConfigError(msg) from None
    except (UnicodeDecodeError, ValidationError):
        msg = f"{option}: a text in UTF-8 of at most 4000 characters is wanted"
        raise ConfigError(msg) from None
    if not text:
        msg = f"{option}: the text is empty"
        raise ConfigError(msg)
    return text


@contextmanager
def _relayed(opened: _Opened) -> Iterator[None]:
    """Bring decisions and markers into Kafka at the end, after a refusal too."""
    from exchange.cluster import ADMIN
    from exchange.governance.corrections import announce
    from exchange.governance.relay import relay

    def bring() -> None:
        client = opened.settings.kafka_client(ADMIN)
        relay(opened.store, client)
        announce(opened.store, client)

    try:
        yield
    except GovernanceError:
        bring()
        raise
    bring()


@contextmanager
def _opened(actor: str = "") -> Iterator[_Opened]:
    """Yield what a command works with; where there is an actor, with their roles."""
    from exchange.commands.acting import acting
    from exchange.governance.desired import with_approved
    from exchange.governance.objection_desk import ObjectionDesk
    from exchange.governance.store import Store
    from exchange.settings import Settings
    from exchange.topology import today

    settings = Settings()
    loaded, _contracts = load(settings, settings.topology)
    topology = with_approved(settings, loaded.topology)
    with Store.of(settings) as store:
        roles = acting(settings, store, topology, actor) if actor else topology
        yield _Opened(settings, topology, store, ObjectionDesk(store, roles, today()))


def _document(one: Objection, topology: Topology) -> dict[str, Any]:
    from exchange.governance import objection

    due = objection.deadline(one, topology.governance)
    return one.model_dump(mode="json", exclude={"claim", "answer", "change", "correction"}) | {
        "position": one.change.position,
        "corrected": one.correction.position if one.correction else "",
        "due": due.day.isoformat() if due else "",
        "due_is_estimated": bool(due and due.is_estimated),
        "notice": objection.notice(one, _now(), topology.governance).value,
    }


def _line(one: dict[str, Any]) -> str:
    due = f", due {one['due']}" + (" (estimated)" if one["due_is_estimated"] else "") if one["due"] else ""
    fields = ", ".join(one["fields"])
    return (
        f"objection {one['id']} version {one['version']}: {one['subscriber']} to {fields} of {one['view']} "
        f"{one['partition']}:{one['offset']}: {one['state']}{due}"
    )


def _answer(as_json: bool, one: Objection, topology: Topology) -> None:
    document = _document(one, topology)
    sys.stdout.write((json.dumps(document, ensure_ascii=False) if as_json else _line(document)) + "\n")
    sys.stdout.flush()


def _now() -> dt.datetime:
    return dt.datetime.now().astimezone()
