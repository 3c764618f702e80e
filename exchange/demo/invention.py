"""Invented but valid Chinese identifiers and particulars, the same for the same seed.

Nothing here is anybody's: numbers are drawn at random and given the check digit that makes them valid.
"""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass
from typing import Final

from faker import Faker
from stdnum.cn import ric, uscc

REGIONS: Final[dict[str, str]] = {
    "110101": "北京市东城区",
    "110105": "北京市朝阳区",
    "110108": "北京市海淀区",
    "310101": "上海市黄浦区",
    "310104": "上海市徐汇区",
    "310115": "上海市浦东新区",
    "320102": "江苏省南京市玄武区",
    "330102": "浙江省杭州市上城区",
    "330105": "浙江省杭州市拱墅区",
    "330106": "浙江省杭州市西湖区",
    "330108": "浙江省杭州市滨江区",
    "330110": "浙江省杭州市余杭区",
    "330203": "浙江省宁波市海曙区",
    "330205": "浙江省宁波市江北区",
    "330212": "浙江省宁波市鄞州区",
    "330302": "浙江省温州市鹿城区",
    "440106": "广东省广州市天河区",
    "440305": "广东省深圳市南山区",
}
"""County-level codes and names in force. Source: GB/T 2260, as kept by the Ministry of Civil Affairs."""

_BIRTHPLACES: Final = ("330102", "330106", "330203", "110101", "110108", "310101", "320102", "440106")

_MOBILE_PREFIXES: Final = ("133", "135", "136", "138", "139", "150", "151", "158", "159", "177", "186", "189")
_ORGANISATION: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
"""Characters of a unified social credit code. Source: GB 32100-2015: letters without I, O, S, V and Z."""


@dataclass(frozen=True, slots=True)
class Person:
    """One invented natural person."""

    id_number: str
    name: str
    female: bool
    birth_date: dt.date


class Invention:
    """Draws particulars; two inventions of one seed draw the same."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 invented data, repeatable on purpose
        self._faker = Faker("zh_CN")
        self._faker.seed_instance(seed)

    def person(self, oldest: int = 1950, youngest: int = 2007) -> Person:
        """Return a person whose number, sex and birth date agree, born in one of the years given."""
        first = dt.date(oldest, 1, 1)
        days = (dt.date(youngest, 12, 31) - first).days
        born = first + dt.timedelta(days=self.random.randint(0, days))
        female = self.random.random() < 0.5
        name = self._faker.name_female() if female else self._faker.name_male()
        return Person(self.id_number(born, female), name, female, born)

    def id_number(self, born: dt.date, female: bool) -> str:
        """Return an ID number of a birth date and sex, of a region that had its code in that year."""
        while True:
            order = self.random.randrange(1, 500) * 2 - (0 if female else 1)
            number = f"{self.random.choice(_BIRTHPLACES)}{born:%Y%m%d}{order:03d}"
            number += ric.calc_check_digit(number + "0")
            if ric.is_valid(number):
                return number

    def credit_code(self, region: str) -> str:
        """Return a unified social credit code of an enterprise registered in a region."""
        organisation = "".join(self.random.choices(_ORGANISATION, k=9))
        number = f"91{region}{organisation}"
        return number + uscc.calc_check_digit(number)

    def region(self) -> str:
        """Return a GB/T 2260 code, two times in three one of Zhejiang."""
        if self.random.random() < 2 / 3:
            return self.random.choice([code for code in REGIONS if code.startswith("33")])
        return self.random.choice(list(REGIONS))

    def mobile(self) -> str:
        """Return a mobile number of 11 digits."""
        return self.random.choice(_MOBILE_PREFIXES) + f"{self.random.randrange(10**8):08d}"

    def company(self) -> str:
        """Return a company's name."""
        return str(self._faker.company())

    def street(self) -> str:
        """Return a street, house and flat."""
        number, house, flat = (self.random.randint(1, top) for top in (300, 20, 30))
        return f"{self._faker.street_name()}{number}号{house}幢{flat}01室"

    def email(self) -> str:
        """Return an address at a domain that is reserved for examples."""
        return f"{self._faker.user_name()}{self.random.randrange(1000)}@example.com"

    def day(self, first_year: int, last_year: int) -> dt.date:
        """Return a day between two years, both included."""
        first = dt.date(first_year, 1, 1)
        return first + dt.timedelta(days=self.random.randint(0, (dt.date(last_year, 12, 31) - first).days))


def with_wrong_check_digit(number: str) -> str:
    """Return an ID number or credit code whose last character no longer agrees with the others."""
    return number[:-1] + ("0" if number[-1] != "0" else "1")
