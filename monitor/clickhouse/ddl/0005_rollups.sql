-- Figures per minute, hour and day (step_s 60, 3600, 86400; start_s is where the step begins). A step is always
-- computed anew from its accounts, or an hour from its minutes and a day from its hours, and replaces the rows it
-- had: `rolled_ms` tells which are the latest. Never added to, so nothing counts twice whatever is inserted again.
-- rollup_sources and rollup_views go by the source's minute, the others by when accounts were made.
CREATE TABLE rollup_sources
(
    step_s              UInt32,
    start_s             UInt64,
    topic               LowCardinality(String),
    plan_version        UInt64,
    resource            LowCardinality(String),
    captured            UInt64,
    refused_capture     UInt64,
    processed           UInt64,
    refused_process     UInt64,
    foreign_records     UInt64,
    entered_positions   UInt64,
    processed_positions UInt64,
    kept_positions      UInt64,
    captured_contents   UInt64,
    processed_contents  UInt64,
    last_captured_ms    Int64,
    rolled_ms           Int64
)
ENGINE = ReplacingMergeTree(rolled_ms)
PARTITION BY step_s
ORDER BY (step_s, start_s, topic, plan_version);

CREATE TABLE rollup_views
(
    step_s        UInt32,
    start_s       UInt64,
    topic         LowCardinality(String),
    view_topic    LowCardinality(String),
    plan_version  UInt64,
    resource      LowCardinality(String),
    delivered     UInt64,
    filtered      UInt64,
    records       UInt64,
    positions     UInt64,
    rolled_ms     Int64
)
ENGINE = ReplacingMergeTree(rolled_ms)
PARTITION BY step_s
ORDER BY (step_s, start_s, topic, view_topic, plan_version);

CREATE TABLE rollup_flows
(
    step_s          UInt32,
    start_s         UInt64,
    topic           LowCardinality(String),
    view_topic      LowCardinality(String),
    resource        LowCardinality(String),
    plan_version    UInt64,
    delivered       UInt64,
    filtered        UInt64,
    records         UInt64,
    last_made_at_ms Int64,
    rolled_ms       Int64
)
ENGINE = ReplacingMergeTree(rolled_ms)
PARTITION BY step_s
ORDER BY (step_s, start_s, topic, view_topic);

-- Histograms of delay from the source's commit, bucket -> changes: `made` to the stage's account, `readable` to
-- its commit being readable. Of stage deliver the topic is the view's and `subscriber` is whose store it is.
CREATE TABLE rollup_stages
(
    step_s          UInt32,
    start_s         UInt64,
    stage           LowCardinality(String),
    topic           LowCardinality(String),
    subscriber      LowCardinality(String),
    changes         UInt64,
    refused         UInt64,
    made            Map(UInt16, UInt64),
    readable        Map(UInt16, UInt64),
    last_made_at_ms Int64,
    rolled_ms       Int64
)
ENGINE = ReplacingMergeTree(rolled_ms)
PARTITION BY step_s
ORDER BY (step_s, start_s, stage, topic, subscriber);

CREATE TABLE rollup_refusals
(
    step_s          UInt32,
    start_s         UInt64,
    topic           LowCardinality(String),
    stage           LowCardinality(String),
    reason          LowCardinality(String),
    field           LowCardinality(String),
    resource        LowCardinality(String),
    changes         UInt64,
    last_made_at_ms Int64,
    rolled_ms       Int64
)
ENGINE = ReplacingMergeTree(rolled_ms)
PARTITION BY step_s
ORDER BY (step_s, start_s, topic, stage, reason, field);

-- Accounts before this offset are in the rollups.
CREATE TABLE rollup_progress
(
    account_partition UInt32,
    next_offset       UInt64,
    at_ms             Int64
)
ENGINE = ReplacingMergeTree(at_ms)
ORDER BY account_partition;

-- Places of accounts that could not be read are few among many.
ALTER TABLE accounts ADD INDEX IF NOT EXISTS by_stage stage TYPE set(8) GRANULARITY 4;
