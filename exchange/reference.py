"""The engine, simple and obvious: one raw record in, for every view the records to write, or a refusal.

It is the specification: a faster engine behind the same interface is tested against it.

One record's way:
1. decode key and envelope; every byte must belong (MALFORMED)
2. read key, after-image and before-image as records of the contract; rules apply (REQUIRED, RANGE, ...)
3. per view: where the row was and is decides create, update, delete or nothing; mask and encode (MASK)
4. per finished record: the leak gate (LEAK) and the size of a topic's records (TOO_LARGE)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from exchange.change import Op, Reason, RecordHeader, Rejected
from exchange.contract import Contract
from exchange.encoding.wire import Reader, Writer
from exchange.engine.image import Image, compile_image
from exchange.engine.leak import find_leak
from exchange.engine.render import Record, Renderer
from exchange.errors import ContractError
from exchange.keys import ViewKeys
from exchange.plan import PlannedResource, PlannedView
from exchange.view import compile_view

MAX_RECORD_BYTES: Final = 1_000_000
"""Key and value together; a topic takes 1,048,576 bytes with header and batch around them."""

_MALFORMED: Final = Rejected(Reason.MALFORMED)


class ViewOutput(NamedTuple):
    """One record to write to a view's topic; key and value are complete, schema id included."""

    key: bytes | None
    value: bytes | None
    tombstone: bool
    op: Op


@dataclass(frozen=True, slots=True)
class _Change:
    """A decoded change. before is None where there is none, or none that was ever valid."""

    header: RecordHeader
    captured_ms: int | None
    key: Record | None
    before: Record | None
    after: Record | None


def compile_program(
    resource: PlannedResource,
    raw_value_schema: Mapping[str, Any],
    raw_key_schema: Mapping[str, Any] | None,
    view_keys: ViewKeys,
) -> Program:
    """Return the engine for one resource and the schemas its table's changes are written with.

    raw_key_schema: None where only TRUNCATE records, which have no key, are to be applied.

    Raises: ContractError when the table no longer fits the contract; ConfigError when a view no longer does.
    """
    where = f"contract {resource.name} on {resource.raw_topic}"
    contract = Contract.parse(resource.contract, where)
    decoder = _Decoder(contract, raw_value_schema, raw_key_schema, where)
    return Program(decoder, [_PlannedRenderer(contract, view, view_keys) for view in resource.views])


class Program:
    """Applies one resource's contract and views to its raw records, one at a time."""

    def __init__(self, decoder: _Decoder, views: list[_PlannedRenderer]) -> None:
        self._decoder = decoder
        self._views = views

    def apply(
        self, header: RecordHeader, key: bytes | None, value: bytes | None
    ) -> tuple[list[ViewOutput], ...] | Rejected:
        """Return, in the plan's order of views, the records to write; an empty list is a filtered change.

        One view that cannot be made refuses the record for all: they are delivered together or not at all.
        """
        change = self._decoder.change(header, key, value)
        if isinstance(change, Rejected):
            return change
        outputs: list[list[ViewOutput]] = []
        for view in self._views:
            records = view.records(change)
            if isinstance(records, Rejected):
                return records
            outputs.append(records)
        return tuple(outputs)


class _Decoder:
    """Reads raw records as changes of the contract's records."""

    def __init__(
        self,
        contract: Contract,
        value_schema: Mapping[str, Any],
        key_schema: Mapping[str, Any] | None,
        where: str,
    ) -> None:
        self._contract_key = contract.key
        self._value_reader = _reader(value_schema, where)
        self._image = compile_image(contract.fields, _row_schema(value_schema, where), where)
        self._key_reader: Reader | None = None
        self._key_image: Image | None = None
        if key_schema is not None:
            _check_key(contract, key_schema, where)
            self._key_reader = _reader(key_schema, where)
            key_fields = {name: contract.fields[name] for name in contract.key}
            self._key_image = compile_image(key_fields, key_schema, where)

    def change(self, header: RecordHeader, key: bytes | None, value: bytes | None) -> _Change | Rejected:
        if value is None or header.tombstone:
            return _MALFORMED
        try:
            envelope = self._value_reader.decode(value)
            key_row = None if key is None or self._key_reader is None else self._key_reader.decode(key)
        except ValueError:
            return _MALFORMED
        if not _is_consistent(header, envelope, has_key=key_row is not None):
            return _MALFORMED
        if key_row is None or self._key_image is None:
            return _Change(header, envelope.get("ts_ms"), None, None, None)
        key_record = self._key_image.read(key_row, header.source_ms)
        after = self._read(envelope["after"], header)
        if isinstance(key_record, Rejected):
            return key_record
        if isinstance(after, Rejected):
            return after
        before = self._read(envelope["before"], header)
        if isinstance(before, Rejected):
            before = None  # the row had been refused, so no view has it
        for image in (before, after):
            if image is not None and any(image[name] != key_record[name] for name in self._contract_key):
                return _MALFORMED
        return _Change(header, envelope.get("ts_ms"), key_record, before, after)

    def _read(self, row: Mapping[str, Any] | None, header: RecordHeader) -> dict[str, Any] | Rejected | None:
        return None if row is None else self._image.read(row, header.source_ms)


_IMAGES: Final = {
    Op.CREATE: (False, True),
    Op.READ: (False, True),
    Op.UPDATE: (None, True),
    Op.DELETE: (None, False),
    Op.TRUNCATE: (False, False),
}
"""Operation → whether it has a before- and an after-image; None: it may."""


