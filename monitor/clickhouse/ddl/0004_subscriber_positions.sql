-- The latest committed position of every consumer group on the topics that subscribers read.
CREATE TABLE subscriber_positions
(
    subscriber    LowCardinality(String),
    group_id      String,
    topic         LowCardinality(String),
    partition     Int32,
    next_offset   Int64,
    end_offset    Int64,
    at_ms         Int64
)
ENGINE = ReplacingMergeTree(at_ms)
ORDER BY (group_id, topic, partition)
TTL toDateTime(intDiv(at_ms, 1000)) + INTERVAL 1 DAY;
