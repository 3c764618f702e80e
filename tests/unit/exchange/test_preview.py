from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exchange import preview as previews
from exchange.contract import Contract
from exchange.example import example_of
from exchange.files.contracts import load_contracts
from exchange.masking import Clear
from exchange.preview import Preview, preview, proposed
from exchange.topology.file import load
from exchange.view import ViewSpec

ROOT = Path(__file__).parents[3]
COMMITTED_MS = 1_767_225_600_000
CONTRACTS = load_contracts(ROOT / "avro")
TOPOLOGY = load(ROOT / "topology.yaml", CONTRACTS)
PERSON = CONTRACTS["population.person"]


def contract_of(spec: ViewSpec) -> Contract:
    return CONTRACTS[TOPOLOGY.contract_name(spec.resource)]


def of_masks(**masks: Any) -> Preview:
    spec, problems = proposed("population.person", {"id_number": "token", **masks}, ())
    return preview(PERSON, spec, problems)


def texts(found: Preview) -> dict[str, str | None]:
    return {one.path: one.text for one in found.fields if one.shown}


@pytest.mark.parametrize("name", sorted(CONTRACTS))
def test_example_keeps_the_rules_of_its_contract(name: str) -> None:
    example = example_of(CONTRACTS[name].fields.values())

    assert not [
        f"{field.name}: {rule.name}"
        for field in CONTRACTS[name].fields.values()
        for rule in field.rules
        if not rule.test(example[field.name], COMMITTED_MS)
    ]


@pytest.mark.parametrize("name", sorted(TOPOLOGY.views))
def test_declared_view_shows_what_it_lists(name: str) -> None:
    spec = TOPOLOGY.views[name]
    found = preview(contract_of(spec), spec)

    assert found.problems == ()
    assert {one.path for one in found.fields if one.shown} == {
        path for path, mask in spec.fields.items() if mask.kind != "omit"
    }
    assert preview(contract_of(spec), spec) == found


def leaks(found: Preview) -> Iterator[str]:
    """Yield the masked fields of grade 3 and more whose value can be read in any text that is shown."""
    shown = [text for text in texts(found).values() if text]
    clear = {one.example for one in found.fields if one.shown and isinstance(one.mask, Clear)}
    for one in found.fields:
        example = one.example or ""
        is_masked = one.field.sensitive and example not in clear and len(example) > 3
        if is_masked and any(example in text for text in shown):
            yield one.path


@pytest.mark.parametrize("name", sorted(TOPOLOGY.views))
def test_preview_shows_no_value_that_the_view_masks(name: str) -> None:
    spec = TOPOLOGY.views[name]

    assert not list(leaks(preview(contract_of(spec), spec)))


def test_the_check_of_leaks_sees_masks_that_are_not_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "_shown", lambda _view, example, _others: example)
    spec = TOPOLOGY.views["population.person.housing"]

    assert "mobile" in set(leaks(preview(contract_of(spec), spec)))


def test_masks_do_what_workers_do() -> None:
    found = of_masks(
        mobile={"kind": "partial", "keep_first": 3, "keep_last": 4},
        birth_date={"kind": "generalise", "to": "month"},
        annual_income={"kind": "generalise", "to": "bucket", "size": 10000},
        email="redact",
        status="null",
    )

    shown = texts(found)
    assert str(shown.pop("id_number")).startswith("t1_")
    assert shown == {
        "mobile": "138****0000",
        "birth_date": "2024-10",
        "annual_income": "80000.00",
        "email": "***",
        "status": None,
    }


@pytest.mark.parametrize(
    ("masks", "field", "told"),
    [
        ({"name": "clear"}, "name", "clear; mask it, or give"),
        ({"name": "blur"}, "name", "does not match any of the expected tags"),
        ({"mobile": {"kind": "partial", "keep_first": -1}}, "mobile", "keep_first: "),
        ({"birth_date": "token", "id_number": "redact"}, "id_number", "two rows could get one key"),
        ({"languages": "token"}, "languages", "does not fit array"),
    ],
)
def test_what_is_wrong_is_told_at_its_field_and_nothing_is_shown(
    masks: dict[str, Any], field: str, told: str
) -> None:
    found = of_masks(**masks)

    wrong = {one.path: one.problem for one in found.fields if one.problem}
    assert list(wrong) == [field]
    assert told in wrong[field]
    assert not texts(found)


def test_a_field_that_is_not_there_is_told_apart() -> None:
    assert "nickname: unknown field" in of_masks(nickname="clear").problems[0]


def test_example_is_a_row_that_the_view_shows() -> None:
    spec = TOPOLOGY.views["population.person.school"]
    region = next(one for one in preview(PERSON, spec).fields if one.path == "region_code")

    assert str(region.text).startswith("33")
