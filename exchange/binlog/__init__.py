"""A MySQL or MariaDB server as a source, as far as commands and connector both need it.

address.py: where it is; session.py: one connection; columns.py with charsets.py: a table's columns and which
of them can be read exactly; fitness.py: what a server must be set to before it may be captured.
Nothing is changed in the source.
"""
