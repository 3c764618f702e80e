-- How the rollups of ddl/0005_rollups.sql are computed: of minutes from accounts, of longer steps from shorter
-- ones. Each account counts once, however often it is stored. Parameters as in queries.sql.

-- name: sources_of_minutes
INSERT INTO rollup_sources
SELECT
    60, minute * 60, topic, plan_version, any(resource),
    sumIf(changes, stage != 'process'), sumIf(refused, stage = 'capture'),
    sumIf(changes, stage = 'process'), sumIf(refused, stage = 'process'), sum(foreign_records),
    toUInt64(sumIf(position_sum, stage != 'process') - sumIf(refused_sum, stage = 'capture')),
    sumIf(position_sum, stage = 'process'),
    toUInt64(sumIf(position_sum, stage = 'process') - sumIf(refused_sum, stage = 'process')),
    sumIf(content_sum, stage != 'process'), sumIf(content_sum, stage = 'process'),
    maxIf(made_at_ms, stage != 'process'), {rolled_ms:Int64}
FROM
(
    SELECT
        minute, topic, plan_version, resource, stage, changes, refused, foreign_records, position_sum,
        refused_sum, content_sum, made_at_ms
    FROM accounts
    WHERE minute IN {minutes:Array(UInt64)} AND stage IN ('capture', 'process', 'redrive')
    LIMIT 1 BY account_partition, account_offset
)
GROUP BY minute, topic, plan_version;

-- name: views_of_minutes
INSERT INTO rollup_views
SELECT
    60, minute * 60, topic, view.1, plan_version, any(resource),
    sum(view.2), sum(view.4), sum(view.6), sum(view.3) + sum(view.5), {rolled_ms:Int64}
FROM
(
    SELECT
        minute, topic, plan_version, resource,
        arrayZip(
            view_topics, view_delivered, view_delivered_sums, view_filtered, view_filtered_sums, view_records
        ) AS views
    FROM accounts
    WHERE minute IN {minutes:Array(UInt64)} AND stage = 'process'
    LIMIT 1 BY account_partition, account_offset
)
ARRAY JOIN views AS view
GROUP BY minute, topic, view.1, plan_version;

-- name: flows_of_minutes
INSERT INTO rollup_flows
SELECT
    60, made * 60, topic, view.1, any(resource), max(plan_version),
    sum(view.2), sum(view.3), sum(view.4), max(made_at_ms), {rolled_ms:Int64}
FROM
(
    SELECT
        toUInt64(intDiv(made_at_ms, 60000)) AS made, topic, plan_version, resource, made_at_ms,
        arrayZip(view_topics, view_delivered, view_filtered, view_records) AS views
    FROM accounts
    WHERE made_at_ms >= {first_ms:Int64} AND made_at_ms < {until_ms:Int64}
        AND made IN {minutes:Array(UInt64)} AND stage = 'process'
    LIMIT 1 BY account_partition, account_offset
)
ARRAY JOIN views AS view
GROUP BY made, topic, view.1;

-- name: stages_of_minutes
INSERT INTO rollup_stages
SELECT
    60, made * 60, stage, topic, subscriber, sum(changes), sum(refused),
    sumMap(delays), sumMap(CAST((shifted, counts), 'Map(UInt16, UInt64)')), max(made_at_ms), {rolled_ms:Int64}
FROM
(
    SELECT
        toUInt64(intDiv(made_at_ms, 60000)) AS made, stage, topic, changes, refused, made_at_ms,
        if(
            stage IN ('deliver', 'pull'), splitByChar('.', substring(writer, position(writer, '-') + 1))[1], ''
        ) AS subscriber,
        CAST((delay_buckets, delay_changes), 'Map(UInt16, UInt64)') AS delays,
        delay_changes AS counts,
        arrayMap(
            bucket -> toUInt16(1 + floor(
                log(greatest(pow({growth:Float64}, bucket - 0.5) + greatest(readable_ms - made_at_ms, 0), 1))
                / log({growth:Float64})
            )),
            delay_buckets
        ) AS shifted
    FROM accounts
    WHERE made_at_ms >= {first_ms:Int64} AND made_at_ms < {until_ms:Int64}
        AND made IN {minutes:Array(UInt64)}
        AND stage IN ('capture', 'process', 'redrive', 'deliver', 'pull')
    LIMIT 1 BY account_partition, account_offset
)
GROUP BY made, stage, topic, subscriber;

