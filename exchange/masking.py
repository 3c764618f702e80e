"""The closed set of masks: how they are declared, and the functions they compile to."""

from __future__ import annotations

import hmac
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import Field
from stdnum.cn import ric

from exchange.fieldtype import FieldType, decimal_bytes, decimal_unscaled
from exchange.keys import TokenKey
from exchange.model import Model


class Clear(Model):
    """Show the value as it is."""

    kind: Literal["clear"]
    reason: str = Field(
        default="", description="Why a sensitive field may be shown; required where it is one."
    )


class Omit(Model):
    """Leave the field out of the view; the same as not listing it, but said aloud."""

    kind: Literal["omit"]


class Redact(Model):
    """Replace every value by one constant text."""

    kind: Literal["redact"]
    text: str = Field(default="***", description="What subscribers see instead.")


class Partial(Model):
    """Keep some characters at either end; the others become asterisks, one for one."""

    kind: Literal["partial"]
    keep_first: int = Field(default=0, ge=0, description="Characters shown at the start.")
    keep_last: int = Field(default=0, ge=0, description="Characters shown at the end.")


class Generalise(Model):
    """Make a value coarser: a date to its year or month, a code to its prefix, a number to its bucket."""

    kind: Literal["generalise"]
    to: Literal["year", "month", "prefix", "bucket"] = Field(description="What it becomes.")
    size: int = Field(default=0, ge=0, description="Characters of the prefix, or width of the bucket.")


class Token(Model):
    """Replace a value by a keyed token: equal within the view, unlinkable between views."""

    kind: Literal["token"]


class Null(Model):
    """Always null."""

    kind: Literal["null"]


MaskSpec = Annotated[
    Clear | Omit | Redact | Partial | Generalise | Token | Null,
    Field(discriminator="kind"),
]


Mask = Callable[[Any], Any]
"""A value as Avro stores it → what subscribers see; raises on whatever it cannot mask."""

_TOKEN_KINDS: Final = frozenset({"string", "uuid", "enum", "int", "long", "date"})
_PARTIAL_KINDS: Final = frozenset({"string", "uuid"})
_DATE_KINDS: Final = frozenset({"date", "timestamp", "local_timestamp"})
_BUCKET_KINDS: Final = frozenset({"int", "long", "decimal"})
_COMPACT_SENSITIVITIES: Final = frozenset({"id_number", "credit_code", "mobile", "bank_account"})
_TOKEN_HEX_DIGITS: Final = 32
"""128 bits of HMAC-SHA-256: no two values of a whole population share a token."""
_EPOCH: Final = date(1970, 1, 1)
_MICROS_PER_DAY: Final = 86_400_000_000
_TEXT: Final = FieldType("string")
_SEPARATORS: Final = re.compile(r"[\s\-]+")


@dataclass(frozen=True, slots=True)
class TokenScope:
    """What a field's tokens are bound to: the key, and the view and field as domain separation.

    exact: tokenise the value as it is spelt instead of its canonical form. Key fields need it: two rows must
    never get one key.
    """

    key: TokenKey
    view: str
    field: str
    sensitivity: str | None
    exact: bool


def output_type(mask: MaskSpec, type_: FieldType) -> FieldType:
    """Return the type of what the mask yields for a field of a type, null aside.

    Raises: ValueError when the mask does not fit the type or lacks its size.
    """
    match mask:
        case Clear() | Null():
            return type_.not_null()
        case Redact():
            return _TEXT
        case Partial():
            return _fitting(mask.kind, type_, _PARTIAL_KINDS, _TEXT)
        case Token():
            return _fitting(mask.kind, type_, _TOKEN_KINDS, _TEXT)
        case Generalise():
            return _generalised_type(mask, type_)
        case _:
            msg = f"mask {mask.kind!r} yields no value"
            raise ValueError(msg)


def _fitting(mask: str, type_: FieldType, kinds: frozenset[str], output: FieldType) -> FieldType:
    if type_.kind in kinds:
        return output
    msg = f"mask {mask} does not fit {type_.describe()}; it fits {', '.join(sorted(kinds))}"
    raise ValueError(msg)


def _generalised_type(mask: Generalise, type_: FieldType) -> FieldType:
    name = f"generalise to {mask.to}"
    if mask.to in ("year", "month"):
        return _fitting(name, type_, _DATE_KINDS, _TEXT)
    if mask.size < 1:
        msg = f"mask {name} needs a size of at least 1"
        raise ValueError(msg)
    if mask.to == "prefix":
        return _fitting(name, type_, _PARTIAL_KINDS, _TEXT)
    widened = type_.not_null() if type_.kind == "decimal" else FieldType("long")
    return _fitting(name, type_, _BUCKET_KINDS, widened)


