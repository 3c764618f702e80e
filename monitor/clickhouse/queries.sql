-- Every query that the monitor asks, each with its name, the unit of its figures and what they mean.
-- Parameters are bound by ClickHouse ({name:Type}). Minutes count from 1970-01-01 UTC, times are milliseconds.
-- Windows of up to 15 minutes are read from the accounts, longer ones (…_long) from the rollups of {step_s} up to
-- {by_minute_s}, from those of minutes after it.

-- name: next_account
-- unit: offset
-- meaning: where in _exchange.accounts the next record to read starts; no row where none was read
SELECT account_offset + 1 AS next_offset
FROM accounts
WHERE account_partition = {partition:UInt32}
ORDER BY account_partition DESC, account_offset DESC
LIMIT 1;

-- name: rolled_up
-- unit: offset
-- meaning: up to where accounts are in the rollups, and up to where there are any
SELECT
    (
        SELECT if(count() = 0, 0, argMax(next_offset, at_ms)) FROM rollup_progress
        WHERE account_partition = {partition:UInt32}
    ) AS next_offset,
    (
        SELECT if(count() = 0, 0, max(account_offset) + 1) FROM accounts
        WHERE account_partition = {partition:UInt32}
    ) AS end_offset;

-- name: touched_minutes
-- unit: minutes
-- meaning: minutes of the source, and minutes of making, that accounts from offset {begin} on belong to
SELECT DISTINCT 'source' AS axis, minute
FROM accounts
WHERE account_partition = {partition:UInt32} AND account_offset >= {begin:UInt64}
UNION ALL
SELECT DISTINCT 'made' AS axis, toUInt64(intDiv(made_at_ms, 60000)) AS minute
FROM accounts
WHERE account_partition = {partition:UInt32} AND account_offset >= {begin:UInt64};

-- name: routes
-- unit: changes
-- meaning: what each view topic got from its raw topic; `recent` counts those made since {recent_ms}
SELECT
    topic, flow.1 AS view_topic, any(resource) AS resource, max(plan_version) AS plan_version,
    sumIf(flow.2, made_at_ms >= {since_ms:Int64}) AS delivered,
    sumIf(flow.3, made_at_ms >= {since_ms:Int64}) AS filtered,
    sumIf(flow.4, made_at_ms >= {since_ms:Int64}) AS records,
    sumIf(flow.2, made_at_ms >= {recent_ms:Int64}) AS recent, max(made_at_ms) AS last_made_at_ms
FROM
(
    SELECT
        topic, resource, plan_version, made_at_ms,
        arrayZip(view_topics, view_delivered, view_filtered, view_records) AS flows
    FROM accounts
    WHERE stage = 'process' AND made_at_ms >= least({since_ms:Int64}, {recent_ms:Int64})
    LIMIT 1 BY account_partition, account_offset
)
ARRAY JOIN flows AS flow
GROUP BY topic, view_topic
ORDER BY topic, view_topic;

-- name: routes_long
-- unit: changes
-- meaning: what each view topic got from its raw topic, from the rollups
SELECT
    topic, view_topic, any(resource) AS resource, max(plan_version) AS plan_version,
    sum(delivered) AS delivered, sum(filtered) AS filtered, sum(records) AS records,
    max(last_made_at_ms) AS last_made_at_ms
FROM rollup_flows FINAL
WHERE ((step_s = {step_s:UInt32} AND start_s >= {since_s:UInt64} AND start_s < {by_minute_s:UInt64})
        OR (step_s = 60 AND start_s >= {by_minute_s:UInt64}))
GROUP BY topic, view_topic
ORDER BY topic, view_topic;

-- name: deliveries
-- unit: changes; lag in records, NULL while Kafka does not tell it
-- meaning: what was written to subscribers' own stores, or given to them over HTTP, per view topic, and how far
-- each is behind it
SELECT
    done.topic AS view_topic, done.subscriber AS subscriber, done.stage AS stage,
    sum(done.changes) - sum(done.refused) AS delivered, sum(done.refused) AS parked,
    max(done.last_made_at_ms) AS last_made_at_ms, any(behind.lag) AS lag_records
