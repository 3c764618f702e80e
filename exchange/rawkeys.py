"""The secret EXCHANGE_RAW_KEYS: keys under which raw records are sealed, made, rotated and handed out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from exchange.boxes import RAW_KEYS, BoxOpener, BoxSealer, RawKeys, first_keys
from exchange.errors import ConfigError
from exchange.plan import raw_topic
from exchange.settings import Secrets
from exchange.topology.model import Topology

_BY_HAND: Final = (
    f"{RAW_KEYS} is given by the environment, where no command can change it: change it where it is kept, as "
    "`<version>:<64 hex digits>` with blanks between"
)


def read(secrets: Secrets) -> RawKeys | None:
    """Return the keys there are now, None where there are none.

    Raises: ConfigError when they cannot be used.
    """
    found = secrets.find(RAW_KEYS)
    return None if found is None else RawKeys.parse(found.get_secret_value())


def sealer(secrets: Secrets, topics: Sequence[str]) -> BoxSealer | None:
    """Return what one writer seals these topics with, None where there are none.

    Raises: ConfigError when there is no key, or none that can be used.
    """
    if not topics:
        return None
    keys = read(secrets)
    if keys is None:
        raise ConfigError(lost(topics[0]))
    return BoxSealer(keys)


def sealer_of(secrets: Secrets, topology: Topology, resource: str) -> BoxSealer | None:
    """Return what seals a resource's raw records, None where they are not sealed. Raises: as `sealer`."""
    one = topology.resources[resource]
    return sealer(secrets, [raw_topic(one.system, one.table)] if one.sealed else [])


def opener(secrets: Secrets) -> BoxOpener:
    """Return what opens sealed records with the keys of this installation, those of later too.

    Raises: ConfigError when there are keys that cannot be used.
    """
    return BoxOpener(lambda: read(secrets))


def lost(topic: str) -> str:
    """Return what to say where the keys are missing of a topic that is sealed."""
    return (
        f"{topic} is sealed, and secret {RAW_KEYS} is missing here: copy <home>/secrets/{RAW_KEYS} from "
        "where `exchange apply` made it, or set the environment variable"
    )


def rotate(secrets: Secrets) -> RawKeys:
    """Add a newer key, or make the first one; return all of them.

    Raises: ConfigError when the keys are not in a file, or cannot be used or written.
    """
    keys = _in_a_file(secrets)
    newer = first_keys() if keys is None else keys.with_next()
    secrets.put(RAW_KEYS, newer.text())
    return newer


def forget(secrets: Secrets, version: int) -> RawKeys:
    """Take a key away for good; return those that are left.

    Raises: ConfigError when there is no such version, it is the one that seals, or they are not in a file.
    """
    keys = _in_a_file(secrets)
    if keys is None or version not in keys.by_version:
        there = "none" if keys is None else ", ".join(map(str, sorted(keys.by_version)))
        msg = f"{RAW_KEYS}: there is no version {version} (there are: {there})"
        raise ConfigError(msg)
    if version == keys.newest:
        msg = f"{RAW_KEYS}: version {version} is the one that seals; first `exchange keys rotate`"
        raise ConfigError(msg)
    fewer = keys.without(version)
    secrets.put(RAW_KEYS, fewer.text())
    return fewer


def _in_a_file(secrets: Secrets) -> RawKeys | None:
    if os.environ.get(RAW_KEYS):
        raise ConfigError(_BY_HAND)
    return read(secrets)
