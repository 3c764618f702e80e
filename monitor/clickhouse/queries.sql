-- Every query that the monitor asks, each with its name, the unit of its figures and what they mean.
-- Parameters are bound by ClickHouse ({name:Type}). Minutes count from 1970-01-01 UTC, times are milliseconds.

-- name: next_account
-- unit: offset
-- meaning: where in _exchange.accounts the next record to read starts
SELECT if(count() = 0, 0, max(account_offset) + 1) AS next_offset
FROM accounts WHERE account_partition = {partition:UInt32};

-- name: routes
-- unit: changes
-- meaning: what each view topic got from its raw topic; `recent` counts those made since {recent_ms}
SELECT
    topic, view_topic, any(resource) AS resource, max(plan_version) AS plan_version,
    sumIf(flow.delivered, made_at_ms >= {since_ms:Int64}) AS delivered,
    sumIf(flow.filtered, made_at_ms >= {since_ms:Int64}) AS filtered,
    sumIf(flow.records, made_at_ms >= {since_ms:Int64}) AS records,
    sumIf(flow.delivered, made_at_ms >= {recent_ms:Int64}) AS recent, max(made_at_ms) AS last_made_at_ms
FROM account_views AS flow
WHERE stage = 'process' AND made_at_ms >= least({since_ms:Int64}, {recent_ms:Int64})
GROUP BY topic, view_topic
ORDER BY topic, view_topic;

-- name: deliveries
-- unit: changes; lag in records, NULL while Kafka does not tell it
-- meaning: what was written to subscribers' own stores per view topic, and how far each is behind it
SELECT
    done.topic AS view_topic, splitByChar('.', substring(done.writer, 9))[1] AS subscriber,
    sum(done.changes) - sum(done.refused) AS delivered, sum(done.refused) AS parked,
    max(done.made_at_ms) AS last_made_at_ms, any(behind.lag) AS lag_records
FROM accounts AS done
LEFT JOIN
(
    SELECT group_id, topic, toNullable(sum(greatest(ended - placed, 0))) AS lag
    FROM
    (
        SELECT
            group_id, topic, partition, argMax(next_offset, at_ms) AS placed, argMax(end_offset, at_ms) AS ended
        FROM subscriber_positions
        WHERE at_ms >= {positions_ms:Int64}
        GROUP BY group_id, topic, partition
    )
    GROUP BY group_id, topic
) AS behind
ON behind.topic = done.topic
    AND behind.group_id = concat(
        splitByChar('.', substring(done.writer, 9))[1], '.deliver.', substring(done.topic, 7)
    )
WHERE done.stage = 'deliver' AND done.made_at_ms >= {since_ms:Int64}
GROUP BY view_topic, subscriber
ORDER BY view_topic, subscriber;

-- name: planned_routes
-- unit: none
-- meaning: the view topics of the newest plan, with those that had no change yet
SELECT DISTINCT topic, view_topic, resource, plan_version
FROM plan_views
WHERE plan_version = (SELECT max(plan_version) FROM plan_views)
ORDER BY topic, view_topic;

-- name: delays
-- unit: milliseconds
-- meaning: source commit to readable by a read_committed consumer, percentiles per raw topic; a change stands
-- in the middle of its histogram bucket, {growth} is the factor between buckets
SELECT
    topic, sum(delay.changes) AS changes,
    quantilesExactWeighted(0.5, 0.95, 0.99)(
        if(bucket = 0, 0.5, pow({growth:Float64}, bucket - 0.5)) + greatest(readable_ms - made_at_ms, 0),
        delay.changes
    ) AS percentiles
FROM account_delays AS delay
WHERE stage = 'process' AND made_at_ms >= {since_ms:Int64}
GROUP BY topic
ORDER BY topic;

-- name: refusals
-- unit: changes
-- meaning: what went to quarantine, per raw topic, stage, reason and field
SELECT
    topic, any(resource) AS resource, stage, reason, field,
    sum(changes) AS changes, max(made_at_ms) AS last_made_at_ms
FROM account_refusals
WHERE made_at_ms >= {since_ms:Int64} AND ({topic:String} = '' OR topic = {topic:String})
GROUP BY topic, stage, reason, field
ORDER BY changes DESC, topic, stage, reason, field
LIMIT {limit:UInt32};

-- name: totals
-- unit: changes
-- meaning: captured and processed per raw topic, source minutes from {since_minute}
SELECT
    topic, any(resource) AS resource,
    sumIf(changes, stage IN ('capture', 'redrive')) AS captured,
    sumIf(refused, stage = 'capture') AS refused_capture,
    sumIf(changes, stage = 'process') AS processed,
    sumIf(refused, stage = 'process') AS refused_process,
    sum(foreign_records) AS foreign_records,
    max(minute) AS last_minute
