-- What scopes may spend: reserved before a model call, settled with its step (commit.sql), charged when its answer is lost.
-- A run's day is 1970-01-01, the others' the day in UTC. Rows are locked in the order of scope, key and day, turns before them.

-- name: open_budgets  Rows for these scopes ($1) and keys ($2), begun with the calls there are; a row that is behind catches up.
WITH wanted AS MATERIALIZED (
    SELECT w.scope, w.key, d.day, d.day::timestamp AT TIME ZONE 'UTC' AS since
    FROM unnest($1::text[], $2::bigint[]) AS w (scope, key)
    CROSS JOIN LATERAL (
        SELECT CASE WHEN w.scope = 'run' THEN DATE '1970-01-01' ELSE (now() AT TIME ZONE 'UTC')::date END AS day
    ) d
),
before AS MATERIALIZED (
    SELECT * FROM budgets WHERE (scope, key, day) IN (SELECT scope, key, day FROM wanted)
),
used AS (
    SELECT w.scope, w.key, c.prompt_tokens, c.completion_tokens, c.cost_usd
    FROM wanted w JOIN turns t ON t.run_id = w.key JOIN calls c ON c.turn_id = t.id
    WHERE w.scope = 'run'
    UNION ALL
    SELECT w.scope, w.key, c.prompt_tokens, c.completion_tokens, c.cost_usd
    FROM wanted w
    JOIN turns t ON t.persona_id = w.key AND (t.ended_at IS NULL OR t.ended_at >= w.since)
    JOIN calls c ON c.turn_id = t.id AND c.created_at >= w.since
    WHERE w.scope = 'persona'
    UNION ALL
    SELECT w.scope, w.key, c.prompt_tokens, c.completion_tokens, c.cost_usd
    FROM wanted w JOIN calls c ON c.created_at >= w.since
    WHERE w.scope = 'instance'
),
sums AS (
    SELECT scope, key, sum(greatest(0, prompt_tokens)::bigint + greatest(0, completion_tokens)) AS tokens,
           sum(greatest(0, cost_usd)) AS usd
    FROM used GROUP BY 1, 2
),
opened AS (
    INSERT INTO budgets AS b (scope, key, day, spent_tokens, spent_usd)
    SELECT w.scope, w.key, w.day, coalesce(s.tokens, 0), coalesce(s.usd, 0)
    FROM wanted w LEFT JOIN sums s USING (scope, key)
    ORDER BY w.scope, w.key, w.day
    ON CONFLICT (scope, key, day) DO UPDATE
    SET spent_tokens = b.spent_tokens + (
            SELECT greatest(0, excluded.spent_tokens - o.spent_tokens) FROM before o
            WHERE (o.scope, o.key, o.day) = (b.scope, b.key, b.day)
        ),
        spent_usd = b.spent_usd + (
            SELECT greatest(0, excluded.spent_usd - o.spent_usd) FROM before o
            WHERE (o.scope, o.key, o.day) = (b.scope, b.key, b.day)
        )
    WHERE EXISTS (
        SELECT FROM before o
        WHERE (o.scope, o.key, o.day) = (b.scope, b.key, b.day)
          AND (excluded.spent_tokens > o.spent_tokens OR excluded.spent_usd > o.spent_usd)
    )
)
SELECT (now() AT TIME ZONE 'UTC')::date AS day

-- name: one_opener  Those who make rows take turns, so that two never both catch up for the same calls.
SELECT pg_advisory_xact_lock(7236423)

