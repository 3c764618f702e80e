"""`exchange doctor`: is a source fit to be captured. Each kind of source has an examiner that only looks."""

from __future__ import annotations

from typing import Final

from exchange.doctor import binlog, postgres
from exchange.doctor.finding import Examine

EXAMINERS: Final[dict[str, Examine]] = {
    "postgres": postgres.examine,
    "mysql": binlog.examine,
    "mariadb": binlog.examine,
}
"""Kind → examiner; exchange/doctor/postgres.py is the one to copy for a new kind."""