FROM rollup_stages AS done FINAL
LEFT JOIN
(
    SELECT group_id, topic, toNullable(sum(greatest(ended - placed, 0))) AS lag
    FROM
    (
        SELECT
            group_id, topic, partition, argMax(next_offset, at_ms) AS placed, argMax(end_offset, at_ms) AS ended
        FROM group_positions
        WHERE at_ms >= {positions_ms:Int64}
        GROUP BY group_id, topic, partition
    )
    GROUP BY group_id, topic
) AS behind
ON behind.topic = done.topic
    AND behind.group_id = concat(
        done.subscriber, if(done.stage = 'pull', '.pull', concat('.deliver.', substring(done.topic, 7)))
    )
WHERE done.stage IN ('deliver', 'pull')
    AND ((done.step_s = {step_s:UInt32} AND done.start_s >= {since_s:UInt64} AND done.start_s < {by_minute_s:UInt64})
        OR (done.step_s = 60 AND done.start_s >= {by_minute_s:UInt64}))
GROUP BY view_topic, subscriber, stage
ORDER BY view_topic, subscriber, stage;

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
    topic, sum(delay.2) AS changes,
    quantilesExactWeighted(0.5, 0.95, 0.99)(
        if(delay.1 = 0, 0.5, pow({growth:Float64}, delay.1 - 0.5)) + late_ms, delay.2
    ) AS percentiles
FROM
(
    SELECT
        topic, greatest(readable_ms - made_at_ms, 0) AS late_ms, arrayZip(delay_buckets, delay_changes) AS delays
    FROM accounts
    WHERE stage = 'process' AND made_at_ms >= {since_ms:Int64}
    LIMIT 1 BY account_partition, account_offset
)
ARRAY JOIN delays AS delay
GROUP BY topic
ORDER BY topic;

-- name: delays_of_stages
-- unit: milliseconds
-- meaning: percentiles of the time from source commit to each stage's end per topic: captured, processed,
-- readable by a read_committed consumer, and (per view topic) written to a subscriber's own store
SELECT
    topic, reached, sum(counted) AS changes,
    quantilesExactWeighted(0.5, 0.95, 0.99)(
        if(bucket = 0, 0.5, pow({growth:Float64}, bucket - 0.5)), counted
    ) AS percentiles
FROM
(
    SELECT topic, reached, bucket, delays[bucket] AS counted
    FROM
    (
        SELECT topic, reached, sumMap(if(reached = 'readable', readable, made)) AS delays
        FROM rollup_stages FINAL
        ARRAY JOIN if(stage = 'process', ['process', 'readable'], [toString(stage)]) AS reached
        WHERE stage IN ('capture', 'process', 'deliver')
            AND ((step_s = {step_s:UInt32} AND start_s >= {since_s:UInt64} AND start_s < {by_minute_s:UInt64})
                OR (step_s = 60 AND start_s >= {by_minute_s:UInt64}))
        GROUP BY topic, reached
    )
    ARRAY JOIN mapKeys(delays) AS bucket
)
GROUP BY topic, reached
ORDER BY topic, reached;

-- name: refusals
-- unit: changes
-- meaning: what went to quarantine, per raw topic, stage, reason and field, from the rollups
SELECT
    topic, any(resource) AS resource, stage, reason, field,
    sum(changes) AS changes, max(last_made_at_ms) AS last_made_at_ms
FROM rollup_refusals FINAL
WHERE ((step_s = {step_s:UInt32} AND start_s >= {since_s:UInt64} AND start_s < {by_minute_s:UInt64})
        OR (step_s = 60 AND start_s >= {by_minute_s:UInt64}))
    AND ({topic:String} = '' OR topic = {topic:String})