-- name: reserve  Holds for many calls at once, each in all scopes or in none, those before it first. Caps may be null.
WITH today AS MATERIALIZED (SELECT (now() AT TIME ZONE 'UTC')::date AS day),
given AS (
    SELECT * FROM unnest(
        $1::bigint[], $2::int[], $3::bigint[], $4::float8[], $5::bigint[], $6::float8[], $7::bigint[], $8::float8[],
        $9::bigint[], $10::float8[]
    ) WITH ORDINALITY AS g (
        turn_id, epoch, tokens, usd, persona_tokens, persona_usd, run_tokens, run_usd, instance_tokens, instance_usd, n
    )
),
live AS MATERIALIZED (
    SELECT g.*, t.persona_id, t.run_id, t.held_tokens > 0 OR t.held_usd > 0 AS holds
    FROM given g JOIN turns t ON t.id = g.turn_id AND t.epoch = g.epoch AND t.state = 'running'
    ORDER BY t.id FOR NO KEY UPDATE OF t
),
wishes AS MATERIALIZED (
    SELECT l.n, w.scope, w.key, w.day, l.tokens, l.usd::numeric(14, 8) AS usd, w.cap_tokens, w.cap_usd::numeric AS cap_usd
    FROM live l CROSS JOIN today CROSS JOIN LATERAL (
        VALUES ('instance', 0, today.day, l.instance_tokens, l.instance_usd),
               ('persona', l.persona_id, today.day, l.persona_tokens, l.persona_usd),
               ('run', l.run_id, DATE '1970-01-01', l.run_tokens, l.run_usd)
    ) AS w (scope, key, day, cap_tokens, cap_usd)
    WHERE NOT l.holds
),
locked AS MATERIALIZED (
    SELECT * FROM budgets
    WHERE (scope, key, day) IN (SELECT scope, key, day FROM wishes)
    ORDER BY scope, key, day FOR NO KEY UPDATE
),
weighed AS MATERIALIZED (
    SELECT w.n, scope, key, day, w.tokens, w.usd, w.cap_tokens, w.cap_usd,
           b.spent_tokens, b.spent_usd, b.held_tokens, b.held_usd,
           b.spent_tokens IS NULL AND num_nonnulls(w.cap_tokens, w.cap_usd) > 0 AS missing,
           b.spent_tokens + b.held_tokens + w.tokens > w.cap_tokens OR b.spent_usd + b.held_usd + w.usd > w.cap_usd AS over,
           b.spent_tokens + b.held_tokens + sum(w.tokens) OVER before > w.cap_tokens
               OR b.spent_usd + b.held_usd + sum(w.usd) OVER before > w.cap_usd AS crowded
    FROM wishes w LEFT JOIN locked b USING (scope, key, day)
    WINDOW before AS (PARTITION BY scope, key, day ORDER BY w.n)
),
verdicts AS MATERIALIZED (
    SELECT n, CASE WHEN bool_or(missing) THEN 'missing' WHEN bool_or(over) THEN 'over'
                   WHEN bool_or(crowded) THEN 'crowded' ELSE 'held' END AS verdict
    FROM weighed GROUP BY n
),
counted AS (
    UPDATE budgets b SET held_tokens = b.held_tokens + h.tokens, held_usd = b.held_usd + h.usd
    FROM (
        SELECT scope, key, day, sum(tokens) AS tokens, sum(usd) AS usd
        FROM weighed JOIN verdicts USING (n) WHERE verdict = 'held' GROUP BY 1, 2, 3
    ) h JOIN locked USING (scope, key, day)
    WHERE (b.scope, b.key, b.day) = (h.scope, h.key, h.day)
),
noted AS (
    UPDATE turns t SET held_tokens = l.tokens, held_usd = l.usd::numeric(14, 8), held_day = today.day
    FROM live l JOIN verdicts v USING (n) CROSS JOIN today
    WHERE t.id = l.turn_id AND v.verdict = 'held'
)
SELECT g.n, CASE WHEN l.holds THEN 'holds' ELSE coalesce(v.verdict, 'gone') END AS verdict, today.day,
       w.scope, w.key, w.over, w.spent_tokens, w.spent_usd::float8, w.held_tokens, w.held_usd::float8
FROM given g CROSS JOIN today
LEFT JOIN live l USING (n)
LEFT JOIN verdicts v USING (n)
LEFT JOIN weighed w ON w.n = g.n AND (
    w.over OR (v.verdict = 'held' AND (
        w.spent_tokens + w.held_tokens + w.tokens >= $11::float8 * w.cap_tokens
        OR w.spent_usd + w.held_usd + w.usd >= $11::float8 * w.cap_usd::float8
    ))
)
ORDER BY g.n

