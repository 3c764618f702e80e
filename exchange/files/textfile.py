"""Read a text file that people write, with one clear error where it cannot be read as UTF-8."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from exchange.errors import ConfigError
from exchange.files.problem import Problem, Text

MAX_BYTES: Final = 4 * 1024 * 1024
BYTE_ORDER_MARK: Final = "\ufeff"


def read(path: Path, kind: str) -> str:
    """Return the text of a file, a byte order mark included; `kind` is what it should be: YAML, JSON.

    Raises: ConfigError when there is no such file, or it is too large or not UTF-8.
    """
    return decoded(_read_bytes(path, kind), str(path))


def decoded(content: bytes, name: str) -> str:
    """Return the text of a file's content; `name` is what the problem calls it.

    Raises: ConfigError when it is not UTF-8.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        text, start = Text(name, content.decode("utf-8", "replace")), error.start
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        problem = Problem(name, 1, 1, "saved as UTF-16; save it as UTF-8")
        raise ConfigError(str(problem), [problem])
    message = f"byte 0x{content[start]:02x} is not UTF-8; save the file as UTF-8 (not GBK or Latin-1)"
    problem = text.at(len(content[:start].decode("utf-8")), message)
    raise ConfigError(text.report([problem]), [problem])


def _read_bytes(path: Path, kind: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        message = "there is no such file"
    except IsADirectoryError:
        message = f"is a directory; a {kind} file is wanted"
    except (OSError, ValueError) as error:
        message = f"cannot be read ({getattr(error, 'strerror', None) or type(error).__name__})"
    else:
        if len(content) <= MAX_BYTES:
            return content
        message = f"larger than {MAX_BYTES // 1024 // 1024} MiB"
    problem = Problem(str(path), 0, 0, message)
    raise ConfigError(str(problem), [problem])
