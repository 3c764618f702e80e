"""The closed set of rules a contract can set for a field, and the tests they compile to.

A rule is declared as `{"rule": "<name>", <parameters>}`. Null passes every rule but `required`. Rules judge
by the record itself: `not_future` compares with the record's source commit time, so a replay judges alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final

from stdnum.cn import ric, uscc

from exchange.change import Reason
from exchange.fieldtype import FieldType, Rule, Test, decimal_unscaled
from exchange.safe_regex import compile_safe
from exchange.suggest import did_you_mean

_DAY_MS: Final = 86_400_000
_EPOCH: Final = date(1970, 1, 1)
_NUMBERS: Final = frozenset({"int", "long", "float", "double"})
_TEXT: Final = frozenset({"string"})


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a rule takes: its reason, required and optional parameters, kinds of type, and its maker."""

    reason: Reason
    make: Callable[[Mapping[str, Any], FieldType], Test]
    fits: frozenset[str] | None
    needs: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    each_item: bool = False
    """Whether it may stand on an array of such items, and then judges every item."""


def compile_rule(declared: Any, type_: FieldType) -> Rule:
    """Return the compiled rule.

    Raises: ValueError when the rule or a parameter is unknown, missing, of the wrong kind, or does not fit
    the type; its text says what would be right.
    """
    name, parameters = _split(declared)
    kind = RULES[name]
    if unknown := sorted(set(parameters) - kind.needs - kind.optional):
        msg = f"rule {name!r}: unknown parameter {did_you_mean(unknown[0], kind.needs | kind.optional)}"
        raise ValueError(msg)
    if missing := sorted(kind.needs - set(parameters)):
        msg = f"rule {name!r}: parameter {missing[0]!r} is missing"
        raise ValueError(msg)
    item = _judged_type(kind, type_)
    if item is None:
        wanted = ", ".join(sorted(kind.fits or ()))
        msg = f"rule {name!r} does not fit {type_.describe()}; it fits {wanted}"
        raise ValueError(msg)
    test = kind.make(parameters, item)
    if item is not type_:
        test = _each(test)
    return Rule(name, kind.reason, parameters, test)


