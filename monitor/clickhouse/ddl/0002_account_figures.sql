-- The arrays of `accounts`, unfolded.
CREATE VIEW account_views AS
SELECT
    account_partition, account_offset, stage, resource, topic, minute, plan_version, made_at_ms,
    view.1 AS view_topic, view.2 AS delivered, view.3 AS delivered_sum, view.4 AS filtered,
    view.5 AS filtered_sum, view.6 AS records, view.7 AS content_sum
FROM accounts
ARRAY JOIN arrayZip(
    view_topics, view_delivered, view_delivered_sums, view_filtered, view_filtered_sums, view_records,
    view_content_sums
) AS view;

CREATE VIEW account_refusals AS
SELECT
    account_partition, account_offset, stage, resource, topic, minute, made_at_ms,
    refusal.1 AS reason, refusal.2 AS field, refusal.3 AS changes
FROM accounts
ARRAY JOIN arrayConcat(
    arrayZip(refused_reasons, refused_fields, refused_changes),
    if(foreign_records > 0, [('foreign', '', foreign_records)], [])
) AS refusal;

CREATE VIEW account_delays AS
SELECT
    account_partition, account_offset, stage, resource, topic, minute, made_at_ms, readable_ms,
    delay.1 AS bucket, delay.2 AS changes
FROM accounts
ARRAY JOIN arrayZip(delay_buckets, delay_changes) AS delay;
