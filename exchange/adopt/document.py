"""The files of an adopted cluster."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Final

from ruamel.yaml import YAML

from exchange.adopt.found import Draft
from exchange.errors import ConfigError

_HEAD: Final = """\
# Written by `exchange adopt` from a cluster that runs. What a cluster does not tell is to be written here:
# departments and labels, what each resource is called in the catalogue and how it may be shared, and of each
# grant its purpose, its legal basis and its end.
"""


def write_files(folder: Path, draft: Draft) -> list[Path]:
    """Write topology.yaml and the contracts below avro/; return what was written.

    Raises: ConfigError when one of them is there already, or the folder cannot be written to.
    """
    texts = {folder / "topology.yaml": topology_text(draft)}
    for name, document in sorted(draft.contracts.items()):
        domain, _, resource = name.partition(".")
        text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
        texts[folder / "avro" / domain / f"{resource}.avsc"] = text
    if there := [str(path) for path in texts if path.exists()]:
        msg = f"{there[0]} exists; adopt never writes over anything, name an empty folder"
        raise ConfigError(msg)
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        (folder / "avro").mkdir(exist_ok=True)
    except OSError as error:
        msg = f"{folder}: cannot be written to ({error.strerror})"
        raise ConfigError(msg) from None
    return list(texts)


def topology_text(draft: Draft) -> str:
    """Return topology.yaml; what could not be declared stands above it."""
    yaml = YAML()
    yaml.width = 110
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    sections = ("departments", "systems", "resources", "views", "subscribers", "grants")
    alerts = {"alerts": draft.alerts} if draft.alerts else {}
    yaml.dump({name: getattr(draft, name) for name in sections} | alerts, out)
    outside = "".join(f"#   {line}\n" for line in draft.outside)
    head = _HEAD + (f"#\n# Left outside, as it is:\n{outside}" if outside else "")
    return f"{head}\n{out.getvalue()}"
