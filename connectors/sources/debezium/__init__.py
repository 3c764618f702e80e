"""Debezium as a source of Oracle, SQL Server, Db2 and others: the topics that it writes, or its engine.

One record's way: topics.py (Kafka, at read_committed) → messages.py (what the converter wrote, with
schema.py) → record.py with shapes.py and types.py (the house's envelope in Avro) → source.py (batches and
their positions), which the runner calls. place.py says how far each topic is read, and refuses to go on
where records may be missing.

With `engine` of the system: engine.py (Debezium in this process, in the Java of java.py, set to what
properties.py says) → messages.py and so on → enginesource.py. slot.py refuses PostgreSQL's gaps; failure.py
says why an engine ended.
"""
