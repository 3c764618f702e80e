"""The published part of the catalogue as DCAT-AP in JSON-LD.

Source: W3C DCAT 3; SEMIC DCAT-AP 3.0, mandatory properties of Catalog and Dataset; EU authority tables of
frequency and access right. What they have no word for stands under a name of our own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from exchange import strictjson
from exchange.catalogue.entry import State
from exchange.catalogue.exchanged import Row
from exchange.catalogue.sheet import Sheet, fields_of
from exchange.errors import ConfigError

_AUTHORITY: Final = "http://publications.europa.eu/resource/authority"
_URN: Final = "urn:x-exchange:resource:"
CONTEXT: Final = {
    "dcat": "http://www.w3.org/ns/dcat#",
    "dct": "http://purl.org/dc/terms/",
    "foaf": "http://xmlns.com/foaf/0.1/",
    "vcard": "http://www.w3.org/2006/vcard/ns#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "x": "urn:x-exchange:term:",
}
_FREQUENCY: Final = {
    "real_time": "CONT",
    "daily": "DAILY",
    "weekly": "WEEKLY",
    "monthly": "MONTHLY",
    "quarterly": "QUARTERLY",
    "yearly": "ANNUAL",
}
_OWN: Final = (
    *("share", "system", "table", "contract", "contract_version", "contract_sha256", "grade"),
    *("department", "library_kind", "library"),
)
"""Columns under names of our own."""


def text(shelf: Iterable[Sheet]) -> str:
    """Return what is published, as JSON-LD; drafts are left out."""
    found = [_dataset(sheet) for sheet in shelf if _is_public(sheet)]
    catalogue = {
        "@context": CONTEXT,
        "@id": "urn:x-exchange:catalogue",
        "@type": "dcat:Catalog",
        "dct:title": [_word("政务数据目录", "zh"), _word("Catalogue of government data", "en")],
        "dct:description": [_word("可共享的数据资源", "zh"), _word("Resources that can be shared", "en")],
        "dct:publisher": {"@type": "foaf:Agent", "foaf:name": "exchange bus"},
        "dcat:dataset": found,
    }
    return json.dumps(catalogue, ensure_ascii=False, indent=2) + "\n"


def read(name: str, content: bytes) -> list[Row]:
    """Return what a document shaped like an export says of resources.

    Raises: ConfigError where it is no JSON, has another context, or is shaped otherwise.
    """
    try:
        seen = strictjson.loads(content.decode("utf-8-sig"))
    except ValueError:
        msg = f"{name}: not JSON in UTF-8"
        raise ConfigError(msg) from None
    if not isinstance(seen, dict) or seen.get("@context") != CONTEXT:
        msg = (
            f"{name}: another @context than an export has; frame it as `exchange catalogue export` writes it"
        )
        raise ConfigError(msg)
    datasets = seen.get("dcat:dataset", [])
    if not isinstance(datasets, list):
        msg = f"{name}: dcat:dataset is not a list of datasets"
        raise ConfigError(msg)
    rows = []
    for number, dataset in enumerate(datasets, 1):
        where = f"{name}: dataset {number}"
        try:
            rows.append(_row(where, dataset))
        except (AttributeError, KeyError, TypeError):
            msg = f"{where}: not shaped as an export is"
            raise ConfigError(msg) from None
    return rows


def _is_public(sheet: Sheet) -> bool:
    entry = sheet.entry
    return entry is not None and entry.published is not None and entry.state != State.RETIRED


def _dataset(sheet: Sheet) -> dict[str, Any]:
    assert sheet.entry is not None  # noqa: S101 - as _is_public says
    content, declared = sheet.entry.told, sheet.declared()
    columns = declared | content.model_dump()
    rights = "NON_PUBLIC" if sheet.resource.share == "none" else "RESTRICTED"
    return {
        "@id": _URN + sheet.name,
        "@type": "dcat:Dataset",
        "dct:identifier": declared["code"],
        "dct:title": [_word(declared["name_zh"], "zh"), _word(declared["name_en"], "en")],
        "dct:description": [
            _word(told, language)
            for told, language in ((content.description_zh, "zh"), (content.description_en, "en"))
            if told
        ],
        "dct:publisher": {
            "@type": "foaf:Agent",
            "foaf:name": [_word(sheet.department_zh, "zh"), _word(sheet.department_en, "en")],
        },
        "dcat:contactPoint": {"@type": "vcard:Organization", "vcard:fn": content.contact},
        "dct:accrualPeriodicity": {"@id": f"{_AUTHORITY}/frequency/{_FREQUENCY[declared['update_cycle']]}"},
        "dct:accessRights": {"@id": f"{_AUTHORITY}/access-right/{rights}"},
        "dct:issued": {"@value": sheet.entry.publications[-1].at.isoformat(), "@type": "xsd:dateTime"},
        "dcat:keyword": [_word(field["label_zh"], "zh") for field in fields_of(sheet)],
    } | {f"x:{name}": columns[name] for name in _OWN}


def _row(where: str, dataset: Mapping[str, Any]) -> Row:
    titles, told = _by_language(dataset["dct:title"]), _by_language(dataset["dct:description"])
    frequency = str(dataset["dct:accrualPeriodicity"]["@id"]).rpartition("/")[2]
    cycles = {word: cycle for cycle, word in _FREQUENCY.items()}
    columns = {
        "code": dataset["dct:identifier"],
        "name_zh": titles.get("zh", ""),
        "name_en": titles.get("en", ""),
        "description_zh": told.get("zh", ""),
        "description_en": told.get("en", ""),
        "contact": dataset["dcat:contactPoint"]["vcard:fn"],
        "update_cycle": cycles.get(frequency, frequency),
    } | {name: dataset[f"x:{name}"] for name in _OWN if f"x:{name}" in dataset}
    if not all(isinstance(value, str) for value in columns.values()):
        raise TypeError
    return Row(where, str(dataset["@id"]).removeprefix(_URN), columns)


def _word(text_: str, language: str) -> dict[str, str]:
    return {"@value": text_, "@language": language}


def _by_language(words: list[Mapping[str, str]]) -> dict[str, str]:
    return {word["@language"]: word["@value"] for word in words}
