"""`exchange keys rotate`, `forget`: the keys under which raw records are sealed on Kafka's disks."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from exchange.boxes import RawKeys

Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


def rotate(as_json: Json = False) -> None:
    """Add a key to <home>/secrets/EXCHANGE_RAW_KEYS, which seals raw records from now on; no key is shown.

    Workers take it from the file when they first need it. Each connector seals with the key that was newest
    when it started: give the file to the machines of all workers, then start the connectors anew.

    Examples:
      exchange keys rotate
      exchange keys rotate --json
    """
    from exchange import rawkeys
    from exchange.settings import Settings

    keys = rawkeys.rotate(Settings().secrets)
    _answer(keys, as_json)
    if not as_json:
        sys.stderr.write("start the connectors of sealed resources anew: until then they seal as before\n")


def forget(
    version: Annotated[int, typer.Argument(help="Version of the key.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Take an older key away for good: what was sealed under it can never be read again, by anybody.

    Raw topics keep seven days; after as many since the connectors started anew, nothing needs it any more.

    Examples:
      exchange keys forget 1
      exchange keys forget 1 --yes --json
    """
    from exchange import rawkeys
    from exchange.settings import Settings

    if not yes:
        typer.confirm(f"Forget version {version} and what was sealed under it?", abort=True, err=True)
    _answer(rawkeys.forget(Settings().secrets, version), as_json)


def _answer(keys: RawKeys, as_json: bool) -> None:
    versions = sorted(keys.by_version)
    if as_json:
        sys.stdout.write(json.dumps({"versions": versions, "seals": keys.newest}) + "\n")
        return
    sys.stdout.write(f"EXCHANGE_RAW_KEYS: versions {', '.join(map(str, versions))}; {keys.newest} seals\n")