-- name: refusals_of_minutes
INSERT INTO rollup_refusals
SELECT
    60, made * 60, topic, stage, refusal.1, refusal.2, any(resource), sum(refusal.3), max(made_at_ms),
    {rolled_ms:Int64}
FROM
(
    SELECT
        toUInt64(intDiv(made_at_ms, 60000)) AS made, topic, stage, resource, made_at_ms,
        arrayConcat(
            arrayZip(refused_reasons, refused_fields, refused_changes),
            if(foreign_records > 0, [('foreign', '', foreign_records)], [])
        ) AS refusals
    FROM accounts
    WHERE made_at_ms >= {first_ms:Int64} AND made_at_ms < {until_ms:Int64} AND made IN {minutes:Array(UInt64)}
    LIMIT 1 BY account_partition, account_offset
)
ARRAY JOIN refusals AS refusal
GROUP BY made, topic, stage, refusal.1, refusal.2;

-- name: sources_of_steps
INSERT INTO rollup_sources
SELECT
    {step_s:UInt32}, intDiv(start_s, {step_s:UInt32}) * {step_s:UInt32} AS began, topic, plan_version,
    any(resource), sum(captured), sum(refused_capture), sum(processed), sum(refused_process),
    sum(foreign_records), sum(entered_positions), sum(processed_positions), sum(kept_positions),
    sum(captured_contents), sum(processed_contents), max(last_captured_ms), {rolled_ms:Int64}
FROM rollup_sources FINAL
WHERE step_s = {finer_s:UInt32} AND start_s >= {first_s:UInt64} AND start_s < {until_s:UInt64}
    AND began IN {starts:Array(UInt64)}
GROUP BY began, topic, plan_version;

-- name: views_of_steps
INSERT INTO rollup_views
SELECT
    {step_s:UInt32}, intDiv(start_s, {step_s:UInt32}) * {step_s:UInt32} AS began, topic, view_topic,
    plan_version, any(resource), sum(delivered), sum(filtered), sum(records), sum(positions), {rolled_ms:Int64}
FROM rollup_views FINAL
WHERE step_s = {finer_s:UInt32} AND start_s >= {first_s:UInt64} AND start_s < {until_s:UInt64}
    AND began IN {starts:Array(UInt64)}
GROUP BY began, topic, view_topic, plan_version;

-- name: flows_of_steps
INSERT INTO rollup_flows
SELECT
    {step_s:UInt32}, intDiv(start_s, {step_s:UInt32}) * {step_s:UInt32} AS began, topic, view_topic,
    any(resource), max(plan_version), sum(delivered), sum(filtered), sum(records), max(last_made_at_ms),
    {rolled_ms:Int64}
FROM rollup_flows FINAL
WHERE step_s = {finer_s:UInt32} AND start_s >= {first_s:UInt64} AND start_s < {until_s:UInt64}
    AND began IN {starts:Array(UInt64)}
GROUP BY began, topic, view_topic;

-- name: stages_of_steps
INSERT INTO rollup_stages
SELECT
    {step_s:UInt32}, intDiv(start_s, {step_s:UInt32}) * {step_s:UInt32} AS began, stage, topic, subscriber,
    sum(changes), sum(refused), sumMap(made), sumMap(readable), max(last_made_at_ms), {rolled_ms:Int64}
FROM rollup_stages FINAL
WHERE step_s = {finer_s:UInt32} AND start_s >= {first_s:UInt64} AND start_s < {until_s:UInt64}
    AND began IN {starts:Array(UInt64)}
GROUP BY began, stage, topic, subscriber;

-- name: refusals_of_steps
INSERT INTO rollup_refusals
SELECT
    {step_s:UInt32}, intDiv(start_s, {step_s:UInt32}) * {step_s:UInt32} AS began, topic, stage, reason, field,
    any(resource), sum(changes), max(last_made_at_ms), {rolled_ms:Int64}
FROM rollup_refusals FINAL
WHERE step_s = {finer_s:UInt32} AND start_s >= {first_s:UInt64} AND start_s < {until_s:UInt64}
    AND began IN {starts:Array(UInt64)}
GROUP BY began, topic, stage, reason, field;
