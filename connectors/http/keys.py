"""API keys of systems that push and subscribers that pull: two at most are valid for one, to change over.

The secret that topology.yaml names for it holds `sha256:<64 hex digits>` of each, newest first; the keys
themselves are with the department alone. A key has 256 random bits: its hash needs no salt, and no slow hash.
"""

from __future__ import annotations

import hmac
import re
import secrets as random_secrets
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from exchange.errors import ConfigError
from exchange.settings import Secrets

_KEPT: Final = 2
_HASH: Final = re.compile(r"sha256:[0-9a-f]{64}")


class ApiKeys:
    """Tells whose key a request carries. Secrets are read anew each time: a change holds at once."""

    def __init__(self, secrets: Secrets, keys_env: Mapping[str, str]) -> None:
        """keys_env: system or subscriber → name of its secret."""
        self._secrets = secrets
        self._keys_env = keys_env

    def owner(self, key: str) -> str | None:
        """Return whose key it is, None when it is nobody's. Takes as long for any key.

        Raises: ConfigError when a secret is not as it should be.
        """
        seen = hashed(key)
        owners = []
        for owner, name in self._keys_env.items():
            for known in read_hashes(self._secrets, name):
                if hmac.compare_digest(known, seen):
                    owners.append(owner)
        return owners[0] if owners else None


def hashed(key: str) -> str:
    """Return what is kept of a key."""
    return "sha256:" + sha256(key.encode()).hexdigest()


def read_hashes(secrets: Secrets, name: str) -> list[str]:
    """Return the hashes of the valid keys, newest first; none where there is no such secret.

    Raises: ConfigError when the secret holds something else.
    """
    secret = secrets.find(name)
    hashes = [] if secret is None else secret.get_secret_value().split()
    if len(hashes) > _KEPT or not all(_HASH.fullmatch(one) for one in hashes):
        msg = (
            f"secret {name}: wanted are one or two hashes of API keys, sha256:<64 hex digits> each, with a "
            "space between; `exchange push-key` and `exchange pull-key` make them"
        )
        raise ConfigError(msg)
    return hashes


def make_key(secrets: Secrets, name: str, *, only: bool) -> str:
    """Return a new key, whose hash is kept from now on beside that of the newest one before, or alone.

    Raises: ConfigError when the secret cannot be read or written.
    """
    key = random_secrets.token_urlsafe(32)
    before = [] if only else read_hashes(secrets, name)
    put_in_force(secrets, name, [hashed(key), *before][:_KEPT])
    return key


def revoke_keys(secrets: Secrets, name: str) -> None:
    """Make every key invalid: the one hash that is kept is that of a key which nobody has.

    Raises: ConfigError when the secret cannot be written.
    """
    put_in_force(secrets, name, [hashed(random_secrets.token_urlsafe(32))])


def put_in_force(secrets: Secrets, name: str, words: list[str]) -> None:
    """Keep words as a secret, with spaces between.

    Raises: ConfigError when it cannot be written, or the environment has another one.
    """
    secrets.put(name, " ".join(words))
    if secrets.get(name).get_secret_value().split() != words:
        msg = (
            f"secret {name}: the environment variable {name} goes before the file that was written just now, "
            "so nothing has changed; take the variable away, here and where the bus runs"
        )
        raise ConfigError(msg)
