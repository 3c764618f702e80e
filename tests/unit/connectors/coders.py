"""The row coder as installed, and its source with all that it is compiled with as plain Python."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

NAME = "connectors.sources.postgres.rowcoder"
_WITH_IT = (
    *(f"exchange.native.{name}" for name in ("span", "number", "text", "row")),
    "connectors.sources.postgres.pen",
    NAME,
)
"""In the order in which they need each other."""


def both() -> list[ModuleType]:
    """Return the coder as installed, and a second one from its source, uncompiled."""
    return [importlib.import_module(NAME), _uncompiled()]


def _uncompiled() -> ModuleType:
    with patch.dict(sys.modules):
        for name in _WITH_IT:
            sys.modules[name] = _from_source(name)
        return sys.modules[NAME]


def _from_source(name: str) -> ModuleType:
    parent = Path(importlib.import_module(name.rpartition(".")[0]).__path__[0])
    spec = importlib.util.spec_from_file_location(name, parent / f"{name.rpartition('.')[2]}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
