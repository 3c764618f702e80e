"""Both forms of a module that is compiled where it can be: as installed, and its source as plain Python."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

CALLED = tuple(f"exchange.native.{name}" for name in ("span", "number", "text", "row", "mask", "gate"))
"""Modules that other compiled ones call without Python in between, each after those that it calls itself."""


def both(name: str) -> list[ModuleType]:
    """Return the module as installed, and a second one from its source, uncompiled."""
    installed = importlib.import_module(name)
    return [installed, plain(name)]


def is_compiled(module: ModuleType) -> bool:
    return not str(module.__file__).endswith(".py")


def plain(name: str) -> ModuleType:
    """Return the module's source run as plain Python, under another name.

    It imports plain forms of the modules that it calls: compiled ones have nothing that Python can import.
    """
    if _alias(name) not in sys.modules:
        callees = CALLED[: CALLED.index(name)] if name in CALLED else CALLED
        for callee in callees:
            plain(callee)
        kept = {callee: sys.modules.get(callee) for callee in callees}
        sys.modules.update({callee: sys.modules[_alias(callee)] for callee in callees})
        try:
            _load(name)
        finally:
            for callee, module in kept.items():
                if module is None:
                    del sys.modules[callee]
                else:
                    sys.modules[callee] = module
    return sys.modules[_alias(name)]


def _alias(name: str) -> str:
    return f"{name}_uncompiled"


def _load(name: str) -> None:
    parent = Path(importlib.import_module(name.rpartition(".")[0]).__path__[0])
    spec = importlib.util.spec_from_file_location(_alias(name), parent / f"{name.rpartition('.')[2]}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_alias(name)] = module
    spec.loader.exec_module(module)
