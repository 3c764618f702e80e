-- Which views a plan version makes from which raw topic; rows repeat when the plan is read again.
CREATE TABLE plan_views
(
    plan_version UInt64,
    resource     LowCardinality(String),
    topic        LowCardinality(String),
    view_topic   String
)
ENGINE = ReplacingMergeTree
ORDER BY (plan_version, topic, view_topic);