-- name: end_holds  What these turns ($1) hold, where their epochs ($2, null for any) are still so, is free again, or with $3 spent.
WITH ended AS MATERIALIZED (
    SELECT t.id, t.run_id, t.persona_id, t.held_tokens AS tokens, t.held_usd AS usd, t.held_day AS day
    FROM (SELECT DISTINCT * FROM unnest($1::bigint[], $2::int[]) AS u (turn_id, epoch)) g
    JOIN turns t ON t.id = g.turn_id AND (g.epoch IS NULL OR t.epoch = g.epoch)
    WHERE t.held_tokens > 0 OR t.held_usd > 0
    ORDER BY t.id FOR NO KEY UPDATE OF t
),
cleared AS (UPDATE turns t SET held_tokens = 0, held_usd = 0 FROM ended e WHERE t.id = e.id),
lost AS (
    UPDATE runs r SET lost_calls = r.lost_calls + e.times
    FROM (SELECT run_id, count(*) AS times FROM ended GROUP BY 1) e
    WHERE $3 AND r.id = e.run_id
),
sums AS MATERIALIZED (
    SELECT b.scope, b.key, b.day, sum(e.tokens) AS tokens, sum(e.usd) AS usd
    FROM ended e CROSS JOIN LATERAL (
        VALUES ('instance', 0, e.day), ('persona', e.persona_id, e.day), ('run', e.run_id, DATE '1970-01-01')
    ) AS b (scope, key, day)
    GROUP BY 1, 2, 3
),
locked AS MATERIALIZED (
    SELECT scope, key, day FROM budgets
    WHERE (scope, key, day) IN (SELECT scope, key, day FROM sums)
    ORDER BY scope, key, day FOR NO KEY UPDATE
),
freed AS (
    UPDATE budgets b
    SET held_tokens = greatest(0, b.held_tokens - s.tokens),
        held_usd = greatest(0, b.held_usd - s.usd),
        spent_tokens = b.spent_tokens + CASE WHEN $3 THEN s.tokens ELSE 0 END,
        spent_usd = b.spent_usd + CASE WHEN $3 THEN s.usd ELSE 0 END
    FROM sums s JOIN locked USING (scope, key, day)
    WHERE (b.scope, b.key, b.day) = (s.scope, s.key, s.day)
)
SELECT count(*) FROM ended

-- name: holding_turns  Turns of a run that hold something.
SELECT id FROM turns WHERE run_id = $1 AND (held_tokens > 0 OR held_usd > 0)

-- name: budget_drift  Budgets of the last two days and their runs that differ from the ledger. Lost calls may only make them larger.
-- A call is charged on the day it was begun, and the ledger knows when it ended: near midnight it may be either day's.
-- A turn that never held anything was played without caps, and its calls went into no budget. While a process plays a turn,
-- caps stay as they are: one of a single epoch held for all of its calls or for none.
WITH recent AS (
    SELECT t.persona_id, c.created_at, greatest(0, c.prompt_tokens)::bigint + greatest(0, c.completion_tokens) AS tokens,
           greatest(0, c.cost_usd) AS usd,
           (c.created_at AT TIME ZONE 'UTC')::date AS ended,
           ((c.created_at - make_interval(secs => 600 + c.latency_ms / 1000.0)) AT TIME ZONE 'UTC')::date AS begun
    FROM calls c JOIN turns t ON t.id = c.turn_id
    WHERE c.created_at >= now() - interval '3 days'
),
charges AS (
    SELECT s.scope, s.key, d.day, r.begun = r.ended AS sure, r.tokens, r.usd
    FROM recent r
    CROSS JOIN LATERAL (VALUES ('instance', 0), ('persona', r.persona_id)) AS s (scope, key)
    CROSS JOIN LATERAL (SELECT r.begun AS day UNION SELECT r.ended) d
    UNION ALL
    SELECT 'run', t.run_id, DATE '1970-01-01', true,
           greatest(0, c.prompt_tokens)::bigint + greatest(0, c.completion_tokens), greatest(0, c.cost_usd)
    FROM runs r JOIN turns t ON t.run_id = r.id JOIN calls c ON c.turn_id = t.id
    WHERE r.ended_at IS NULL OR r.ended_at >= now() - interval '2 days'
),
book AS (
    SELECT scope, key, day,
           coalesce(sum(tokens) FILTER (WHERE sure), 0) AS least_tokens, sum(tokens) AS most_tokens,
           coalesce(sum(usd) FILTER (WHERE sure), 0) AS least_usd, sum(usd) AS most_usd
    FROM charges GROUP BY 1, 2, 3
),
holds AS (
    SELECT s.scope, s.key, s.day, sum(t.held_tokens) AS tokens, sum(t.held_usd) AS usd
    FROM turns t CROSS JOIN LATERAL (
        VALUES ('instance', 0, t.held_day), ('persona', t.persona_id, t.held_day), ('run', t.run_id, DATE '1970-01-01')
    ) AS s (scope, key, day)
    WHERE t.held_tokens > 0 OR t.held_usd > 0
    GROUP BY 1, 2, 3
),
losses AS (
    SELECT s.scope, s.key FROM runs r JOIN turns t ON t.run_id = r.id
    CROSS JOIN LATERAL (VALUES ('instance', 0), ('persona', t.persona_id), ('run', r.id)) AS s (scope, key)
    WHERE r.lost_calls > 0 AND (r.ended_at IS NULL OR r.ended_at >= now() - interval '3 days')
    GROUP BY 1, 2
),
drift AS MATERIALIZED (
    SELECT b.scope, b.key, b.day, b.spent_tokens, b.spent_usd, b.held_tokens, b.held_usd,
           coalesce(k.most_tokens, 0) AS ledger_tokens, coalesce(k.most_usd, 0) AS ledger_usd,
           coalesce(h.tokens, 0) AS turns_tokens, coalesce(h.usd, 0) AS turns_usd
    FROM budgets b
    LEFT JOIN book k USING (scope, key, day)
    LEFT JOIN holds h USING (scope, key, day)
    LEFT JOIN losses l USING (scope, key)
    LEFT JOIN runs r ON b.scope = 'run' AND r.id = b.key
    WHERE CASE WHEN b.scope = 'run' THEN r.ended_at IS NULL OR r.ended_at >= now() - interval '2 days'
               ELSE b.day >= (now() AT TIME ZONE 'UTC')::date - 1 END
      AND (
          b.spent_tokens < coalesce(k.least_tokens, 0) OR b.spent_usd < coalesce(k.least_usd, 0) - 0.000001
          OR l.scope IS NULL
             AND (b.spent_tokens > coalesce(k.most_tokens, 0) OR b.spent_usd > coalesce(k.most_usd, 0) + 0.000001)
          OR b.held_tokens <> coalesce(h.tokens, 0) OR b.held_usd <> coalesce(h.usd, 0)
      )
)
SELECT d.* FROM drift d
CROSS JOIN LATERAL (
    SELECT coalesce(sum(greatest(0, c.prompt_tokens)::bigint + greatest(0, c.completion_tokens)), 0) AS tokens,
           coalesce(sum(greatest(0, c.cost_usd)), 0) AS usd
    FROM turns t JOIN calls c ON c.turn_id = t.id
    CROSS JOIN LATERAL (SELECT d.day::timestamp AT TIME ZONE 'UTC' AS begins) day
    WHERE t.held_day IS NOT NULL AND t.epoch = 1
      AND CASE d.scope WHEN 'run' THEN t.run_id = d.key
          ELSE (t.persona_id = d.key OR d.scope = 'instance')
               AND c.created_at >= day.begins + make_interval(secs => 600 + c.latency_ms / 1000.0)
               AND c.created_at < day.begins + interval '1 day' END
) held
WHERE (d.held_tokens, d.held_usd) <> (d.turns_tokens, d.turns_usd)
   OR d.spent_tokens < held.tokens OR d.spent_usd < held.usd - 0.000001
   OR d.spent_tokens > d.ledger_tokens OR d.spent_usd > d.ledger_usd + 0.000001
