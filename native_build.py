"""Compiles what is faster compiled: `python native_build.py` in a checkout, a hook where a wheel is built.

What is compiled says so in its first line, which begins with `# cython:`.
Nothing here can fail an installation. Modules in Cython's pure Python mode (.py) call each other without
Python in between: all of them are compiled, or none, and then the same sources run as they stand. What is
compiled only (.pyx) has a slower way beside it. This says which it is.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent
PACKAGES: Final = ("exchange", "connectors", "streams")
_MARK: Final = b"# cython:"


class _NotCompiledError(Exception):
    """Says why."""


def compile_in_place() -> list[Path]:
    """Compile what is marked, beside itself and as many at once as there are cores; return what was made."""
    marked = sources()
    for source in marked:
        for old in (ROOT / source).parent.glob(f"{source.stem}.*.so"):
            old.unlink()
    pure = [source for source in marked if source.suffix == ".py"]
    alone = [[source] for source in marked if source.suffix != ".py"]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        begun = {source: pool.submit(_compile_apart, source) for source in marked}
        return [made for group in (pure, *alone) for made in _all_or_none({one: begun[one] for one in group})]


def _all_or_none(begun: Mapping[Path, Future[Path]]) -> list[Path]:
    """Return what became of these; where one fails, nothing of them is left."""
    wait(begun.values())
    failed = {source: error for source, one in begun.items() if (error := one.exception()) is not None}
    made = [one.result() for source, one in begun.items() if source not in failed]
    if not failed:
        return made
    source, error = next(iter(failed.items()))
    others = f" and {len(begun) - 1} beside it" if begun.keys() - {source} else ""
    _say(f"  {source}{others}: not compiled ({error}), so the slower way is used")
    for built in made:
        built.unlink()
    return []


def _compile_apart(source: Path) -> Path:
    """Compile in a process of its own, for compilers change directories. Raises: _NotCompiledError."""
    began = time.monotonic()
    command = [sys.executable, __file__, str(source)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        told = run.stderr.strip().splitlines()
        raise _NotCompiledError(told[-1] if told else f"the compiler ended with {run.returncode}")
    _say(f"  {source}: compiled in {time.monotonic() - began:.0f} s")
    return Path(run.stdout)


def _compile_one(source: Path) -> None:
    """Compile, and print what was made; whatever is missing, the way without it is there."""
    try:
        made = _compile(ROOT / source)
    except (Exception, SystemExit) as error:
        sys.exit(_reason(error))
    sys.stdout.write(str(made))


def sources() -> list[Path]:
    """Return what is to be compiled, relative to the checkout."""
    modules = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py*") if path.is_file()]
    marked = [path for path in modules if path.suffix in (".py", ".pyx") and _first(path).startswith(_MARK)]
    return sorted(path.relative_to(ROOT) for path in marked)


def _first(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(_MARK))


def _compile(source: Path) -> Path:
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    name = ".".join(source.relative_to(ROOT).with_suffix("").parts)
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        extension = Extension(name, [str(source.relative_to(ROOT))], extra_compile_args=["-O3", "-g0"])
        with contextlib.chdir(ROOT):
            (made,) = cythonize([extension], build_dir=scratch, quiet=True, language_level=3)
            command = build_ext(Distribution({"ext_modules": [made]}))
            command.build_lib, command.build_temp = scratch, scratch
            command.ensure_finalized()
            command.run()
        built = next(Path(scratch).rglob(f"{source.stem}.*.so"))
        target = source.with_name(built.name)
        target.write_bytes(built.read_bytes())
    return target


def _reason(error: BaseException) -> str:
    if isinstance(error, ImportError):
        return f"{error.name} is not installed"
    told = str(error).strip().splitlines()
    return textwrap.shorten(told[0], 100, placeholder=" …") if told else type(error).__name__


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script, where hatchling need not be
    BuildHookInterface = object  # type: ignore[misc,assignment]


class NativeBuildHook(BuildHookInterface):  # type: ignore[misc,type-arg]
    """Puts what was compiled into a wheel, which is then one for this platform; else it is a pure one."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile for a wheel; a checkout installed in place is compiled by `make setup`."""
        if version != "standard":
            return
        made = compile_in_place()
        build_data["force_include"].update({str(path): str(path.relative_to(ROOT)) for path in made})
        if made:
            build_data["pure_python"] = False
            build_data["infer_tag"] = True


if __name__ == "__main__":
    if sys.argv[1:]:
        _compile_one(Path(sys.argv[1]))
    else:
        compile_in_place()