def _is_consistent(header: RecordHeader, envelope: Mapping[str, Any], *, has_key: bool) -> bool:
    """Whether header, envelope and key tell the same story."""
    before, after = _IMAGES[header.op]
    return (
        envelope["op"] == header.op
        and envelope["source"].get("ts_ms") == header.source_ms
        and (before is None or (envelope["before"] is not None) == before)
        and (envelope["after"] is not None) == after
        and has_key == (header.op is not Op.TRUNCATE)
    )


def _reader(schema: Mapping[str, Any], where: str) -> Reader:
    try:
        return Reader(schema)
    except (ValueError, KeyError, TypeError) as error:
        told = error if isinstance(error, ValueError) else type(error).__name__
        msg = f"{where}: the registered schema is not usable: {told}"
        raise ContractError(msg) from None


def _row_schema(value_schema: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Return the record schema of the envelope's images."""
    parts = {part["name"]: part["type"] for part in value_schema.get("fields", [])}
    images = [branch for branch in parts.get("before", []) if isinstance(branch, Mapping)]
    source = parts.get("source")
    if (
        {"before", "after", "source", "op"} <= parts.keys()
        and len(images) == 1
        and isinstance(source, Mapping)
    ):
        return images[0]
    msg = f"{where}: the registered schema is no change envelope: it needs before, after, source and op"
    raise ContractError(msg)


def _check_key(contract: Contract, key_schema: Mapping[str, Any], where: str) -> None:
    """Order holds per key of the raw topic; a contract with another key would have none."""
    seen = {column["name"] for column in key_schema.get("fields", [])}
    wanted = {contract.fields[name].source for name in contract.key}
    if seen != wanted:
        msg = (
            f"{where}: the table's primary key is ({', '.join(sorted(seen))}), the contract's key is "
            f"({', '.join(sorted(wanted))}); they must name the same columns"
        )
        raise ContractError(msg)


class _PlannedRenderer:
    """Makes one view's records."""

    def __init__(self, contract: Contract, planned: PlannedView, view_keys: ViewKeys) -> None:
        view = compile_view(contract, planned.spec, planned.name)
        self._resource = planned.spec.resource
        self._renderer = Renderer(view, view_keys.token_key(planned.topic))
        self._value_writer = Writer(view.value_schema(), planned.value_schema_id)
        self._value_type = f"{view.namespace}.Value"
        self._key_writer = Writer(view.key_schema(), planned.key_schema_id)

    def records(self, change: _Change) -> list[ViewOutput] | Rejected:
        records = self._records(change, change.before)
        if isinstance(records, Rejected) and change.before is not None:
            # The row as it was may have been refused for this very reason; then no view has it, and the
            # change that mends it must pass. It may still not show anything of the row before.
            return self._records(change, None)
        return records

    def _records(self, change: _Change, known_before: Record | None) -> list[ViewOutput] | Rejected:
        op, before, after = self._move(change, known_before)
        if op is None:
            return []
        key, value = self._key(change), self._value(change, op, before, after)
        if isinstance(key, Rejected):
            return key
        if isinstance(value, Rejected):
            return value
        if refusal := self._gate(change, (key or b"") + value):
            return refusal
        records = [ViewOutput(key, value, tombstone=False, op=op)]
        if op is Op.DELETE:
            records.append(ViewOutput(key, None, tombstone=True, op=op))
        return records

    def _move(self, change: _Change, before: Record | None) -> tuple[Op | None, Record | None, Record | None]:
        """Return what the change is to this view, None for nothing, and the images it may show.

        | before  | after in scope | after out or none          |
        | ------- | -------------- | -------------------------- |
        | in      | as it came     | delete                     |
        | out     | create         | nothing                    |
        | unknown | as it came     | delete, in case it had it  |

        A create or a snapshot row has no before: in scope as it came, else nothing.
        """
        op, after = change.header.op, change.after
        if op is Op.TRUNCATE:
            return op, None, None
        is_in = after is not None and self._renderer.in_scope(after)
        if op in (Op.CREATE, Op.READ):
            return (op, None, after) if is_in else (None, None, None)
        was_out = before is not None and not self._renderer.in_scope(before)
        if is_in:
            return (Op.CREATE, None, after) if was_out else (Op.UPDATE, before, after)
        return (None, None, None) if was_out else (Op.DELETE, before, None)

    def _key(self, change: _Change) -> bytes | Rejected | None:
        if change.key is None:
            return None
        key = self._renderer.key(change.key)
        return key if isinstance(key, Rejected) else _encode(self._key_writer, key)

    def _value(
        self, change: _Change, op: Op, before: Record | None, after: Record | None
    ) -> bytes | Rejected:
        images: list[Any] = []
        for image in (before, after):
            masked = None if image is None else self._renderer.value(image)
            if isinstance(masked, Rejected):
                return masked
            # Named, so that fastavro does not try the record against every branch of the union.
            images.append(masked and (self._value_type, masked))
        header = change.header
        source = {"name": self._resource, "ts_ms": header.source_ms, "snapshot": header.op is Op.READ}
        envelope = {"source": source, "op": op.value, "ts_ms": change.captured_ms}
        return _encode(self._value_writer, envelope | {"before": images[0], "after": images[1]})

    def _gate(self, change: _Change, output: bytes) -> Rejected | None:
        if len(output) > MAX_RECORD_BYTES:
            return Rejected(Reason.TOO_LARGE)
        images = [image for image in (change.before, change.after, change.key) if image is not None]
        path = find_leak(output, self._renderer.hidden(images), self._renderer.approved(images))
        return None if path is None else Rejected(Reason.LEAK, path)


def _encode(writer: Writer, record: dict[str, Any]) -> bytes | Rejected:
    try:
        return writer.encode(record)
    except ValueError:
        return Rejected(Reason.MASK)
