"""A view that a request proposes, read from a file and written as lines of a topology."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exchange.errors import ConfigError


def proposed_in(file: Path | None) -> dict[str, Any] | None:
    """Return what stands in a file, for the desk to judge. Raises: ConfigError when it is no YAML mapping."""
    from exchange.files import yaml_source

    if file is None:
        return None
    source = yaml_source.read(file)
    problems = list(source.problems)
    if not isinstance(source.data, dict):
        problems.append(source.at((), "a mapping with fields, rows, … is wanted, as of one view"))
    if problems:
        raise ConfigError(source.report(problems), problems)
    return dict(source.data)


def as_yaml(name: str, proposed: Mapping[str, Any]) -> str:
    """Return a view as lines to be put under `views:` of a topology."""
    from exchange.governance.proposal import as_declared
    from exchange.view import ViewSpec

    lines = [f"  {name}:"]
    for key, value in as_declared(ViewSpec.model_validate(proposed)).items():
        if key == "fields":
            lines.append("    fields:")
            lines += [f"      {path}: {_flow(mask)}" for path, mask in value.items()]
        else:
            lines.append(f"    {key}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def _flow(value: object) -> str:
    """Return a value on one line; what is JSON is YAML too."""
    return json.dumps(value, ensure_ascii=False)