ORDER BY d.scope, d.key, d.day

-- name: wakers  How many personas a cycle wakes on average, by the model they name; null for none.
SELECT model, sum(activity)::float8 AS turns FROM personas WHERE status = 'active' GROUP BY model ORDER BY model

-- name: usage_of  What calls of model $1 took on average in its last ten runs of thirty (500 turns of each are looked at), at most 2,000; a turn's seconds are the median.
WITH lately AS MATERIALIZED (SELECT id FROM runs WHERE ended_at IS NOT NULL ORDER BY id DESC LIMIT 30),
recent AS MATERIALIZED (
    SELECT r.id FROM lately r
    WHERE EXISTS (
        SELECT FROM (SELECT id FROM turns WHERE run_id = r.id LIMIT 500) t CROSS JOIN LATERAL (
            SELECT FROM calls c WHERE c.turn_id = t.id AND c.model = $1 AND c.status = 'ok' LIMIT 1
        ) c
    )
    ORDER BY r.id DESC LIMIT 10
),
played AS MATERIALIZED (
    SELECT t.id, extract(epoch FROM t.ended_at - t.started_at) AS seconds
    FROM turns t WHERE t.run_id IN (SELECT id FROM recent) AND t.state IN ('done', 'limit', 'refused')
    ORDER BY t.id DESC LIMIT 2000
),
sample AS MATERIALIZED (
    SELECT p.id, p.seconds, c.prompt_tokens, c.cached_tokens, c.completion_tokens
    FROM played p CROSS JOIN LATERAL (
        SELECT * FROM calls c WHERE c.turn_id = p.id AND c.model = $1 AND c.status = 'ok' LIMIT 100
    ) c
    ORDER BY p.id DESC LIMIT 2000
)
SELECT count(*) AS calls, count(DISTINCT id) AS turns, avg(prompt_tokens)::float8 AS prompt_tokens,
       avg(cached_tokens)::float8 AS cached_tokens, avg(completion_tokens)::float8 AS completion_tokens,
       (percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds))::float8 AS turn_seconds
FROM sample

-- name: keep_estimate  What run $1 was expected to take.
UPDATE runs SET estimate = $2::jsonb WHERE id = $1