GROUP BY topic, stage, reason, field
ORDER BY changes DESC, topic, stage, reason, field
LIMIT {limit:UInt32} OFFSET {offset:UInt32};

-- name: totals
-- unit: changes
-- meaning: captured and processed per raw topic, source time from {since_s}
SELECT
    topic, any(resource) AS resource,
    sum(captured) AS captured, sum(refused_capture) AS refused_capture,
    sum(processed) AS processed, sum(refused_process) AS refused_process,
    sum(foreign_records) AS foreign_records, intDiv(max(start_s), 60) AS last_minute
FROM rollup_sources FINAL
WHERE ((step_s = {step_s:UInt32} AND start_s >= {since_s:UInt64} AND start_s < {by_minute_s:UInt64})
        OR (step_s = 60 AND start_s >= {by_minute_s:UInt64}))
GROUP BY topic
ORDER BY topic;

-- name: view_totals
-- unit: changes
-- meaning: delivered and filtered per view topic, source time from {since_s}
SELECT topic, view_topic, sum(delivered) AS delivered, sum(filtered) AS filtered, sum(records) AS records
FROM rollup_views FINAL
WHERE ((step_s = {step_s:UInt32} AND start_s >= {since_s:UInt64} AND start_s < {by_minute_s:UInt64})
        OR (step_s = 60 AND start_s >= {by_minute_s:UInt64}))
GROUP BY topic, view_topic
ORDER BY topic, view_topic;

-- name: minutes
-- unit: changes
-- meaning: captured and processed per raw topic and source minute
SELECT
    topic, intDiv(start_s, 60) AS minute, sum(captured) AS captured, sum(refused_capture) AS refused_capture,
    sum(processed) AS processed, sum(refused_process) AS refused_process
FROM rollup_sources FINAL
WHERE step_s = 60 AND start_s >= {since_s:UInt64}
GROUP BY topic, minute
ORDER BY topic, minute;

-- name: suspect_steps
-- unit: hours or days, as seconds since 1970-01-01 UTC
-- meaning: in which of the steps that begin at {starts} what entered a raw topic is not what was processed from it,
-- or what was processed and not refused is not what each view of the accounts' plan got or filtered. The sums of a
-- step cannot hide that.
SELECT DISTINCT start_s
FROM
(
    SELECT
        start_s, topic, plan_version, min(kept) != max(kept) OR min(positions) != max(positions) AS differs,
        countIf(is_view) AS views, anyIf(kept, NOT is_view) > 0 AS has_changes
    FROM
    (
        SELECT
            start_s, topic, plan_version, toInt64(processed) - toInt64(refused_process) AS kept,
            kept_positions AS positions, 0 AS is_view
        FROM rollup_sources FINAL
        WHERE step_s = {step_s:UInt32} AND start_s IN {starts:Array(UInt64)} AND processed > 0
        UNION ALL
        SELECT start_s, topic, plan_version, toInt64(delivered + filtered) AS kept, positions, 1 AS is_view
        FROM rollup_views FINAL
        WHERE step_s = {step_s:UInt32} AND start_s IN {starts:Array(UInt64)}
    )
    GROUP BY start_s, topic, plan_version
) AS seen
LEFT JOIN
(
    SELECT topic, plan_version, uniqExact(view_topic) AS known
    FROM
    (
        SELECT topic, plan_version, view_topic FROM plan_views
        UNION ALL
        SELECT topic, plan_version, view_topic FROM rollup_views
        WHERE step_s = {step_s:UInt32} AND start_s IN {starts:Array(UInt64)}
    )
    GROUP BY topic, plan_version
) AS plans USING (topic, plan_version)
WHERE differs OR (has_changes AND views < known)
UNION DISTINCT
SELECT start_s
FROM rollup_sources FINAL
WHERE step_s = {step_s:UInt32} AND start_s IN {starts:Array(UInt64)}
GROUP BY topic, start_s
HAVING sum(captured) - sum(refused_capture) != toInt64(sum(processed))
    OR sum(entered_positions) != sum(processed_positions) OR sum(captured_contents) != sum(processed_contents)
