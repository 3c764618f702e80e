"""`exchange consume`: read a view as one of its subscribers."""

from __future__ import annotations

import signal
import sys
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final

import typer

from exchange.counting import counted
from exchange.subscriber.plain import json_text, position_text

if TYPE_CHECKING:
    from exchange.settings import Settings
    from exchange.subscriber.reader import Received, ViewReader

_COMMIT_EVERY_S: Final = 2.0


def consume(
    subscriber: Annotated[str, typer.Argument(help="Subscriber to read as; its password is in the secrets.")],
    view: Annotated[str, typer.Argument(help="View to read: <domain>.<resource>.<view>.")],
    start: Annotated[
        str,
        typer.Option(
            "--from",
            help="earliest, latest, committed (where this subscriber left off; earliest the first time), "
            "or <partition>:<offset> to read one partition from there.",
        ),
    ] = "committed",
    follow: Annotated[bool, typer.Option("--follow", help="Wait for new records until Ctrl-C.")] = False,
    maximum: Annotated[int | None, typer.Option("--max", min=1, help="Stop after so many records.")] = None,
    corrections: Annotated[
        bool, typer.Option("--corrections", help="At the end what was corrected, as the monitor tells it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Read a view as a subscriber: decoded, in order, without duplicates.

    Ends at the end of the topic (or goes on with --follow) and commits what was printed: the next call goes
    on there, also after a reading --from elsewhere. A record that cannot be decoded is shown in its place and
    the exit code is then 1. A correction names the position of a record that was wrong, and of the later one
    that mends it; with --json such a line has `"kind": "correction"`.

    Examples:
      exchange consume school-office population.person.school
      exchange consume school-office population.person.school --from earliest --max 5 --json
      exchange consume school-office population.person.school --follow --corrections
    """
    from exchange.registry import Registry
    from exchange.selfcheck import check_certificate
    from exchange.settings import Settings
    from exchange.subscriber.reader import Start, ViewReader

    settings = Settings()
    begin = Start.parse(start)
    check_certificate(settings)
    with (
        Registry(settings.endpoints().registry) as registry,
        ViewReader(settings.kafka_client(subscriber), registry, subscriber, view, begin) as reader,
    ):
        printed, undecodable = _print_all(reader, follow=follow, maximum=maximum, as_json=as_json)
    if corrections:  # behind the records: Kafka has let the subscriber read the view
        _print_corrections(settings, view, as_json=as_json)
    sys.stderr.write(
        f"{counted(printed, 'record')}, {counted(reader.duplicates, 'duplicate')} dropped, "
        f"{undecodable} undecodable\n"
    )
    if undecodable:
        raise typer.Exit(1)


def _print_corrections(settings: Settings, view: str, *, as_json: bool) -> None:
    from exchange.subscriber.corrections import corrections_of

    for one in corrections_of(settings, view):
        told = f"correction  partition {one['partition']}: {one['wrong']} → {one['corrected']}  {one['at']}\n"
        line = json_text({"kind": "correction", "view": view} | one) + "\n"
        sys.stdout.write(line if as_json else told)
    sys.stdout.flush()


def _print_all(reader: ViewReader, *, follow: bool, maximum: int | None, as_json: bool) -> tuple[int, int]:
    """Print and commit until the end, the maximum or Ctrl-C; return how many, and how many undecodable."""
    printed = undecodable = 0
    committed_at = time.monotonic()
    try:
        for record in reader.records(follow=follow, until=_interrupted().is_set):
            sys.stdout.write(_as_json(record) if as_json else _as_text(record))
            sys.stdout.flush()
            reader.done(record)
            printed += 1
            undecodable += bool(record.problem)
            if printed == maximum:
                break
            if time.monotonic() - committed_at > _COMMIT_EVERY_S:
                reader.commit()
                committed_at = time.monotonic()
    finally:
        reader.commit()
    return printed, undecodable


def _interrupted() -> threading.Event:
    """Return what the first Ctrl-C or SIGTERM sets, between two records; a second Ctrl-C ends at once."""
    stopping = threading.Event()

    def note(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, note)
    signal.signal(signal.SIGTERM, note)
    return stopping


def _as_json(record: Received) -> str:
    value = record.value or {}
    document = {
        "op": _operation(record),
        "key": record.key,
        "before": value.get("before"),
        "after": value.get("after"),
        "position": position_text(record.header),
        "delay_ms": record.delay_ms,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
    }
    if record.problem:
        document["problem"] = record.problem
    return json_text(document) + "\n"


def _as_text(record: Received) -> str:
    at = f"{record.topic} {record.partition}:{record.offset}"
    if record.problem:
        return f"{at}  undecodable: {record.problem}\n"
    value = record.value or {}
    delay = "" if record.delay_ms is None else f"  {record.delay_ms / 1000:.3f} s after the source's commit"
    lines = [
        f"{_operation(record)}  {json_text(record.key)}  {at}  position {position_text(record.header)}{delay}"
    ]
    lines += [f"   {image:6} {json_text(value[image])}" for image in ("before", "after") if value.get(image)]
    return "\n".join(lines) + "\n"


def _operation(record: Received) -> str:
    if record.header is None:
        return "?"
    return "tombstone" if record.header.tombstone else record.header.op.value
