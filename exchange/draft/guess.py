"""Guesses how sensitive a column is, from its name, its comment, and the shape of its values.

A guess is for a person to check, so it errs on the strict side: of several the highest class stands, and no
column is graded below internal. Values are looked at and forgotten: what is kept is how many have a shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stdnum import luhn

from exchange.draft.words import CLASS_OF, HAN, SURNAMES, WORDS
from exchange.rules import is_credit_code, is_email, is_id_number, is_mobile

INTERNAL: Final = 2
"""Class of a column without any sign of sensitivity: shared between departments, not public."""
UNKNOWN: Final = 3
"""Class of a text column that could not be looked at, or may hold anything."""

_LONG_TEXT: Final = 40
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_ID_INSIDE: Final = re.compile(r"(?<![0-9])[1-9][0-9]{16}[0-9Xx](?![0-9])")
_OLD_ID: Final = re.compile(r"[1-8][0-9]{5}[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])[0-9]{3}")
_MOBILE_INSIDE: Final = re.compile(r"(?<![0-9])1[3-9][0-9]{9}(?![0-9])")
_CARD: Final = re.compile(r"[3-6][0-9]{14,18}")
_ADDRESS: Final = re.compile(r"[省市区县旗州]|[路街道巷弄村镇乡]|[0-9０-９]+[号室栋幢楼]")
_NAME: Final = re.compile(rf"(?:{'|'.join(SURNAMES)})[{HAN}]{{1,3}}")


@dataclass(frozen=True, slots=True)
class Guess:
    """A guess with its reason, in words that hold no value. sensitivity: as contracts name it, or none."""

    classification: int
    sensitivity: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Shapes:
    """How many of the sampled values, nulls apart, have which shape."""

    values: int
    counts: Mapping[str, int]
    longest: int = 0

    @property
    def all_of(self) -> str:
        """The one shape that every value has; empty when there is none."""
        return next((name for name, count in self.counts.items() if count == self.values > 0), "")


def _holds_id(text: str) -> bool:
    return any(is_id_number(found.group().upper()) for found in _ID_INSIDE.finditer(text))


def _is_address(text: str) -> bool:
    return len(text) >= 6 and len(_ADDRESS.findall(text)) >= 2


_SHAPES: Final[dict[str, Callable[[str], bool]]] = {
    "id_number": lambda text: is_id_number(text.upper()) or _OLD_ID.fullmatch(text) is not None,
    "id_inside": _holds_id,
    "mobile": is_mobile,
    "mobile_inside": lambda text: _MOBILE_INSIDE.search(text) is not None,
    "email": is_email,
    "credit_code": lambda text: is_credit_code(text) and not is_id_number(text),
    "bank_account": lambda text: _CARD.fullmatch(text) is not None and luhn.is_valid(text),
    "person_name": lambda text: _NAME.fullmatch(text) is not None,
    "address": _is_address,
}

_SIGNS: Final[tuple[tuple[str, float, str, str], ...]] = (
    ("id_number", 0.0, "id_number", "have the form and check letter of an identity number"),
    ("id_inside", 0.0, "free_text", "hold an identity number among other text"),
    ("mobile", 0.0, "mobile", "have the form of a mobile number"),
    ("mobile_inside", 0.0, "free_text", "hold a mobile number among other text"),
    ("email", 0.0, "email", "have the form of an e-mail address"),
    ("credit_code", 0.3, "credit_code", "have the form and check letter of a credit code"),
    ("bank_account", 0.3, "bank_account", "have the length and check digit (Luhn) of a bank card number"),
    ("person_name", 0.3, "person_name", "look like a Chinese name"),
    ("address", 0.2, "address", "look like an address"),
)
"""(shape, share of the values above which it counts, sensitivity, words), most telling first.

One identity number is enough: it does not come about by chance. Every tenth number passes Luhn by chance.
"""


_RULES: Final = {
    "id_number": "cn_id_number",
    "mobile": "cn_mobile",
    "email": "email",
    "credit_code": "cn_credit_code",
}


def shapes_of(values: Iterable[str]) -> Shapes:
    """Count the shapes of values."""
    counts = dict.fromkeys(_SHAPES, 0)
    total = longest = 0
    for value in values:
        text = value.strip()
        total += 1
        longest = max(longest, len(text))
        for name, has in _SHAPES.items():
            counts[name] += has(text)
    return Shapes(total, counts, longest)


def guess(column: str, comment: str, kind: str, shapes: Shapes) -> Guess:
    """Return the strictest guess about a column. kind: of its Avro type, as contracts name it."""
    found = [*_by_values(shapes), *_by_words("name", column), *_by_words("comment", comment)]
    if not found:
        return _without_signs(kind, shapes)
    strictest = max(found, key=lambda one: one.classification)
    reasons = dict.fromkeys(one.reason for one in found)
    return Guess(strictest.classification, strictest.sensitivity, "; ".join(reasons))


def _by_values(shapes: Shapes) -> Iterator[Guess]:
    for shape, share, sensitivity, words in _SIGNS:
        count = shapes.counts.get(shape, 0)
        if shape.endswith("_inside"):
            count -= shapes.counts.get(shape.replace("_inside", ""), 0) if shape == "mobile_inside" else 0
            count -= shapes.counts.get("id_number", 0) if shape == "id_inside" else 0
        if count > share * shapes.values:
            classification = 4 if shape == "id_inside" else CLASS_OF[sensitivity]
            yield Guess(classification, sensitivity, f"{count} of {shapes.values} sampled values {words}")


def _by_words(where: str, text: str) -> Iterator[Guess]:
    """Words of letters must match whole, as pinyin is short; Chinese ones anywhere."""
    words = [word.lower() for word in _WORD.findall(text)]
    runs = {"".join(words[at:to]) for at in range(len(words)) for to in range(at + 1, len(words) + 1)}
    for sensitivity, known in WORDS.items():
        hits = [word for word in known if word in (runs if word.isascii() else text)]
        if hits:
            told = f"the column's {where} says {max(hits, key=len)!r}"
            yield Guess(CLASS_OF[sensitivity], sensitivity, told)


def _without_signs(kind: str, shapes: Shapes) -> Guess:
    if kind == "bytes":
        return Guess(UNKNOWN, None, "bytes may hold anything")
    if kind not in ("string", "array"):
        return Guess(INTERNAL, None, "no sign of sensitivity in name, comment and type")
    if shapes.values == 0:
        return Guess(UNKNOWN, None, "there were no values to look at")
    if shapes.longest > _LONG_TEXT:
        return Guess(UNKNOWN, "free_text", "its texts are long enough to hold anything")
    return Guess(
        INTERNAL, None, f"no sign of sensitivity in name, comment and {shapes.values} sampled values"
    )


def rules_for(shapes: Shapes, least: int = 20) -> Sequence[str]:
    """Return the rules that every sampled value keeps; none for fewer values than `least`."""
    rules = {
        "id_number": "cn_id_number",
        "mobile": "cn_mobile",
        "email": "email",
        "credit_code": "cn_credit_code",
    }
    found = rules.get(shapes.all_of) if shapes.values >= least else None
    return [found] if found else []
