"""How one column's texts become Avro bytes, exact or Unrepresentable: what all databases' types share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from connectors import avrobytes

Convert = Callable[[bytes], bytes]
"""The server's text of a value → Avro bytes."""


class Unrepresentable(Exception):
    """The Avro type cannot hold this value exactly. Never carries the value."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """How one column's values are written: the Avro type of a non-null value, and the converter.

    form: how the same bytes are made of the same texts in compiled code; 0: it calls the converter.
    """

    avro: Any
    convert: Convert
    form: int = 0


def exactly(convert: Convert) -> Convert:
    """Turn every other failure into Unrepresentable, without its text: that quotes the value."""

    def exact(text: bytes) -> bytes:
        try:
            return convert(text)
        except (ValueError, OverflowError):
            raise Unrepresentable from None

    return exact


def integer(text: bytes) -> bytes:
    """Write a whole number as int or long."""
    return avrobytes.long(int(text))


def double(text: bytes) -> bytes:
    """Write a number as a double; neither infinity nor NaN."""
    number = float(text)
    if not math.isfinite(number):
        raise Unrepresentable
    return avrobytes.DOUBLE(number)
