"""A small topology and its contract, for tests to break."""

from __future__ import annotations

import datetime as dt

from exchange import topology
from exchange.contract import Contract
from exchange.files import yaml_source

TODAY = dt.date(2026, 11, 22)

GOOD = """\
departments:
  police:
    label: {zh: 公安局, en: Public security}
  tax:
    label: {zh: 税务局, en: Tax}
systems:
  population:
    department: police
    kind: postgres
    connection_env: POPULATION_DSN
resources:
  population.person:
    label: {zh: 人口基本信息, en: Residents}
    system: population
    table: public.person
    catalogue_code: A-1
    share: conditional
  population.street:
    label: {zh: 街道, en: Streets}
    system: population
    table: public.street
    contract: population.person
    catalogue_code: A-2
    share: none
views:
  population.person.basic:
    resource: population.person
    label: {zh: 基本, en: Basic}
    fields:
      id_number: token
      full_name: {kind: partial, keep_first: 1}
      region_code: clear
    rows:
      - field: region_code
        prefix: ['3301']
  population.street.all:
    resource: population.street
    label: {zh: 全部, en: All}
    fields:
      id_number: token
subscribers:
  tax:
    department: tax
    label: {zh: 税务局, en: Tax}
grants:
  - subscriber: tax
    view: population.person.basic
    purpose: 个税汇算
    legal_basis: 税收征收管理法
    until: 2027-12-31
"""

PERSON = {
    "type": "record",
    "namespace": "population",
    "name": "person",
    "contractVersion": 1,
    "label": {"zh": "人口", "en": "Residents"},
    "key": ["id_number"],
    "fields": [
        {
            "name": "id_number",
            "type": "string",
            "classification": 4,
            "sensitivity": "id_number",
            "label": {"zh": "公民身份号码", "en": "ID number"},
            "rules": [{"rule": "required"}],
        },
        {
            "name": "full_name",
            "type": ["null", "string"],
            "default": None,
            "classification": 3,
            "sensitivity": "person_name",
            "label": {"zh": "姓名", "en": "Name"},
            "rules": [],
        },
        {
            "name": "region_code",
            "type": ["null", "string"],
            "default": None,
            "classification": 1,
            "label": {"zh": "区划代码", "en": "Region"},
            "rules": [],
        },
    ],
}

CONTRACTS = {"population.person": Contract.parse(PERSON, "person.avsc")}


def load(text: str, today: dt.date = TODAY) -> topology.Loaded:
    """Return the topology of a text that is called t.yaml."""
    return topology.check(yaml_source.parse(text, "t.yaml"), CONTRACTS, today)


def changed(*replacements: tuple[str, str]) -> str:
    """Return GOOD with each first part, which occurs in it once, replaced by the second."""
    text = GOOD
    for old, new in replacements:
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
        text = text.replace(old, new)
    return text
