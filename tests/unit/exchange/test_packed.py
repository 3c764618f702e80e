"""What a ZIP file from outside unpacks to is bounded, whatever it says of itself."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from typing import Final

import pytest

from exchange.files.packed import PackedError, unpacked

MIB: Final = 1_048_576


def packed(method: int, *parts: tuple[str, bytes]) -> io.BytesIO:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, content in parts:
            archive.writestr(name, content)
    return made


def test_parts_up_to_the_bound_are_unpacked() -> None:
    parts = [("a", bytes(MIB)), ("b", bytes(MIB))]

    assert list(unpacked(packed(zipfile.ZIP_DEFLATED, *parts), "a ZIP", 2 * MIB)) == parts


def test_one_byte_more_than_the_bound_is_refused_and_no_more_of_it_inflated() -> None:
    bomb = packed(zipfile.ZIP_DEFLATED, ("a", bytes(MIB)), ("b", bytes(200 * MIB)))
    tracemalloc.start()
    try:
        with pytest.raises(PackedError, match="unpacks to more than 2 MiB"):
            list(unpacked(bomb, "a ZIP", 2 * MIB))
        most_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert most_bytes < 20 * MIB


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_method_that_python_inflates_without_a_bound_is_refused(method: int) -> None:
    with pytest.raises(PackedError, match="not a ZIP, or damaged"):
        list(unpacked(packed(method, ("a", b"x")), "a ZIP", MIB))


def test_a_name_that_is_there_twice_is_refused() -> None:
    twice = packed(zipfile.ZIP_STORED, ("a", b"x"), ("b", b"x"))
    content = twice.getvalue().replace(b"b", b"a")

    with pytest.raises(PackedError, match="not a ZIP, or damaged"):
        list(unpacked(io.BytesIO(content), "a ZIP", MIB))
