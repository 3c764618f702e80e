"""Views as tables of a subscriber's ClickHouse: every change, and the last state of each key.

client.py: the connection, a server's or an embedded engine's, and errors in our own words; tables.py: the
tables that a view needs; cells.py: a record's values as ClickHouse takes them; sink.py: the protocol.
"""
