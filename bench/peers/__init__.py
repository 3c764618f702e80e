"""Competitors' programs. Each is a process of its own, started by `python -m` with a file of settings."""
