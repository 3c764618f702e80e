"""PostgreSQL 14 and later, by logical replication with the built-in plugin pgoutput.

One change's way: replication.py (bytes from the server) → pgoutput.py (messages) → envelope.py (Debezium
envelope in Avro, column by column with types.py) → source.py, which keeps the order and the position.
snapshot.py reads what was there before the stream began, through the same converters.
"""
