"""A small bus of its own for the end-to-end and fault tests: one table, two views, real processes."""