ORDER BY start_s DESC
LIMIT 100;

-- name: uneven_minutes
-- unit: changes; sums are unsigned 64-bit, modulo 2**64
-- meaning: in which of the source minutes that begin at {starts} what entered a raw topic and what was processed
-- from it differ
SELECT
    topic, intDiv(start_s, 60) AS minute, any(resource) AS resource,
    sum(captured) - sum(refused_capture) AS entered, sum(processed) AS processed,
    sum(entered_positions) = sum(processed_positions) AS same_positions,
    sum(captured_contents) = sum(processed_contents) AS same_content, max(last_captured_ms) AS last_captured_ms
FROM rollup_sources FINAL
WHERE step_s = 60 AND start_s IN {starts:Array(UInt64)}
GROUP BY topic, start_s
HAVING entered != toInt64(processed) OR NOT same_positions OR NOT same_content
ORDER BY minute DESC, topic
LIMIT 1000;

-- name: uneven_views
-- unit: changes; sums are unsigned 64-bit, modulo 2**64
-- meaning: in which of the source minutes that begin at {starts} a view's delivered and filtered changes are not
-- those that were processed and not refused. A view that the accounts' plan has, or that other accounts of that
-- plan in these hours have, and the accounts lack counts as nothing delivered.
SELECT
    topic, intDiv(start_s, 60) AS minute, view_topic, any(resource) AS resource,
    sum(kept) AS expected, sum(accounted) AS accounted, sum(kept_positions) = sum(positions) AS same_positions
FROM
(
    SELECT start_s, topic, plan_version, resource, kept, kept_positions, view_topic
    FROM
    (
        SELECT start_s, topic, plan_version, resource, kept_positions, processed - refused_process AS kept
        FROM rollup_sources FINAL
        WHERE step_s = 60 AND start_s IN {starts:Array(UInt64)} AND processed > 0
    ) AS done
    INNER JOIN
    (
        SELECT topic, plan_version, groupUniqArray(view_topic) AS known
        FROM
        (
            SELECT topic, plan_version, view_topic FROM plan_views
            UNION ALL
            SELECT topic, plan_version, view_topic FROM rollup_views
            WHERE step_s = 60 AND start_s IN {starts:Array(UInt64)}
        )
        GROUP BY topic, plan_version
    ) AS plans USING (topic, plan_version)
    ARRAY JOIN known AS view_topic
) AS wanted
LEFT JOIN
(
    SELECT start_s, topic, view_topic, plan_version, delivered + filtered AS accounted, positions
    FROM rollup_views FINAL
    WHERE step_s = 60 AND start_s IN {starts:Array(UInt64)}
) AS got USING (start_s, topic, view_topic, plan_version)
GROUP BY topic, start_s, view_topic
HAVING expected != toInt64(accounted) OR NOT same_positions
ORDER BY minute DESC, topic, view_topic
LIMIT 1000;

-- name: places_of_minutes
-- unit: changes, offsets of the raw topic
-- meaning: of source minutes of raw topics: how many changes entered by accounts before the offset that {settled}
-- has for the topic, and between which offsets of each partition lies what was processed
SELECT
    topic, minute, sum(settled_changes) AS settled_changes,
    groupArrayIf((partition, first, last), partition >= 0) AS offsets
FROM
(
    SELECT
        topic, minute, partition, min(first_offset) AS first, max(last_offset) AS last,
        sumIf(
            toInt64(changes) - if(stage = 'capture', refused, 0),
            stage != 'process'
                AND account_offset < transform(topic, {settled_topics:Array(String)}, {settled:Array(UInt64)}, 0)
        ) AS settled_changes
    FROM
    (
        SELECT topic, minute, stage, partition, first_offset, last_offset, changes, refused, account_offset
        FROM accounts
        WHERE minute IN {minutes:Array(UInt64)} AND topic IN {topics:Array(String)}
            AND stage IN ('capture', 'process', 'redrive')
        LIMIT 1 BY account_partition, account_offset
    )
    GROUP BY topic, minute, partition
    ORDER BY topic, minute, partition
)
GROUP BY topic, minute;

