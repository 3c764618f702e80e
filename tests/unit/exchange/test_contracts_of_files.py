"""Contracts in files: every problem of every file at once, each with its line."""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import ContractError
from exchange.files.contracts import load_contracts

REPO = Path(__file__).parents[3]

GOOD = """\
{
  "type": "record",
  "namespace": "shop",
  "name": "item",
  "contractVersion": 1,
  "label": {"zh": "物品", "en": "Item"},
  "key": ["id"],
  "fields": [
    {
      "name": "id",
      "type": "string",
      "classification": 3,
      "sensitivity": "id_number",
      "label": {"zh": "号", "en": "Id"},
      "rules": [{"rule": "required"}, {"rule": "length", "max": 9}]
    },
    {
      "name": "owner",
      "type": ["null", {"type": "record", "name": "Owner", "fields": [
        {"name": "mobile", "type": "string", "classification": 3, "label": {"zh": "机", "en": "M"}}
      ]}],
      "default": null,
      "classification": 2,
      "label": {"zh": "主", "en": "Owner"}
    }
  ]
}
"""


def write(directory: Path, place: str, content: str | bytes) -> None:
    file = directory / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def refusal(directory: Path) -> ContractError:
    with pytest.raises(ContractError) as caught:
        load_contracts(directory)
    return caught.value


def test_the_good_file_loads(tmp_path: Path) -> None:
    write(tmp_path, "shop/item.avsc", GOOD)
    assert list(load_contracts(tmp_path)) == ["shop.item"]


def test_a_problem_is_shown_with_line_neighbours_caret_and_path(tmp_path: Path) -> None:
    write(tmp_path, "shop/item.avsc", GOOD.replace('"id_number"', '"id_numbr"'))
    head, *lines = str(refusal(tmp_path)).splitlines()
    assert head.startswith(f"{tmp_path}/shop/item.avsc:13:22: fields[0] 'id': unknown sensitivity 'id_numbr'")
    assert head.endswith("Did you mean 'id_number'?")
    assert lines == [
        '   12 |       "classification": 3,',
        '   13 |       "sensitivity": "id_numbr",',
        "      |                      ^^^^^^^^^^",
        '   14 |       "label": {"zh": "号", "en": "Id"},',
    ]


