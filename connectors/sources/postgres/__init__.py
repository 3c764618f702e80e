"""PostgreSQL 15 and later, by logical replication with the built-in plugin pgoutput.

One change's way: replication.py (bytes from the server) → pgoutput.py (messages) → transaction.py (numbers) →
record.py with shapes.py and envelope.py (Debezium envelope in Avro, column by column with types.py) →
stream.py (batches and their positions) → source.py, which the runner calls. snapshot.py reads what was there
before the stream began, through the same converters; gap.py refuses to go on where changes may be missing.
"""
