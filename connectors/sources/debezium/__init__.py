"""What a Debezium on Kafka Connect already writes, as a source: Oracle, SQL Server, Db2 and others.

One record's way: topics.py (Kafka, at read_committed) → messages.py (what the converter wrote, with
schema.py) → record.py with shapes.py and types.py (the house's envelope in Avro) → source.py (batches and
their positions), which the runner calls. place.py says how far each topic is read, and refuses to go on
where records may be missing.
"""
