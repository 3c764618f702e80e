from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from monitor.api import gate
from monitor.api.console import BUILT
from tests.unit.monitor.test_api import EmptyClickHouse, get

CONSOLE = BUILT.parent
ASKS = {
    "alerts": "/api/alerts",
    "quality": "/api/quality",
    "report": "/api/report",
    "audit": "/api/decisions",
    "users": "/api/users",
}
"""Page → what it asks for."""
ROOT_FILES = ("index.html", "package-lock.json", "package.json", "tsconfig.json", "vite.config.ts")


def sources_of(console: Path) -> list[Path]:
    return [file for file in (console / "src").rglob("*") if file.is_file()]


def digest_of(console: Path) -> str:
    """Return what vite.config.ts records of the sources it built."""
    files = sorted([*ROOT_FILES, *(str(file.relative_to(console)) for file in sources_of(console))])
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file}\0".encode() + (console / file).read_bytes() + b"\0")
    return digest.hexdigest()


def test_built_files_are_of_the_present_sources() -> None:
    built = (BUILT / "sources.sha256").read_text().strip()

    assert built == digest_of(CONSOLE), "monitor/console changed since it was built: run `make console`"


def test_changed_source_is_seen(tmp_path: Path) -> None:
    shutil.copytree(CONSOLE / "src", tmp_path / "src")
    for file in ROOT_FILES:
        shutil.copy(CONSOLE / file, tmp_path / file)
    same = digest_of(tmp_path)
    with (tmp_path / "src" / "App.vue").open("a") as source:
        source.write("\n")

    assert same == digest_of(CONSOLE)
    assert digest_of(tmp_path) != same


def offered_otherwise(words: str) -> list[str]:
    """Return the pages that the menu offers to other roles than the gate answers."""
    named = dict(re.findall(r"const (\w+) = \[(.*?)\]", words))
    table = words.partition("READERS")[2].partition("\n}")[0]
    wrong = []
    for page, roles in re.findall(r"^  (\w+): (\w+|\[.*?\]),$", table, re.MULTILINE):
        spread = re.sub(r"\.\.\.(\w+)", lambda found: named[found[1]], named.get(roles, roles))
        offered = frozenset(re.findall(r"'(\w+)'", spread))
        if offered != gate.allowed_roles("GET", ASKS[page]):
            wrong.append(page)
    return wrong


def test_menu_offers_what_the_gate_answers() -> None:
    words = (CONSOLE / "src" / "may.ts").read_text()

    assert offered_otherwise(words) == []
    assert offered_otherwise(words.replace("users: ['auditor', ", "users: ['operations', ")) == ["users"]
    assert set(re.findall(r"^  (\w+): ", words, re.MULTILINE)) == ASKS.keys()


def test_both_languages_have_the_same_words_and_places() -> None:
    words = json.loads((CONSOLE / "src" / "words.json").read_text())
    places = {
        language: {word: sorted(re.findall(r"\{(\w+)\}", text)) for word, text in texts.items()}
        for language, texts in words.items()
    }

    assert places["en"] == places["zh"]
    assert all(text.strip() for texts in words.values() for text in texts.values())


def test_every_word_is_used() -> None:
    sources = "".join(file.read_text() for file in sources_of(CONSOLE) if file.name != "words.json")
    words = json.loads((CONSOLE / "src" / "words.json").read_text())["en"]

    assert not [word for word in words if f"'{word}'" not in sources]


@pytest.mark.parametrize("file", ["", "console.js", "console.css"])
def test_page_runs_nothing_from_elsewhere(file: str) -> None:
    answer = get(EmptyClickHouse(), f"/console/{file}")

    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert not re.search(r"(src|href)=\"?(https?:)?//", answer.text)


def test_built_files_stay_small() -> None:
    assert sum(file.stat().st_size for file in BUILT.iterdir()) < 1_500_000
    assert not list(BUILT.glob("*.map"))
