"""The numbers that flat programs are made of: flat.py writes them, exchange/kernel.py walks them.

Tables are rows of 64-bit numbers; a name in capitals that ends in WIDTH is how many make a row.
"""

from __future__ import annotations

from typing import Final

# Kinds of schema nodes. NODE_WIDTH: kind, a, b.
NODE_WIDTH: Final = 3
NULL, BOOLEAN, INT, LONG, FLOAT, DOUBLE, BYTES, STRING = range(8)
FIXED, ENUM, NULLABLE, UNION, ARRAY, MAP, RECORD = range(8, 15)
"""a: size of a fixed, symbols of an enum, the child's node; union and record: first child in `kids`, b: how
many."""

# Members of the envelope and of its source. STEP_WIDTH: role, form, node.
STEP_WIDTH: Final = 3
SKIP, BEFORE, AFTER, SOURCE, OPERATION, CAPTURED_MS, SOURCE_MS = range(7)
PLAIN, NULL_FIRST, NULL_LAST = range(3)
"""Forms of a value: never null, ["null", T], [T, "null"]. Columns are rows of (form, node)."""
COLUMN_WIDTH: Final = 2

# Fields of the contract.
FIELD_WIDTH: Final = 12
(
    COLUMN,
    KEY_COLUMN,
    KIND,
    REQUIRED,
    LOW,
    HIGH,
    LENGTH_LOW,
    LENGTH_HIGH,
    TESTS,
    CODES,
    PATTERN,
    PYTHON,
) = range(FIELD_WIDTH)
NUMBER, TEXT, BINARY, SYMBOL, DECIMAL, REAL, REAL_32, OBJECT = range(8)
"""Kinds of fields: what the kernel judges itself; an OBJECT is judged and masked by Python."""
NOT_BLANK, LENGTH, RANGE, CODE, SHAPE, MOBILE, ID_NUMBER, CREDIT_CODE, NOT_FUTURE, CALL = (
    1 << bit for bit in range(10)
)
"""Bits of TESTS. NOT_FUTURE: HIGH holds what a day is in the field's unit is in LENGTH_LOW."""

# What a view writes for a field. OP_WIDTH: code, field, a, b, nullable.
OP_WIDTH: Final = 5
COPY, COPY_SYMBOL, CONSTANT, EMPTY, PARTIAL, PREFIX, CALENDAR, BUCKET, CALLED, OBJECT_PART = range(10)

# Views.
VIEW_WIDTH: Final = 13
(
    VALUE_PREFIX,
    KEY_PREFIX,
    NAME_AT,
    NAME_SIZE,
    OPS,
    OP_COUNT,
    KEY_OPS,
    KEY_OP_COUNT,
    CONDITIONS,
    CONDITION_COUNT,
    HIDDEN,
    APPROVED,
    FIXED_BYTES,
) = range(VIEW_WIDTH)

# Conditions of a view's row scope. CONDITION_WIDTH: field, table of codes or -1, first prefix, how many.
CONDITION_WIDTH: Final = 4
JUDGED_BY_OBJECT: Final = -2
"""In place of the table: the condition looks into an OBJECT, whose slot follows."""

WATCHED_WIDTH: Final = 2
"""Sensitive fields: field, slot of the OBJECT's texts or -1."""
TABLE_WIDTH: Final = 2
"""Tables of codes: where their slots begin, how many less one (a power of two)."""
SLOT_WIDTH: Final = 3
"""Slots of a table: place in the pool, size or -1 for an empty one, number of the code."""
SHAPE_WIDTH: Final = 4
"""Steps of a shape: set of ASCII characters as two 64-bit words, least and most of them."""
