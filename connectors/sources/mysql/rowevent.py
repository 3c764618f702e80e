"""A row event → its row images → records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from pymysqlreplication.row_event import (
    DeleteRowsEvent,
    PartialUpdateRowsEvent,
    UpdateRowsEvent,
    WriteRowsEvent,
)

from connectors.source import Captured
from connectors.sources.mysql.rowimage import MalformedImage, Row, is_whole
from connectors.sources.mysql.shapes import Mapped
from connectors.sources.postgres.record import Place, row_record
from exchange.change import Op

_HEADER_BYTES: Final = 19


class UnreadableChange(Exception):
    """A change of one table that cannot be told; the text says why and holds no value."""


def rows_begin(event: Any) -> int:
    """Return where the images stand in an event that is not read yet, in bytes from its beginning."""
    return int(_HEADER_BYTES + event.packet.read_bytes)


def row_images(event: Any, mapped: Mapped) -> list[tuple[int, Row]]:
    """Read the event's row images, each with its place behind `rows_begin`; of an update two a row.

    Raises: UnreadableChange.
    """
    bitmaps = [event.columns_present_bitmap]
    if isinstance(event, UpdateRowsEvent):
        bitmaps.append(event.columns_present_bitmap2)
    whole = all(is_whole(bitmap, mapped.columns) for bitmap in bitmaps)
    if isinstance(event, PartialUpdateRowsEvent) or not whole:
        msg = "had a change that does not tell all columns (binlog_row_image was not FULL)"
        raise UnreadableChange(msg)
    try:
        return mapped.reader.rows(event.packet.read(event.event_size - event.packet.read_bytes))
    except MalformedImage:
        msg = "had a change that is damaged in the log"
        raise UnreadableChange(msg) from None


def row_records(event: Any, at: Place, rows: Sequence[Row]) -> list[Captured]:
    """One record, or two when the key changed: the old key goes, the new one comes."""
    match event:
        case WriteRowsEvent():
            return [row_record(at, Op.CREATE, None, rows[0])]
        case DeleteRowsEvent():
            return [row_record(at, Op.DELETE, rows[0], None)]
    old, new = rows
    if all(old[column] == new[column] for column in at.shape.key_at):
        return [row_record(at, Op.UPDATE, old, new)]
    created = replace(at, position=replace(at.position, part=1))
    return [row_record(at, Op.DELETE, old, None), row_record(created, Op.CREATE, None, new)]
