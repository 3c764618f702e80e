-- Where some of the refused records lie and why they were refused; payloads stay in Kafka, sealed for their stewards.
-- Of each rule and month the newest record in each slot is kept, so that a flood of refusals is no more to read than
-- a few; the newest of all is always there. One that is stored again has the same key and counts once. offset: in the
-- raw topic, -1 where it never got there. A topic that is made anew has another topic_id.
CREATE TABLE quarantine_examples
(
    topic                LowCardinality(String),
    stage                LowCardinality(String),
    reason               LowCardinality(String),
    field                LowCardinality(String),
    slot                 UInt32,
    at_ms                Int64,
    topic_id             LowCardinality(String),
    quarantine_topic     LowCardinality(String),
    quarantine_partition Int32,
    quarantine_offset    Int64,
    partition            Int32,
    offset               Int64,
    plan_version         UInt64
)
ENGINE = ReplacingMergeTree(at_ms)
ORDER BY (topic, stage, reason, field, toYYYYMM(toDateTime(intDiv(at_ms, 1000), 'UTC')), slot)
TTL toDateTime(intDiv(at_ms, 1000)) + INTERVAL 90 DAY;

-- Per partition of a quarantine topic: what Kafka still has begins at first_offset, what is next to be read at
-- next_offset.
CREATE TABLE quarantine_places
(
    quarantine_topic     LowCardinality(String),
    quarantine_partition Int32,
    topic_id             LowCardinality(String),
    first_offset         Int64,
    next_offset          Int64,
    at_ms                Int64
)
ENGINE = ReplacingMergeTree(at_ms)
ORDER BY (quarantine_topic, quarantine_partition);
