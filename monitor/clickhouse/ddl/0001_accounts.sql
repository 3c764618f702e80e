-- One row per record of the topic _exchange.accounts; (account_partition, account_offset) is its place there.
-- A batch is one insert, one block and so one part: it is there as a whole or not at all. Figures per view, per
-- reason and per delay bucket are arrays of the same row for that reason, and the table has no PARTITION BY.
-- Stages: capture, process, redrive; `unreadable` (a record that is no account) and `gap` (records that Kafka
-- no longer had, first_offset..last_offset) keep the place of what is missing.
CREATE TABLE accounts
(
    account_partition UInt32,
    account_offset    UInt64,
    stage             LowCardinality(String),
    writer            LowCardinality(String),
    resource          LowCardinality(String),
    topic             LowCardinality(String),
    partition         Int32,
    first_offset      Int64,
    last_offset       Int64,
    minute            UInt64,
    plan_version      UInt64,
    changes           UInt64,
    position_sum      UInt64,
    content_sum       UInt64,
    foreign_records   UInt64,
    view_topics         Array(String),
    view_delivered      Array(UInt64),
    view_delivered_sums Array(UInt64),
    view_filtered       Array(UInt64),
    view_filtered_sums  Array(UInt64),
    view_records        Array(UInt64),
    view_content_sums   Array(UInt64),
    refused           UInt64,
    refused_sum       UInt64,
    refused_reasons   Array(String),
    refused_fields    Array(String),
    refused_changes   Array(UInt64),
    made_at_ms        Int64,
    readable_ms       Int64,
    delay_buckets     Array(UInt16),
    delay_changes     Array(UInt64),
    stored_at         DateTime DEFAULT now(),
    INDEX by_minute minute TYPE minmax GRANULARITY 1,
    INDEX by_made_at made_at_ms TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (account_partition, account_offset)
TTL stored_at + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000;
