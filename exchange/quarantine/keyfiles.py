"""Stewards' keys as files: <department>.pub for the bus, <department>.key for the steward."""

from __future__ import annotations

import os
import re
from pathlib import Path

from exchange.errors import ConfigError
from exchange.keys import generate_steward_keys


def write_pair(department: str, directory: Path) -> tuple[Path, Path]:
    """Write a new pair and return the paths of its public and its private key (mode 0600).

    Raises: ConfigError when there already is one, the name cannot be a department's, or nothing can be
    written there.
    """
    if re.fullmatch(r"[a-z][a-z0-9_]{0,62}", department) is None:
        msg = f"{department!r} is no department's name: lower-case letters, digits and _, a letter first"
        raise ConfigError(msg)
    public, private = directory / f"{department}.pub", directory / f"{department}.key"
    for file in (public, private):
        if file.exists():
            msg = f"{file} exists; what was sealed for it could not be opened any more. Move it away first."
            raise ConfigError(msg)
    private_text, public_text = generate_steward_keys()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_new(private, private_text, 0o600)
        _write_new(public, public_text, 0o644)
    except OSError as error:
        msg = f"{directory}: the keys cannot be written ({error.strerror})"
        raise ConfigError(msg) from None
    return public, private


def _write_new(file: Path, text: str, mode: int) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as out:
        out.write(text + "\n")