-- name: missing_accounts
-- unit: records of _exchange.accounts
-- meaning: places in the accounts that could not be read: `gap` (Kafka no longer had them) or `unreadable`
SELECT stage, account_offset, first_offset, last_offset, readable_ms
FROM accounts
WHERE stage IN ('gap', 'unreadable')
ORDER BY account_offset DESC
LIMIT 100;

-- name: flow_series
-- unit: changes
-- meaning: what one view topic got from its raw topic in each step of {step_s}, by when it was processed
SELECT start_s, delivered, filtered, records
FROM rollup_flows FINAL
WHERE step_s = {step_s:UInt32} AND start_s >= {since_s:UInt64}
    AND topic = {topic:String} AND view_topic = {view_topic:String}
ORDER BY start_s;

-- name: stage_series
-- unit: changes, milliseconds
-- meaning: what passed each stage of a raw topic in each step of {step_s}, and the 99th percentile of the time
-- from source commit; of stages deliver and pull, the view topic's
SELECT
    start_s, stage, sum(changed) AS changes, sum(turned_away) AS refused,
    quantileExactWeighted(0.99)(if(bucket = 0, 0.5, pow({growth:Float64}, bucket - 0.5)), delays[bucket]) AS p99_ms
FROM
(
    SELECT
        start_s, stage, sum(changes) AS changed, sum(refused) AS turned_away,
        sumMap(if(stage = 'process', readable, made)) AS delays
    FROM rollup_stages FINAL
    WHERE step_s = {step_s:UInt32} AND start_s >= {since_s:UInt64}
        AND (topic = {topic:String} OR (stage IN ('deliver', 'pull') AND topic = {view_topic:String}))
    GROUP BY start_s, stage
)
LEFT ARRAY JOIN mapKeys(delays) AS bucket
GROUP BY start_s, stage
ORDER BY start_s, stage;

-- name: subscribers
-- unit: records and seconds; transaction markers count as records, so an idle group may show a few
-- meaning: how far each consumer group is on the topics it reads, and how far behind it was before {trend_ms}
SELECT
    subscriber, group_id, topic, partition,
    argMax(seen.next_offset, seen.at_ms) AS next_offset, argMax(seen.end_offset, seen.at_ms) AS end_offset,
    tupleElement(argMax(tuple(seen.lag_s), seen.at_ms), 1) AS lag_s, max(seen.at_ms) AS at_ms,
    if(
        countIf(seen.at_ms < {trend_ms:Int64}) = 0, NULL,
        argMaxIf(seen.end_offset - seen.next_offset, seen.at_ms, seen.at_ms < {trend_ms:Int64})
    ) AS earlier_lag_records
FROM group_positions AS seen
WHERE seen.at_ms >= {since_ms:Int64}
GROUP BY subscriber, group_id, topic, partition
HAVING at_ms >= {alive_ms:Int64}
ORDER BY group_id, topic, partition;

-- name: known_ends
-- unit: offsets, milliseconds
-- meaning: when topics reached which end, since {since_ms}
SELECT topic, partition, end_offset, min(seen.at_ms) AS at_ms
FROM topic_ends AS seen
WHERE seen.at_ms >= {since_ms:Int64}
GROUP BY topic, partition, end_offset
ORDER BY topic, partition, end_offset;

-- name: stored_offsets
-- unit: records of _exchange.accounts
-- meaning: how many accounts each stretch of {stretch} offsets holds, and sums over their offsets
SELECT
    intDiv(account_offset, {stretch:UInt64}) AS stretch_number, count() AS accounts,
    sum(account_offset) AS offset_sum, sum(account_offset * account_offset) AS square_sum
FROM accounts
WHERE account_partition = {partition:UInt32}
    AND account_offset >= {first:UInt64} AND account_offset < {until:UInt64}
