"""Views as tables of a subscriber's PostgreSQL, exactly once. The kind of sink to copy.

connection.py: connecting, and errors in our own words; table.py: the table that a view needs, and what an
existing one lacks; rows.py: a batch as the rows that it leaves; sink.py: the protocol.
"""
