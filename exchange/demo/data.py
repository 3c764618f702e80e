"""The three departments' tables: as a source would define them, with invented rows that fit the contracts.

Definitions match avro/: nested records are jsonb, lists text[] or jsonb, enums PostgreSQL enums (with one
value more than the contract knows, as sources have). REPLICA IDENTITY FULL, since views show some rows only.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any, Final

from exchange.change import Reason
from exchange.demo.invention import REGIONS, Invention, Person, with_wrong_check_digit
from exchange.demo.tables import Fault, Row, Table

_ETHNIC_CODES: Final = ("01",) * 20 + ("03", "05", "09", "11", "15", "20")
_LANGUAGES: Final = ("zh", "en", "ja", "fr", "ko", "de")
_INDUSTRIES: Final = ("C3911", "F5191", "I6510", "I6520", "K7020", "M7310", "A0111", "P8331")
_SUBJECTS: Final = ("CHINESE", "MATHS", "ENGLISH", "PHYSICS", "HISTORY", "MUSIC", "ART", "SPORTS")
_SCHOOLS: Final = (
    ("3133000011", "浙江省第一实验学校", "330102"),
    ("3133000012", "运河外国语学校", "330105"),
    ("3133000013", "西溪湿地中心小学", "330106"),
    ("3133000014", "钱江新城中学", "330102"),
    ("3133000021", "三江口实验小学", "330203"),
    ("3131000001", "外滩附属学校", "310101"),
    ("3111000001", "中关村实验中学", "110108"),
)
"""Invented schools: code, name, region."""


def _enum(name: str, *symbols: str) -> str:
    listed = ", ".join(f"'{symbol}'" for symbol in symbols)
    return (
        f"DO $$ BEGIN CREATE TYPE public.{name} AS ENUM ({listed}); "
        "EXCEPTION WHEN duplicate_object THEN NULL; END $$"
    )


# --- population.person ---

_PERSON_DDL: Final = (
    _enum("person_status", "NORMAL", "MOVED_OUT", "DECEASED", "CANCELLED", "ARCHIVED"),
    """
    CREATE TABLE IF NOT EXISTS public.person (
        id_number        varchar(18) PRIMARY KEY,
        name             varchar(50) NOT NULL,
        sex_code         varchar(1) NOT NULL,
        birth_date       date NOT NULL,
        nationality_code varchar(3),
        ethnic_code      varchar(2),
        mobile           varchar(20),
        email            varchar(254),
        region_code      varchar(6) NOT NULL,
        address          jsonb,
        languages        text[],
        household_size   integer,
        annual_income    numeric(14, 2),
        status           public.person_status NOT NULL,
        note             text,
        registered_at    timestamptz NOT NULL,
        updated_at       timestamptz NOT NULL
    )
    """,
    "ALTER TABLE public.person REPLICA IDENTITY FULL",
)


def _person(invention: Invention) -> Row:
    person, draw = invention.person(), invention.random
    registered = invention.day(2015, 2025)
    return {
        "id_number": person.id_number,
        "name": person.name,
        "sex_code": "2" if person.female else "1",
        "birth_date": person.birth_date,
        "nationality_code": "CHN",
        "ethnic_code": draw.choice(_ETHNIC_CODES),
        "mobile": invention.mobile() if draw.random() < 0.9 else None,
        "email": invention.email() if draw.random() < 0.4 else None,
        "region_code": invention.region(),
        "address": _address(invention),
        "languages": sorted(draw.sample(_LANGUAGES, k=draw.randint(0, 3))),
        "household_size": draw.randint(1, 6),
        "annual_income": _money(invention, 20_000, 400_000) if draw.random() < 0.7 else None,
        "status": "NORMAL",
        "note": None if draw.random() < 0.8 else "窗口办理",
        "registered_at": dt.datetime.combine(registered, dt.time(9, draw.randrange(60)), dt.UTC),
        "updated_at": _now(),
    }


def _address(invention: Invention) -> dict[str, Any]:
    region = invention.region()
    street = f"{invention.random.choice(('湖滨', '文新', '长庆', '江厦', '望江', '天目'))}街道"
    return {
        "region_code": region,
        "street": street,
        "detail": REGIONS[region] + street + invention.street(),
        "postcode": f"{region[:2]}{invention.random.randrange(10_000):04d}",
    }


def _amend_person(row: Row, invention: Invention) -> Row:
    change: Row = invention.random.choice(
        (
            {"mobile": invention.mobile()},
            {"address": _address(invention)},
            {"region_code": invention.region()},
            {"annual_income": _money(invention, 20_000, 400_000)},
            {"email": invention.email(), "note": "网上办理"},
            {"household_size": invention.random.randint(1, 6), "status": "MOVED_OUT"},
        )
    )
    return change | {"updated_at": _now()}


def _rekey_person(row: Row, invention: Invention) -> Row:
    """Correct an ID number: another sequence number of the same day of birth."""
    return {"id_number": invention.id_number(row["birth_date"], row["sex_code"] == "2"), "updated_at": _now()}


_PERSON: Final = Table(
    system="population",
    name="person",
    ddl=_PERSON_DDL,
    key="id_number",
    json=frozenset({"address"}),
    invent=_person,
    amend=_amend_person,
    rekey=_rekey_person,
    faults=(
        Fault(
            Reason.CN_ID_NUMBER,
            "id_number",
            lambda row, _: {"id_number": with_wrong_check_digit(row["id_number"])},
        ),
        Fault(Reason.CN_MOBILE, "mobile", lambda _, invention: {"mobile": invention.mobile()[:-1]}),
        Fault(Reason.NOT_FUTURE, "birth_date", lambda _row, _: {"birth_date": _in_a_year()}),
        Fault(Reason.CODE, "ethnic_code", lambda _row, _: {"ethnic_code": "77"}),
        Fault(Reason.CODE, "status", lambda _row, _: {"status": "ARCHIVED"}),
        Fault(Reason.RANGE, "annual_income", lambda _row, _: {"annual_income": Decimal("-1200.00")}),
        Fault(
            Reason.PATTERN,
            "address.postcode",
            lambda _, invention: {"address": _address(invention) | {"postcode": "3100"}},
        ),
    ),
)

# --- market.legal_person ---

_LEGAL_PERSON_DDL: Final = (
    _enum("legal_person_status", "ACTIVE", "SUSPENDED", "REVOKED", "DEREGISTERED", "PENDING"),
    """
    CREATE TABLE IF NOT EXISTS public.legal_person (
        credit_code              varchar(18) PRIMARY KEY,
        name                     varchar(200) NOT NULL,
        representative_name      varchar(50) NOT NULL,
        representative_id_number varchar(18) NOT NULL,
        registered_capital       numeric(18, 2) NOT NULL,
        established_on           date NOT NULL,
        industry_code            varchar(5) NOT NULL,
        region_code              varchar(6) NOT NULL,
        contact                  jsonb,
        branches                 jsonb,
        employees                integer,
        status                   public.legal_person_status NOT NULL,
        updated_at               timestamptz NOT NULL
    )
    """,
    "ALTER TABLE public.legal_person REPLICA IDENTITY FULL",
)


def _legal_person(invention: Invention) -> Row:
    representative, region, draw = invention.person(youngest=2000), invention.region(), invention.random
    return {
        "credit_code": invention.credit_code(region),
        "name": invention.company(),
        "representative_name": representative.name,
        "representative_id_number": representative.id_number,
        "registered_capital": _money(invention, 100_000, 50_000_000),
        "established_on": invention.day(1995, 2025),
        "industry_code": draw.choice(_INDUSTRIES),
        "region_code": region,
        "contact": _contact(invention) if draw.random() < 0.8 else None,
        "branches": [_branch(invention) for _ in range(draw.choice((0, 0, 0, 1, 2)))],
        "employees": draw.randint(1, 2000),
        "status": "ACTIVE",
        "updated_at": _now(),
    }


def _contact(invention: Invention) -> dict[str, Any]:
    return {
        "name": invention.person().name,
        "mobile": invention.mobile(),
        "email": invention.email() if invention.random.random() < 0.5 else None,
    }


def _branch(invention: Invention) -> dict[str, Any]:
    region = invention.region()
    return {
        "credit_code": invention.credit_code(region),
        "name": f"{invention.company()}{REGIONS[region][-3:]}分公司",
        "region_code": region,
        "opened_on": invention.day(2016, 2025).isoformat(),
    }


def _amend_legal_person(row: Row, invention: Invention) -> Row:
    change: Row = invention.random.choice(
        (
            {"registered_capital": _money(invention, 100_000, 50_000_000)},
            {"contact": _contact(invention)},
            {"branches": [*(row["branches"] or [])[-3:], _branch(invention)]},
            {"employees": invention.random.randint(1, 2000)},
            {"status": invention.random.choice(("ACTIVE", "SUSPENDED", "REVOKED"))},
            {"region_code": invention.region()},
        )
    )
    return change | {"updated_at": _now()}


def _rekey_legal_person(row: Row, invention: Invention) -> Row:
    return {"credit_code": invention.credit_code(row["region_code"]), "updated_at": _now()}


_LEGAL_PERSON: Final = Table(
    system="market",
    name="legal_person",
    ddl=_LEGAL_PERSON_DDL,
    key="credit_code",
    json=frozenset({"contact", "branches"}),
    invent=_legal_person,
    amend=_amend_legal_person,
    rekey=_rekey_legal_person,
    faults=(
        Fault(
            Reason.CN_CREDIT_CODE,
            "credit_code",
            lambda row, _: {"credit_code": with_wrong_check_digit(row["credit_code"])},
        ),
        Fault(
            Reason.RANGE, "registered_capital", lambda _row, _: {"registered_capital": Decimal("-50000.00")}
        ),
        Fault(Reason.NOT_FUTURE, "established_on", lambda _row, _: {"established_on": _in_a_year()}),
        Fault(Reason.PATTERN, "industry_code", lambda _row, _: {"industry_code": "Z99"}),
        Fault(Reason.CODE, "status", lambda _row, _: {"status": "PENDING"}),
        Fault(
            Reason.CN_MOBILE,
            "contact.mobile",
            lambda _, invention: {"contact": _contact(invention) | {"mobile": "12345"}},
        ),
    ),
)

# --- education.enrolment ---

_ENROLMENT_DDL: Final = (
    _enum(
        "enrolment_status",
        "ENROLLED", "SUSPENDED", "TRANSFERRED", "GRADUATED", "WITHDRAWN", "AUDITING",
    ),
    """
    CREATE TABLE IF NOT EXISTS public.enrolment (
        enrolment_no      varchar(30) PRIMARY KEY,
        student_id_number varchar(18) NOT NULL,
        student_name      varchar(50) NOT NULL,
        school_code       varchar(10) NOT NULL,
        school_name       varchar(100) NOT NULL,
        region_code       varchar(6) NOT NULL,
        grade             integer NOT NULL,
        enrolled_on       date NOT NULL,
        guardian          jsonb,
        subjects          text[] NOT NULL,
        tuition           numeric(10, 2),
        boarding          boolean NOT NULL,
        status            public.enrolment_status NOT NULL,
        updated_at        timestamptz NOT NULL
    )
    """,
    "ALTER TABLE public.enrolment REPLICA IDENTITY FULL",
)  # fmt: skip


def _enrolment(invention: Invention) -> Row:
    pupil, draw = invention.person(oldest=2008, youngest=2018), invention.random
    return {
        "enrolment_no": _enrolment_no(invention),
        "student_id_number": pupil.id_number,
        "student_name": pupil.name,
        **_school(invention),
        "grade": draw.randint(1, 12),
        "enrolled_on": dt.date(draw.randint(2018, 2025), 9, 1),
        "guardian": _guardian(invention),
        "subjects": draw.sample(_SUBJECTS, k=draw.randint(1, 4)),
        "tuition": _money(invention, 0, 20_000) if draw.random() < 0.5 else None,
        "boarding": draw.random() < 0.3,
        "status": "ENROLLED",
        "updated_at": _now(),
    }


def _enrolment_no(invention: Invention) -> str:
    letters = "".join(invention.random.choices("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=10))
    return f"E{invention.random.randint(2018, 2025)}{letters}"


def _school(invention: Invention) -> Row:
    code, name, region = invention.random.choice(_SCHOOLS)
    return {"school_code": code, "school_name": name, "region_code": region}


def _guardian(invention: Invention) -> dict[str, Any]:
    person: Person = invention.person(oldest=1975, youngest=1992)
    return {
        "name": person.name,
        "relation": "MOTHER" if person.female else "FATHER",
        "id_number": person.id_number if invention.random.random() < 0.7 else None,
        "mobile": invention.mobile(),
    }


def _amend_enrolment(row: Row, invention: Invention) -> Row:
    change: Row = invention.random.choice(
        (
            {"grade": row["grade"] % 12 + 1},
            {"subjects": invention.random.sample(_SUBJECTS, k=invention.random.randint(1, 4))},
            {"guardian": _guardian(invention)},
            {"status": invention.random.choice(("ENROLLED", "SUSPENDED", "GRADUATED"))},
            _school(invention) | {"status": "TRANSFERRED"},
            {"boarding": not row["boarding"], "tuition": _money(invention, 0, 20_000)},
        )
    )
    return change | {"updated_at": _now()}


def _rekey_enrolment(_row: Row, invention: Invention) -> Row:
    return {"enrolment_no": _enrolment_no(invention), "updated_at": _now()}


_ENROLMENT: Final = Table(
    system="education",
    name="enrolment",
    ddl=_ENROLMENT_DDL,
    key="enrolment_no",
    json=frozenset({"guardian"}),
    invent=_enrolment,
    amend=_amend_enrolment,
    rekey=_rekey_enrolment,
    faults=(
        Fault(
            Reason.CN_ID_NUMBER,
            "student_id_number",
            lambda row, _: {"student_id_number": with_wrong_check_digit(row["student_id_number"])},
        ),
        Fault(Reason.REQUIRED, "student_name", lambda _row, _: {"student_name": " "}),
        Fault(Reason.PATTERN, "school_code", lambda _row, _: {"school_code": "33-0001"}),
        Fault(Reason.RANGE, "grade", lambda _row, _: {"grade": 13}),
        Fault(Reason.CODE, "subjects", lambda row, _: {"subjects": [*row["subjects"], "ASTROLOGY"]}),
        Fault(
            Reason.CN_MOBILE,
            "guardian.mobile",
            lambda _, invention: {"guardian": _guardian(invention) | {"mobile": "1380013"}},
        ),
    ),
)

TABLES: Final = (_PERSON, _LEGAL_PERSON, _ENROLMENT)
"""Every table of the demonstration."""


def _money(invention: Invention, least: int, most: int) -> Decimal:
    return Decimal(invention.random.randint(least * 100, most * 100)) / 100


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _in_a_year() -> dt.date:
    return _now().date() + dt.timedelta(days=400)