GROUP BY stretch_number;

-- name: stored_in_stretch
-- unit: records of _exchange.accounts
-- meaning: how often each account of a stretch of offsets is stored, and which minutes it belongs to
SELECT
    account_offset, count() AS copies, any(minute) AS minute, toUInt64(intDiv(any(made_at_ms), 60000)) AS made
FROM accounts
WHERE account_partition = {partition:UInt32}
    AND account_offset >= {first:UInt64} AND account_offset < {until:UInt64}
GROUP BY account_offset
ORDER BY account_offset;

-- name: quality_sources
-- unit: changes
-- meaning: captured and processed per raw topic, source time from {since_s} to before {until_s}
SELECT
    topic, any(resource) AS resource,
    sum(captured) AS captured, sum(refused_capture) AS refused_capture,
    sum(processed) AS processed, sum(refused_process) AS refused_process
FROM rollup_sources FINAL
WHERE step_s = {step_s:UInt32} AND start_s >= {since_s:UInt64} AND start_s < {until_s:UInt64}
GROUP BY topic
ORDER BY topic;

-- name: quality_rules
-- unit: changes
-- meaning: what went to quarantine per raw topic, stage, reason and field, from {since_s} to before {until_s}
SELECT topic, stage, reason, field, sum(changes) AS changes
FROM rollup_refusals FINAL
WHERE step_s = {step_s:UInt32} AND start_s >= {since_s:UInt64} AND start_s < {until_s:UInt64}
GROUP BY topic, stage, reason, field
ORDER BY changes DESC, topic, stage, reason, field;

-- name: quality_delays
-- unit: changes
-- meaning: how many changes of a raw topic were readable, and how many of them in a histogram bucket up to {bucket}
SELECT
    topic, sum(arraySum(mapValues(readable))) AS readable_changes,
    sum(arraySum(arrayMap((at, counted) -> if(at <= {bucket:UInt16}, counted, 0), mapKeys(readable), mapValues(readable))))
        AS timely
FROM rollup_stages FINAL
WHERE stage = 'process' AND step_s = {step_s:UInt32} AND start_s >= {since_s:UInt64} AND start_s < {until_s:UInt64}
GROUP BY topic
ORDER BY topic;

-- name: quality_use
-- unit: changes
-- meaning: what each view got, source time from {since_s} to before {until_s}
SELECT view_topic, any(resource) AS resource, sum(delivered) AS delivered
FROM rollup_views FINAL
WHERE step_s = {step_s:UInt32} AND start_s >= {since_s:UInt64} AND start_s < {until_s:UInt64}
GROUP BY view_topic
ORDER BY view_topic;

-- name: quality_examples
-- unit: offsets
-- meaning: of what was refused of raw topics from {since_ms} to before {until_ms}, for each stage, reason and field
-- the last {most} records that are kept and that Kafka still has: place in the quarantine, and in the raw topic (-1: never got there)
SELECT
    topic, stage, reason, field, quarantine_partition, quarantine_offset, partition, offset, plan_version, at_ms
FROM
(
    SELECT *
    FROM quarantine_examples FINAL
    WHERE topic IN {topics:Array(String)} AND at_ms >= {since_ms:Int64} AND at_ms < {until_ms:Int64}
) AS refused
INNER JOIN
(
    SELECT quarantine_topic, quarantine_partition, topic_id, first_offset FROM quarantine_places FINAL
) AS places USING (quarantine_topic, quarantine_partition, topic_id)
WHERE quarantine_offset >= first_offset
ORDER BY topic, stage, reason, field, at_ms DESC, quarantine_partition DESC, quarantine_offset DESC
LIMIT {most:UInt32} BY topic, stage, reason, field;

-- name: quarantine_next
-- unit: offset
-- meaning: where in each partition of the quarantine topics the next record to read starts
SELECT quarantine_topic, quarantine_partition, topic_id, next_offset
FROM quarantine_places FINAL;
