"""Alembic's scripts of the store of requests."""