@pytest.mark.parametrize(
    ("old", "new", "place", "told"),
    [
        ('"contractVersion": 1', '"contractVersion": 0', (5, 22), "contractVersion: expected a whole number"),
        ('"contractVersion": 1,', "", (4, 11), "contractVersion: expected a whole number"),
        ('"type": "record",\n', '"type": "enum",\n', (2, 11), 'type: a contract is an Avro record'),
        ('"key"', '"kye"', (7, 3), "record: unknown attribute 'kye'"),
        ('["id"]', '["id", "nam"]', (7, 17), "key: unknown field 'nam'"),
        ('["id"]', '["id", "owner"]', (7, 17), "key: field 'owner' cannot be a key"),
        ('["id"]', '["id", "id"]', (7, 17), "key: a field is named twice"),
        ('"zh": "物品"', '"zh": ""', (6, 12), "label: expected a label in both languages"),
        ('"name": "id"', '"name": "i d"', (10, 15), "fields[0] 'i d': name: expected a name"),
        ('"classification": 3,\n', "\n", (10, 15), "fields[0] 'id': classification is missing"),
        ('"classification": 3,\n', '"classification": 5,\n', (12, 25), "classification is not one of"),
        ('"type": "string",\n', '"typ": "string",\n', (11, 7), "unknown attribute 'typ'"),
        ('"type": "string",\n', '"type": "strnig",\n', (11, 15), "unknown type 'strnig'"),
        ('"required"', '"requird"', (15, 17), "fields[0] 'id': unknown rule 'requird'"),
        ('{"rule": "length", "max": 9}', '{"rule": "required"}', (15, 39), "rule 'required' is given twice"),
        ('"name": "owner"', '"name": "id"', (18, 15), "fields: field 'id' is declared twice"),
        ('"name": "mobile"', '"name": "m-"', (20, 18), "fields[1] 'owner' fields[0] 'm-': name: expected"),
        ('"name": "Owner"', '"name": "string"', (19, 51), "type 'string' is declared twice"),
        ('"default": null', '"default": ""', (22, 18), "the only default a contract may give is null"),
        ('["null", {', '[{', (19, 7), "the only union a contract may use"),
    ],
)  # fmt: skip
def test_each_problem_stands_at_its_place(
    tmp_path: Path, old: str, new: str, place: tuple[int, int], told: str
) -> None:
    write(tmp_path, "shop/item.avsc", GOOD.replace(old, new, 1))
    first = next(problem for problem in refusal(tmp_path).problems if told in problem.message)
    assert (first.line, first.column) == place


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"a": 1, "a": 2}', ":1:10: key 'a' is given twice, first in line 1"),
        (GOOD.replace("3,", "NaN,", 1), ":12:25: NaN is not JSON"),
        ("{", ":1:1: not JSON: the { that opens here is not closed"),
        ("", ":1:1: the file is empty"),
        ("[]", ":1:1: a contract is an Avro record: a JSON object is wanted"),
        ("\ufeff" + GOOD, ":1:1: the file begins with a byte order mark (BOM)"),
        (GOOD.encode("gb18030"), ":6:20: byte 0xce is not UTF-8; save the file as UTF-8"),
        (GOOD.encode("utf-16"), ":1:1: saved as UTF-16; save it as UTF-8"),
        (GOOD.replace('"shop"', '"shpo"'), ":3:16: namespace: 'shpo' stands in shop/item.avsc; "),
        (GOOD.replace('"item"', '"thing"'), "a contract in this place must be 'shop.item'"),
    ],
)  # fmt: skip
def test_an_unreadable_or_misplaced_file_is_told_with_its_line(
    tmp_path: Path, content: str | bytes, told: str
) -> None:
    write(tmp_path, "shop/item.avsc", content)
    assert f"{tmp_path}/shop/item.avsc:" in str(refusal(tmp_path))
    assert told in str(refusal(tmp_path))


def test_what_is_wrong_twice_in_one_place_is_told_once(tmp_path: Path) -> None:
    write(tmp_path, "shop/item.avsc", GOOD.replace('"classification": 3', '"classification": NaN', 1))
    assert len(refusal(tmp_path).problems) == 1


def test_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, "shop/item.avsc", GOOD.replace('"id_number"', '"x"').replace('"key"', '"kye"'))
    write(tmp_path, "shop/other.avsc", "{")
    write(tmp_path, "shop/third.avsc", b"\xff\x00")
    error = refusal(tmp_path)
    places = [(Path(problem.file).name, problem.line) for problem in error.problems]
    assert places == [
        ("item.avsc", 4),
        ("item.avsc", 7),
        ("item.avsc", 13),
        ("other.avsc", 1),
        ("third.avsc", 1),
    ]
    assert "3 problems in" in str(error)
    assert "third.avsc:1:1: byte 0xff is not UTF-8" in str(error)


def test_a_directory_without_contracts_is_an_error(tmp_path: Path) -> None:
    assert "no contracts" in str(refusal(tmp_path))


def test_a_directory_named_like_a_contract_is_told(tmp_path: Path) -> None:
    (tmp_path / "shop" / "item.avsc").mkdir(parents=True)
    assert "item.avsc: is a directory; a JSON file is wanted" in str(refusal(tmp_path))


@given(seed=st.integers(0, 2**32), edits=st.integers(1, 4))
def test_a_mutated_file_raises_nothing_but_contract_error(
    tmp_path_factory: pytest.TempPathFactory, seed: int, edits: int
) -> None:
    chance = random.Random(seed)
    text = (REPO / "avro" / "population" / "person.avsc").read_text(encoding="utf-8")
    pieces = json.dumps(json.loads(text), ensure_ascii=False).split('"')
    for _ in range(edits):
        pieces[chance.randrange(len(pieces))] = chance.choice(
            ['": null, "', "[", "{}", "", "type", "\\", "}"]
        )
    directory = tmp_path_factory.mktemp("mutated")
    write(directory, "population/person.avsc", '"'.join(pieces))
    with contextlib.suppress(ContractError):
        load_contracts(directory)
