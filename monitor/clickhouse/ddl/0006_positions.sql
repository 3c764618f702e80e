-- Where each consumer group was, a row whenever it moved or half a minute passed, and how far behind it was then.
CREATE TABLE group_positions
(
    subscriber    LowCardinality(String),
    group_id      LowCardinality(String),
    topic         LowCardinality(String),
    partition     Int32,
    next_offset   Int64,
    end_offset    Int64,
    lag_s         Nullable(Float64),
    at_ms         Int64
)
ENGINE = MergeTree
ORDER BY (at_ms, group_id, topic, partition);

-- When topics reached which end, so that a monitor that starts anew still knows how old a lag is.
CREATE TABLE topic_ends
(
    topic         LowCardinality(String),
    partition     Int32,
    end_offset    Int64,
    at_ms         Int64
)
ENGINE = MergeTree
ORDER BY (at_ms, topic, partition);

DROP TABLE IF EXISTS subscriber_positions;

-- Unfolded in the queries themselves, where each account can be made to count once.
DROP VIEW IF EXISTS account_views;
DROP VIEW IF EXISTS account_refusals;
DROP VIEW IF EXISTS account_delays;
