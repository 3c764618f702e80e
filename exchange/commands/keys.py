"""`exchange keys`: key pairs of source stewards."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer


def create(
    department: Annotated[
        str, typer.Argument(help="Department whose steward the pair is for, as topology.yaml names it.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Directory to write to; default <home>/keys.")
    ] = None,
) -> None:
    """Make a key pair for a department's steward: <department>.pub for the bus, <department>.key for them.

    Refused records are sealed for the public key, which `exchange apply` reads from <home>/keys. The private
    key opens them; in production it is made by the steward and never comes near the bus. An existing pair is
    never overwritten: what was sealed for it could not be opened any more.

    A department that topology.yaml does not declare, where there is that file, is warned of.

    Examples:
      exchange keys create public_security
      exchange keys create public_security --out /media/usb
    """
    from exchange.quarantine.keyfiles import write_pair
    from exchange.settings import Settings
    from exchange.suggest import hint, listing

    settings = Settings()
    directory = out if out is not None else settings.root / "keys"
    public, private = write_pair(department, directory)
    sys.stdout.write(f"{public}\n{private}\n")
    declared = _departments(settings.topology)
    if declared is not None and department not in declared:
        known = f"not among the departments of {settings.topology} ({listing(declared)})"
        sys.stderr.write(f"warning: '{department}' is {known}.{hint(department, declared)}\n")
    sys.stderr.write(f"Give {public.name} to the bus (<home>/keys); keep {private.name} with the steward.\n")


def _departments(path: Path) -> frozenset[str] | None:
    """Return the departments that a topology file declares, or None where none can be read."""
    from exchange.errors import ConfigError
    from exchange.files import yaml_source

    try:
        data = yaml_source.read(path).data
    except ConfigError:
        return None
    declared = data.get("departments") if isinstance(data, dict) else None
    return frozenset(declared) if isinstance(declared, dict) else None


def list_keys(
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array.")] = False,
) -> None:
    """List the stewards' keys that this installation holds, with the fingerprint of each public key.

    Examples:
      exchange keys list
      exchange keys list --json
    """
    from exchange.settings import Settings

    directory = Settings().root / "keys"
    keys = [_described(file) for file in sorted(directory.glob("*.pub"))]
    if as_json:
        sys.stdout.write(json.dumps(keys, ensure_ascii=False) + "\n")
        return
    for key in keys:
        place = "private key is here too" if key["private_here"] else "private key is elsewhere"
        sys.stdout.write(f"{key['department']}  sha256 {key['sha256']}  {place}\n")
    if not keys:
        sys.stderr.write(f"no keys in {directory}; make a pair with `exchange keys create DEPARTMENT`\n")


def _described(file: Path) -> dict[str, Any]:
    from hashlib import sha256

    from exchange.keys import read_key

    key = read_key(file.read_text(), str(file))
    return {
        "department": file.stem,
        "file": str(file),
        "sha256": sha256(key).hexdigest()[:16],
        "private_here": file.with_suffix(".key").exists(),
    }