FROM accounts
WHERE minute >= {since_minute:UInt64} AND stage IN ('capture', 'process', 'redrive')
GROUP BY topic
ORDER BY topic;

-- name: view_totals
-- unit: changes
-- meaning: delivered and filtered per view topic, source minutes from {since_minute}
SELECT topic, view_topic, sum(delivered) AS delivered, sum(filtered) AS filtered, sum(records) AS records
FROM account_views
WHERE minute >= {since_minute:UInt64} AND stage = 'process'
GROUP BY topic, view_topic
ORDER BY topic, view_topic;

-- name: minutes
-- unit: changes
-- meaning: captured and processed per raw topic and source minute
SELECT
    topic, minute,
    sumIf(changes, stage IN ('capture', 'redrive')) AS captured,
    sumIf(refused, stage = 'capture') AS refused_capture,
    sumIf(changes, stage = 'process') AS processed,
    sumIf(refused, stage = 'process') AS refused_process
FROM accounts
WHERE minute >= {since_minute:UInt64} AND stage IN ('capture', 'process', 'redrive')
GROUP BY topic, minute
ORDER BY topic, minute;

-- name: uneven_minutes
-- unit: changes; sums are unsigned 64-bit, modulo 2**64
-- meaning: source minutes in which what entered a raw topic and what was processed from it differ
SELECT
    topic, minute, any(resource) AS resource,
    sumIf(changes, stage IN ('capture', 'redrive')) - sumIf(refused, stage = 'capture') AS entered,
    sumIf(changes, stage = 'process') AS processed,
    toUInt64(sumIf(position_sum, stage IN ('capture', 'redrive')) - sumIf(refused_sum, stage = 'capture'))
        = sumIf(position_sum, stage = 'process') AS same_positions,
    sumIf(content_sum, stage IN ('capture', 'redrive')) = sumIf(content_sum, stage = 'process') AS same_content,
    maxIf(made_at_ms, stage IN ('capture', 'redrive')) AS last_captured_ms
FROM accounts
WHERE minute >= {since_minute:UInt64} AND stage IN ('capture', 'process', 'redrive')
GROUP BY topic, minute
HAVING entered != toInt64(processed) OR NOT same_positions OR NOT same_content
ORDER BY minute DESC, topic
LIMIT 1000;

-- name: uneven_views
-- unit: changes; sums are unsigned 64-bit, modulo 2**64
-- meaning: source minutes in which a view's delivered and filtered changes are not those that were processed
-- and not refused. A view that the account's plan has and the account lacks counts as nothing delivered.
SELECT
    topic, minute, view_topic, any(resource) AS resource,
    sum(changes) - sum(refused) AS expected,
    sum(delivered) + sum(filtered) AS accounted,
    toUInt64(sum(position_sum) - sum(refused_sum)) = sum(delivered_sum) + sum(filtered_sum) AS same_positions
FROM
(
    SELECT
        topic, minute, resource, changes, refused, position_sum, refused_sum, view_topic,
        indexOf(view_topics, view_topic) AS at,
        view_delivered[at] AS delivered, view_filtered[at] AS filtered,
        view_delivered_sums[at] AS delivered_sum, view_filtered_sums[at] AS filtered_sum
    FROM accounts
    LEFT JOIN
    (
        SELECT plan_version, topic, groupUniqArray(view_topic) AS planned
        FROM plan_views GROUP BY plan_version, topic
    ) AS plans USING (plan_version, topic)
    ARRAY JOIN arrayDistinct(arrayConcat(view_topics, planned)) AS view_topic
    WHERE stage = 'process' AND minute >= {since_minute:UInt64}
)
GROUP BY topic, minute, view_topic
HAVING expected != toInt64(accounted) OR NOT same_positions
ORDER BY minute DESC, topic, view_topic
LIMIT 1000;

-- name: missing_accounts
-- unit: records of _exchange.accounts
-- meaning: places in the accounts that could not be read: `gap` (Kafka no longer had them) or `unreadable`
SELECT stage, account_offset, first_offset, last_offset, readable_ms
FROM accounts
WHERE stage IN ('gap', 'unreadable')
ORDER BY account_offset DESC
LIMIT 100;

-- name: subscribers
-- unit: records; transaction markers count as records, so an idle group may show a few
-- meaning: how far each consumer group is on the topics it reads
SELECT
    subscriber, group_id, topic, partition,
    argMax(latest.next_offset, latest.at_ms) AS next_offset,
    argMax(latest.end_offset, latest.at_ms) AS end_offset, max(latest.at_ms) AS at_ms
FROM subscriber_positions AS latest
WHERE latest.at_ms >= {since_ms:Int64}
GROUP BY subscriber, group_id, topic, partition
ORDER BY group_id, topic, partition;