def _split(declared: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(declared, dict) or not isinstance(declared.get("rule"), str):
        msg = 'a rule is an object {"rule": "<name>", ...}'
        raise ValueError(msg)
    parameters = dict(declared)
    name = parameters.pop("rule")
    if name not in RULES:
        msg = f"unknown rule {did_you_mean(name, RULES)}"
        raise ValueError(msg)
    return name, parameters


def _judged_type(kind: _Kind, type_: FieldType) -> FieldType | None:
    if kind.fits is None or type_.kind in kind.fits:
        return type_
    if kind.each_item and type_.kind == "array" and type_.items and type_.items.kind in kind.fits:
        return type_.items
    return None


def _each(test: Test) -> Test:
    return lambda values, source_ms: all(value is None or test(value, source_ms) for value in values)


def _required(_parameters: Mapping[str, Any], type_: FieldType) -> Test:
    """Not null; text must hold more than blanks, an array at least one item."""
    if type_.kind == "string":
        return lambda value, _: value is not None and bool(value.strip())
    if type_.kind == "array":
        return lambda value, _: bool(value)
    return lambda value, _: value is not None


def _length(parameters: Mapping[str, Any], _type: FieldType) -> Test:
    """Characters of text, bytes of bytes, items of an array."""
    least, most = parameters.get("min"), parameters.get("max")
    for bound in (least, most):
        if bound is not None and (type(bound) is not int or bound < 0):
            msg = "rule 'length': min and max are whole numbers from 0"
            raise ValueError(msg)
    _check_bounds("length", least, most)
    least = least or 0
    if most is None:
        return lambda value, _: len(value) >= least
    return lambda value, _: least <= len(value) <= most


def _range(parameters: Mapping[str, Any], type_: FieldType) -> Test:
    """Both ends belong to the range; of a date they are written YYYY-MM-DD."""
    least, most = range_bounds(parameters, type_)
    _check_bounds("range", least, most)
    read: Callable[[Any], Any] = decimal_unscaled if type_.kind == "decimal" else lambda value: value
    if least is None:
        return lambda value, _: bool(read(value) <= most)
    if most is None:
        return lambda value, _: bool(least <= read(value))
    return lambda value, _: bool(least <= read(value) <= most)


def range_bounds(parameters: Mapping[str, Any], type_: FieldType) -> tuple[Any, Any]:
    """Return least and most as Avro stores values of the type, a decimal unscaled; None where there is none.

    Raises: ValueError when one is not an exact value of the type.
    """
    return _bound(parameters.get("min"), type_), _bound(parameters.get("max"), type_)


def _bound(declared: Any, type_: FieldType) -> Any:
    if declared is None:
        return None
    try:
        if type_.kind == "date":
            return (date.fromisoformat(declared) - _EPOCH).days
        if isinstance(declared, bool | float):
            raise TypeError
        exact = Decimal(declared)
        if type_.kind == "decimal":
            exact = exact.scaleb(type_.scale)
        if type_.kind in ("float", "double"):
            return float(exact)
        if exact != int(exact):
            raise ValueError
        return int(exact)
    except (TypeError, ValueError, ArithmeticError, InvalidOperation):
        msg = f"rule 'range': min and max must be exact values of {type_.describe()}"
        raise ValueError(msg) from None


def _check_bounds(rule: str, least: Any, most: Any) -> None:
    if least is None and most is None:
        msg = f"rule {rule!r}: give min, max or both"
        raise ValueError(msg)
    if least is not None and most is not None and least > most:
        msg = f"rule {rule!r}: min is above max"
        raise ValueError(msg)


def _pattern(parameters: Mapping[str, Any], _type: FieldType) -> Test:
    """Match the whole text; digit and word classes mean ASCII only, so that full-width digits do not pass."""
    regex = parameters["regex"]
    if not isinstance(regex, str):
        msg = "rule 'pattern': regex is text"
        raise ValueError(msg)
    try:
        compiled = compile_safe(regex)
    except ValueError as error:
        msg = f"rule 'pattern': {error}"
        raise ValueError(msg) from None
    return lambda value, _: compiled.fullmatch(value) is not None


def _codes(parameters: Mapping[str, Any], _type: FieldType) -> Test:
    values = parameters["values"]
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        msg = "rule 'codes': values is a list of texts, not empty"
        raise ValueError(msg)
    known = frozenset(values)
    if len(known) != len(values):
        msg = "rule 'codes': a value is listed twice"
        raise ValueError(msg)
    return lambda value, _: value in known


def _not_future(_parameters: Mapping[str, Any], type_: FieldType) -> Test:
    """Not later than a day after the source's commit.

    The day is for what lies east of UTC: a date or a local timestamp there is up to 14 hours ahead.
    """
    if type_.kind == "date":
        return lambda days, source_ms: bool(days * _DAY_MS <= source_ms + _DAY_MS)
    return lambda micros, source_ms: bool(micros <= (source_ms + _DAY_MS) * 1000)


_ID_NUMBER: Final = re.compile(
    r"(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3])[0-9]{4}"
    r"(?:18|19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9X]",
    re.ASCII,
)
"""Province, county, birth date, order and check. Source: GB 11643; GB/T 2260 for the provinces, and 83 for
the residence permits of Taiwan compatriots."""
_CREDIT_CODE: Final = re.compile(r"[0-9A-HJ-NPQRTUWXY]{18}", re.ASCII)
_MOBILE: Final = re.compile(r"1[3-9][0-9]{9}", re.ASCII)
_EMAIL: Final = re.compile(
    r"[A-Za-z0-9_+-](?:[A-Za-z0-9._+-]{0,62}[A-Za-z0-9_+-])?"
    r"@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?\.[A-Za-z]{2,24}",
    re.ASCII,
)


def is_id_number(text: str) -> bool:
    """Return whether a text is a valid 18-digit resident identity number, check letter in upper case.

    Only one spelling is valid, so that equal persons have equal keys. Of the region only the province is
    checked: counties are renumbered and older holders keep what they were given, often a code that did not
    exist when they were born, which `stdnum.cn.ric.validate` refuses.
    Source: GB 11643-1999; python-stdnum, stdnum.cn.ric.
    """
    if _ID_NUMBER.fullmatch(text) is None or ric.calc_check_digit(text) != text[-1]:
        return False
    return _is_day(text[6:14])


@lru_cache(maxsize=65_536)
def _is_day(digits: str) -> bool:
    try:
        date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return False
    return True


def is_credit_code(text: str) -> bool:
    """Return whether a text is a valid unified social credit code, in upper case.

    Source: GB 32100-2015; python-stdnum, stdnum.cn.uscc.
    """
    return _CREDIT_CODE.fullmatch(text) is not None and uscc.is_valid(text)


def is_mobile(text: str) -> bool:
    """Return whether a text is a mainland mobile number of eleven digits, without country code."""
    return _MOBILE.fullmatch(text) is not None


def is_email(text: str) -> bool:
    """Return whether a text has the form of an e-mail address that can be delivered on the internet."""
    return _EMAIL.fullmatch(text) is not None and ".." not in text


def _always(check: Callable[[str], bool]) -> Callable[[Mapping[str, Any], FieldType], Test]:
    return lambda _parameters, _type: lambda value, _source_ms: check(value)


_ENDS: Final = frozenset({"min", "max"})

RULES: Final[dict[str, _Kind]] = {
    "required": _Kind(Reason.REQUIRED, _required, None),
    "length": _Kind(Reason.LENGTH, _length, frozenset({"string", "bytes", "array"}), optional=_ENDS),
    "range": _Kind(Reason.RANGE, _range, _NUMBERS | {"decimal", "date"}, optional=_ENDS),
    "pattern": _Kind(Reason.PATTERN, _pattern, _TEXT, frozenset({"regex"}), each_item=True),
    "codes": _Kind(Reason.CODE, _codes, _TEXT, frozenset({"values"}), each_item=True),
    "not_future": _Kind(Reason.NOT_FUTURE, _not_future, frozenset({"date", "timestamp", "local_timestamp"})),
    "cn_id_number": _Kind(Reason.CN_ID_NUMBER, _always(is_id_number), _TEXT, each_item=True),
    "cn_mobile": _Kind(Reason.CN_MOBILE, _always(is_mobile), _TEXT, each_item=True),
    "cn_credit_code": _Kind(Reason.CN_CREDIT_CODE, _always(is_credit_code), _TEXT, each_item=True),
    "email": _Kind(Reason.EMAIL, _always(is_email), _TEXT, each_item=True),
}
"""Every rule there is."""
