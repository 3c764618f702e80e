"""Passwords, of which the store has argon2id hashes alone.

Source: RFC 9106, second recommended option (64 MiB, 3 passes, 4 lanes), which argon2-cffi takes by default.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from exchange.errors import LoginError

SHORTEST: Final = 12
LONGEST: Final = 1024
_AT_ONCE: Final = threading.Semaphore(2)
"""Each takes 64 MiB: a flood of logins must not take the machine's memory."""


def expect_fit(password: str) -> None:
    """Raise LoginError when a password is too short to keep, or longer than anybody types."""
    if not SHORTEST <= len(password) <= LONGEST:
        msg = f"the password has {len(password)} characters; wanted are {SHORTEST} to {LONGEST}"
        raise LoginError(msg)


def hashed(password: str) -> str:
    """Return what is kept of a password. Raises: LoginError when it is too short or too long."""
    expect_fit(password)
    with _AT_ONCE:
        return PasswordHasher().hash(password)


def is_right(kept: str, password: str) -> bool:
    """Return whether a password is the one; takes as long where none is kept."""
    with _AT_ONCE:
        try:
            return PasswordHasher().verify(kept or _nobodys(), password[:LONGEST]) and bool(kept)
        except (VerificationError, InvalidHashError):
            return False


@cache
def _nobodys() -> str:
    return PasswordHasher().hash("nobody has this password")
