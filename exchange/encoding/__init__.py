"""Avro as bytes: strict decoding, Confluent's prefix on data topics, single objects on the bus's own."""