def compile_mask(mask: MaskSpec, type_: FieldType, scope: TokenScope) -> Mask:
    """Return the function that masks a field's values.

    Null stays null, except that `redact` hides even that. What a mask returns is checked against its output
    type, so that a mask gone wrong raises instead of showing what it was given.

    Raises: ValueError when the mask does not fit the type.
    """
    output = output_type(mask, type_)
    match mask:
        case Clear():
            return _identity
        case Null():
            return lambda _: None
        case Redact():
            return lambda _: mask.text
        case _:
            return _checked(_function(mask, type_, scope), _PYTHON_TYPE[output.kind])


_PYTHON_TYPE: Final[dict[str, type]] = {"string": str, "long": int, "decimal": bytes}


def _identity(value: Any) -> Any:
    return value


def _checked(function: Mask, expected: type) -> Mask:
    def masked(value: Any) -> Any:
        if value is None:
            return None
        result = function(value)
        if type(result) is not expected:
            raise TypeError
        return result

    return masked


def _function(mask: MaskSpec, type_: FieldType, scope: TokenScope) -> Mask:
    match mask:
        case Partial():
            return lambda text: _keep_ends(text, mask.keep_first, mask.keep_last)
        case Token():
            return _tokeniser(scope)
        case Generalise(to="prefix"):
            return lambda text: text[: mask.size] if len(text) > mask.size else "*" * len(text)
        case Generalise(to="bucket"):
            return _bucket(mask.size, type_)
        case Generalise():
            return _coarse_date(mask.to, type_)
        case _:
            msg = f"mask {mask.kind!r} yields no value"
            raise ValueError(msg)


def _keep_ends(text: str, first: int, last: int) -> str:
    """Keep both ends, never the whole value: where nothing would be hidden, everything is."""
    hidden = len(text) - first - last
    if hidden <= 0:
        return "*" * len(text)
    return text[:first] + "*" * hidden + text[len(text) - last :]


def _bucket(size: int, type_: FieldType) -> Mask:
    """Yield the lower bound of the bucket, counted from zero; for a decimal `size` is in whole units."""
    if type_.kind != "decimal":
        return lambda number: number // size * size
    width = size * 10**type_.scale
    limit = 10**type_.precision

    def floor(encoded: bytes) -> bytes:
        bound = decimal_unscaled(encoded) // width * width
        if abs(bound) >= limit:
            raise OverflowError
        return decimal_bytes(bound)

    return floor


def _coarse_date(to: str, type_: FieldType) -> Mask:
    """YYYY or YYYY-MM; of a timestamp in UTC, as it is stored."""
    divisor = 1 if type_.kind == "date" else _MICROS_PER_DAY
    length = 4 if to == "year" else 7
    return lambda number: (_EPOCH + timedelta(days=number // divisor)).isoformat()[:length]


def _tokeniser(scope: TokenScope) -> Mask:
    """t<key version>_ and 32 hex digits of HMAC-SHA-256(key, view 00 field 00 value)."""
    domain = b"exchange token\0" + scope.view.encode() + b"\0" + scope.field.encode() + b"\0"
    version, key = scope.key
    prefix = f"t{version}_"

    def token(value: Any) -> str:
        text = str(value) if scope.exact else canonical(str(value), scope.sensitivity)
        return prefix + hmac.digest(key, domain + text.encode(), "sha256").hex()[:_TOKEN_HEX_DIGITS]

    return token


def canonical(text: str, sensitivity: str | None) -> str:
    """Return the one spelling that stands for a value's variants, so that equal values get equal tokens.

    Full-width characters become ASCII, blanks at the ends go; in numbers of persons, companies, telephones
    and accounts also blanks and hyphens inside, letters become upper case, and a 15-digit ID number becomes
    the 18-digit one. Source: Unicode NFKC; GB 11643-1999 for the century 19 and the check digit.
    """
    text = unicodedata.normalize("NFKC", text).strip()
    if sensitivity not in _COMPACT_SENSITIVITIES:
        return text
    text = unicodedata.normalize("NFKC", _SEPARATORS.sub("", text).upper())
    if sensitivity == "id_number" and len(text) == 15 and text.isascii() and text.isdigit():
        longer = f"{text[:6]}19{text[6:]}"
        return longer + ric.calc_check_digit(longer + "0")
    return text
