"""Both forms of a module that is compiled where it can be: as installed, and its source as plain Python."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def both(name: str) -> list[ModuleType]:
    """Return the module as installed, and a second one from its source, uncompiled."""
    installed = importlib.import_module(name)
    return [installed, plain(name)]


def plain(name: str) -> ModuleType:
    """Return the module's source run as plain Python, under another name."""
    parent = Path(importlib.import_module(name.rpartition(".")[0]).__path__[0])
    alias = f"{name}_uncompiled"
    if alias not in sys.modules:
        spec = importlib.util.spec_from_file_location(alias, parent / f"{name.rpartition('.')[2]}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[alias] = module
        spec.loader.exec_module(module)
    return sys.modules[alias]
