"""Fits one value to one field: what columns (image.py) and JSON documents (jsonfit.py) have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from exchange.change import Reason, Rejected
from exchange.fieldtype import ContractField, FieldType, decimal_bytes

Fit = Callable[[Any, int], Any]
"""(value of the column, source commit time in ms) → value of the field, or Rejected; never given null."""

_MAX_EXPONENT: Final = 1000


class Slot(NamedTuple):
    """One field of a record and how it is filled from the member `source` of a row or JSON object."""

    name: str
    source: str
    fit: Fit | None
    rules: tuple[tuple[Callable[[Any, int], bool], Rejected], ...]
    if_null: Rejected | None

    def read(self, value: Any, source_ms: int) -> Any:
        """Return the field's value of a member that is not null, or why it is refused."""
        if self.fit is not None:
            value = self.fit(value, source_ms)
            if type(value) is Rejected:
                return value
        for test, refusal in self.rules:
            if not test(value, source_ms):
                return refusal
        return value


def slot_of(field: ContractField, path: str, fit: Fit | None) -> Slot:
    """Return a field's slot; `path` names the field in refusals."""
    required = not field.type.nullable or any(rule.name == "required" for rule in field.rules)
    return Slot(
        name=field.name,
        source=field.source,
        fit=fit,
        rules=tuple((rule.test, Rejected(rule.reason, path)) for rule in field.rules),
        if_null=Rejected(Reason.REQUIRED, path) if required else None,
    )


def fill(slots: tuple[Slot, ...], row: Mapping[str, Any], source_ms: int) -> dict[str, Any] | Rejected:
    """Return a record, or why it is refused: the first slot that fails."""
    record: dict[str, Any] = {}
    for slot in slots:
        value = row.get(slot.source)
        if value is not None:
            value = slot.read(value, source_ms)
            if type(value) is Rejected:
                return value
        elif slot.if_null is not None:
            return slot.if_null
        record[slot.name] = value
    return record


def items_fit(fit: Fit | None, type_: FieldType, path: str) -> Fit:
    """Return the fit of an array's items, one by one; `fit` and `type_` are the item's."""
    null_refused = None if type_.nullable else Rejected(Reason.REQUIRED, path)

    def fit_items(values: Any, source_ms: int) -> Any:
        fitted = []
        for value in values:
            if value is None and null_refused is not None:
                return null_refused
            item = value if value is None or fit is None else fit(value, source_ms)
            if type(item) is Rejected:
                return item
            fitted.append(item)
        return fitted

    return fit_items


def decimal_fit(type_: FieldType, path: str) -> Fit:
    """Return the fit of an int or Decimal to a decimal field that holds it exactly."""
    limit, refusal = 10**type_.precision, Rejected(Reason.UNREPRESENTABLE, path)

    def fit(number: Any, _: int) -> Any:
        exact = number if isinstance(number, Decimal) else Decimal(number)
        _, digits, exponent = exact.as_tuple()
        # Bounded before scaling: 1E+999999999 is a short text and a number of a gigabyte.
        if not isinstance(exponent, int) or abs(exponent) > _MAX_EXPONENT or len(digits) > _MAX_EXPONENT:
            return refusal
        numerator, denominator = exact.as_integer_ratio()
        unscaled, rest = divmod(numerator * 10**type_.scale, denominator)
        if rest or abs(unscaled) >= limit:
            return refusal
        return decimal_bytes(unscaled)

    return fit
