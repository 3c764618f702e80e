"""`exchange request`: asking for a view, deciding on it, ending it."""

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

from exchange.commands.proposed import as_yaml, proposed_in
from exchange.commands.topology import load
from exchange.counting import counted
from exchange.errors import ConfigError, ExchangeError, GovernanceError

if TYPE_CHECKING:
    from exchange.governance.desk import Desk
    from exchange.governance.request import Event, Request
    from exchange.governance.store import Store
    from exchange.settings import Settings
    from exchange.topology.model import Topology

Actor = Annotated[str, typer.Option("--as", help="Who does it: one of `people` in the topology.")]
Id = Annotated[int, typer.Argument(help="Number of the request, as `list` shows it.", show_default=False)]
Version = Annotated[
    int, typer.Option("--version", min=1, help="Version that was looked at, as `show` tells it.")
]
Reason = Annotated[str, typer.Option("--reason", help="Why; the requester reads it.")]
Purpose = Annotated[str, typer.Option("--purpose", help="What the data is for.")]
Basis = Annotated[str, typer.Option("--legal-basis", help="Law, regulation or approval.")]
Until = Annotated[str, typer.Option("--until", help="Last day of access, like 2027-12-31; default: no end.")]
Expected = Annotated[
    int | None,
    typer.Option(
        "--expected-records-per-day", min=1, max=10**12, help="How much of it is expected to be taken."
    ),
]
Propose = Annotated[
    Path | None,
    typer.Option(
        "--propose",
        metavar="FILE",
        help="YAML with fields, masks and rows, as views of the topology have them; `resource` and `label` "
        "may be left out.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


@dataclass(frozen=True, slots=True)
class _Opened:
    """What every command of the group works with."""

    settings: Settings
    topology: Topology
    store: Store
    desk: Desk


def new(
    subscriber: Annotated[str, typer.Argument(help="Subscriber that is to read.", show_default=False)],
    view: Annotated[str, typer.Argument(help="<domain>.<resource>.<view>.", show_default=False)],
    actor: Actor,
    purpose: Purpose = "",
    legal_basis: Basis = "",
    until: Until = "",
    expected_records_per_day: Expected = None,
    propose: Propose = None,
    as_json: Json = False,
) -> None:
    """Draft a request for a view; `exchange request submit` hands it in.

    With --propose for a view that is not there yet, under a name that is free: the steward of its resource
    decides on it in every case, and once it is granted the view is there. Others may ask for it then by name.

    Examples:
      exchange request new tax population.person.school --as li-na --purpose 核验 --legal-basis 第六条
      exchange request new tax market.legal_person.public --as li-na --until 2027-12-31 --json
      exchange request new tax population.person.contact --propose view.yaml --as li-na --purpose 核验
    """
    from exchange.governance.desk import Asked

    proposed = proposed_in(propose)
    asked = Asked(subscriber, view, purpose, legal_basis, _day(until), expected_records_per_day, proposed)
    _carry_out(as_json, actor, lambda desk: desk.new(actor, asked, _now()))


def submit(
    request: Id,
    actor: Actor,
    version: Version,
    purpose: Purpose = "",
    legal_basis: Basis = "",
    until: Until = "",
    expected_records_per_day: Expected = None,
    propose: Propose = None,
    as_json: Json = False,
) -> None:
    """Hand in a draft, or what was returned once it is mended; what needs no approval is granted at once.

    --propose mends the view of a request that proposes one.

    Examples:
      exchange request submit 7 --as li-na --version 1
      exchange request submit 7 --as li-na --version 3 --purpose 个人所得税汇算清缴
    """
    from exchange.governance.request import Event

    given = {
        "purpose": purpose,
        "legal_basis": legal_basis,
        "until": _day(until),
        "expected_records_per_day": expected_records_per_day,
        "proposed": proposed_in(propose),
    }
    changes = {name: value for name, value in given.items() if value not in (None, "")}
    _carry_out(
        as_json,
        actor,
        lambda desk: desk.act(actor, request, Event.SUBMIT, version, _now(), changes=changes),
    )


def approve(
    requests: Annotated[
        list[str],
        typer.Argument(
            metavar="REQUEST...",
            help="Numbers of requests; of several, each with its version: 3:2.",
            show_default=False,
        ),
    ],
    actor: Actor,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="Version of the one request, as `show` tells it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Approve the versions that were looked at; with the last approval the subscriber can read at once.

    Of several requests each is decided for itself: what is refused is told, and the others go on.

    Examples:
      exchange request approve 7 --as wang-wei --version 2
      exchange request approve 3:2 4:2 5:7 --as wang-wei
    """
    from exchange.governance.request import Event

    named = [_versioned(word, version if len(requests) == 1 else None) for word in requests]
    failed = 0
    for request, shown in named:
        try:
            _act(as_json, actor, request, Event.APPROVE, shown)
        except ExchangeError as error:
            if len(named) == 1:
                raise
            sys.stderr.write(f"error: {error}\n")
            failed += 1
    if failed:
        sys.stderr.write(f"{failed} of {counted(len(named), 'request')} refused or not in force\n")
        raise typer.Exit(1)


def return_request(
    request: Id, actor: Actor, version: Version, reason: Reason, as_json: Json = False
) -> None:
    """Send a request back with the reason, to be mended and submitted again.

    Examples:
      exchange request return 7 --as wang-wei --version 2 --reason "legal basis does not name the purpose"
    """
    from exchange.governance.request import Event

    _act(as_json, actor, request, Event.RETURN, version, reason)


def withdraw(request: Id, actor: Actor, version: Version, as_json: Json = False) -> None:
    """Take a request back, or give a grant up.

    Examples:
      exchange request withdraw 7 --as li-na --version 2
    """
    from exchange.governance.request import Event

    _act(as_json, actor, request, Event.WITHDRAW, version)


def end(request: Id, actor: Actor, version: Version, reason: Reason, as_json: Json = False) -> None:
    """End a grant, as the source's steward; the subscriber can read no more at once. `certify` proves it.

    Examples:
      exchange request end 7 --as wang-wei --version 3 --reason "purpose is fulfilled"
    """
    from exchange.governance.request import Event

    _act(as_json, actor, request, Event.REVOKE, version, reason)


def certify(request: Id, actor: Actor) -> None:
    """Write a signed certificate that the access of an ended grant is gone; it is made where there is none.

    `exchange revoke-verify` checks it. Unlike after `revoke`, a later request may give the view again.

    Examples:
      exchange request certify 7 --as wang-wei > ended.json && exchange revoke-verify ended.json
    """
    from exchange.cluster import ADMIN
    from exchange.governance.certify import certify as carry_out
    from exchange.governance.certify import text_of
    from exchange.governance.relay import relay

    with _opened(actor) as opened:
        ended = opened.desk.one(request)
        if ended.certificate is None:
            try:
                ended = carry_out(opened.settings, opened.topology, opened.desk, actor, request, _now())
            finally:
                relay(opened.store, opened.settings.kafka_client(ADMIN))
        sys.stdout.write(text_of(ended))


def renew(request: Id, actor: Actor, until: Until = "", as_json: Json = False) -> None:
    """Draft a request that is to take a grant's place; the grant holds until that one is granted.

    Examples:
      exchange request renew 7 --as li-na --until 2028-12-31
    """
    _carry_out(as_json, actor, lambda desk: desk.renew(actor, request, _day(until), _now()))


def list_requests(
    state: Annotated[
        list[str] | None, typer.Option("--state", help="Only those in this state; may be given again.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List requests with their state and deadline.

    Examples:
      exchange request list
      exchange request list --state submitted --state at_authority --json
    """
    from exchange.governance.request import State

    known = [one.value for one in State]
    for word in state or ():
        if word not in known:
            msg = f"--state {word}: no such state; there are {', '.join(known)}"
            raise ConfigError(msg)
    with _opened() as opened:
        found = opened.desk.all([State(word) for word in state or ()])
        told = [_document(one, opened.topology) for one in found]
    if as_json:
        sys.stdout.write(json.dumps({"requests": told}, ensure_ascii=False) + "\n")
        return
    for one in told:
        sys.stdout.write(_line(one) + "\n")
    sys.stderr.write(f"{counted(len(told), 'request')}\n")


def show(request: Id, as_json: Json = False) -> None:
    """Show one request whole, with the version that a decision on it names.

    Examples:
      exchange request show 7
      exchange request show 7 --json
    """
    with _opened() as opened:
        document = _document(opened.desk.one(request), opened.topology)
    if as_json:
        sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
        return
    proposed = document.pop("proposed")
    for name, value in document.items():
        if value not in (None, "", [], 0):
            shown = ", ".join(value) if isinstance(value, list) else value
            sys.stdout.write(f"{name:<20} {shown}\n")
    if proposed is not None:
        sys.stdout.write("proposed, as the topology would have it:\n" + as_yaml(document["view"], proposed))


def sweep(as_json: Json = False) -> None:
    """End grants that are past their last day, finish what broke off, tell what is due. For a timer.

    Every subscriber's access is made what its grants say, and every decision is brought into Kafka. What is
    due is written one line each: reminder, overdue or escalated.

    Examples:
      exchange request sweep
      exchange request sweep --json
    """
    from exchange.governance import force

    with _opened() as opened:
        try:
            swept = force.sweep(opened.settings, opened.topology, opened.desk, _now())
        finally:
            _into_force(opened, [])
    for told in swept.notes:
        typer.echo(told, err=True)
    if as_json:
        answer = {"expired": [one.id for one in swept.expired], "due": swept.due}
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
        return
    for one in swept.due:
        sys.stdout.write(f"{one['notice']}: {_line(one)}\n")
    expired = counted(len(swept.expired), "grant")
    sys.stdout.write(f"{expired} expired, {counted(len(swept.due), 'request')} due\n")


def _act(as_json: bool, actor: str, request: int, event: Event, version: int, reason: str = "") -> None:
    _carry_out(as_json, actor, lambda desk: desk.act(actor, request, event, version, _now(), reason=reason))


def _carry_out(as_json: bool, actor: str, do: Callable[[Desk], Request]) -> None:
    """Do something at the desk, bring it into force, and answer; a refusal is brought into Kafka too."""
    from exchange.governance.force import CHANGING_ACCESS

    with _opened(actor) as opened:
        try:
            after = do(opened.desk)
        except GovernanceError:
            _into_force(opened, [])
            raise
        _answer(as_json, _document(after, opened.topology))
        _into_force(opened, [after.subscriber] if after.state in CHANGING_ACCESS else [])


def _into_force(opened: _Opened, subscribers: list[str]) -> None:
    from exchange.governance.force import into_force

    for told in into_force(opened.settings, opened.topology, opened.store, subscribers):
        typer.echo(told, err=True)


@contextmanager
def _opened(actor: str = "") -> Iterator[_Opened]:
    """Yield what a command works with; where there is an actor, with their roles."""
    from exchange.commands.acting import acting
    from exchange.governance.desk import Desk
    from exchange.governance.store import Store
    from exchange.settings import Settings

    settings = Settings()
    loaded, contracts = load(settings, settings.topology)
    with Store.of(settings) as store:
        roles = acting(settings, store, loaded.topology, actor) if actor else loaded.topology
        yield _Opened(settings, loaded.topology, store, Desk(store, roles, contracts))


def _document(request: Request, topology: Topology) -> dict[str, Any]:
    from exchange.governance.force import described

    return described(request, topology, _now())


def _line(one: dict[str, Any]) -> str:
    due = f", due {one['due']}" + (" (estimated)" if one["due_is_estimated"] else "") if one["due"] else ""
    until = f" until {one['until']}" if one["until"] else ""
    return (
        f"request {one['id']} version {one['version']}: {one['subscriber']} for {one['view']}{until}: "
        f"{one['state']}{due}"
    )


def _answer(as_json: bool, document: dict[str, Any]) -> None:
    sys.stdout.write((json.dumps(document, ensure_ascii=False) if as_json else _line(document)) + "\n")
    sys.stdout.flush()


def _versioned(word: str, version: int | None) -> tuple[int, int]:
    """Return number and version of 3:2, or of 3 with the version that was given beside it."""
    number, _, own = word.partition(":")
    if number.isascii() and number.isdigit() and (own.isascii() and own.isdigit() if own else version):
        return int(number), int(own or version or 0)
    msg = (
        f"{word[:40]}: a request is approved at the version that was looked at; give NUMBER:VERSION, as in "
        "3:2, or one number and --version. `exchange request list` shows both"
    )
    raise ConfigError(msg)


def _day(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text) if text else None
    except ValueError:
        msg = f"--until {text[:40]}: a date of the calendar is wanted, like 2027-12-31"
        raise ConfigError(msg) from None


def _now() -> dt.datetime:
    return dt.datetime.now().astimezone()
