"""Alerts, of which one at a time is active for a key, and the outbox of their notices."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "alerts",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("active_key", sa.Text, unique=True),
        sa.Column("state", sa.Text, nullable=False, index=True),
        sa.Column("fired_at_ms", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "alert_notices",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("alert", sa.BigInteger, nullable=False, index=True),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("due_ms", sa.BigInteger, nullable=False),
        sa.Column("sent_at_ms", sa.BigInteger),
    )


def downgrade() -> None:
    """Take them away."""
    for table in ("alert_notices", "alerts"):
        op.drop_table(table)
