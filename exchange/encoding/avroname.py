"""The name that a source's column has in Avro."""

from __future__ import annotations

import re
from typing import Final

_AVRO_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def avro_name(name: str) -> str:
    """Return a name that Avro allows; other characters become `_u` and their code.

    Source: Debezium documentation, `schema.name.adjustment.mode`, avro_unicode.
    """
    if _AVRO_NAME.fullmatch(name):
        return name
    escaped = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter == "_") else f"_u{ord(letter):04x}"
        for letter in name
    )
    return escaped if not escaped[0].isdigit() else f"_{escaped}"
