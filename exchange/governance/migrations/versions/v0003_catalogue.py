"""Entries of the catalogue, namings of an element's source, and objections; each with its counter."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TABLES = ("catalogue", "namings", "objections")


def upgrade() -> None:
    """Make the tables."""
    for table in _TABLES:
        op.create_table(
            table,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("version", sa.Integer, nullable=False),
            sa.Column("state", sa.Text, nullable=False),
            sa.Column("document", sa.Text, nullable=False),
        )
    counters = sa.table("counters", sa.column("name", sa.Text), sa.column("last", sa.BigInteger))
    op.bulk_insert(counters, [{"name": table, "last": 0} for table in _TABLES])


def downgrade() -> None:
    """Take them away."""
    for table in _TABLES:
        op.execute(sa.text("DELETE FROM counters WHERE name = :name").bindparams(name=table))
        op.drop_table(table)
