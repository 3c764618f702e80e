"""Alembic's versions of the store of requests."""
