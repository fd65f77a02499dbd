-- Runs in figures, for people who watch them.

-- name: runs  The newest runs before $1, in any of states $2 if given.
SELECT id, venue, slot, state, reason, seed, settings, turns_total, lost_calls, created_at, started_at, ended_at
FROM runs WHERE id < $1 AND ($2::text[] IS NULL OR state = ANY ($2)) ORDER BY id DESC LIMIT $3

-- name: cycles  The newest $2 runs of venue $1 that have begun.
SELECT id, venue, state, reason, turns_total, started_at, ended_at FROM runs
WHERE venue = $1 AND started_at IS NOT NULL ORDER BY id DESC LIMIT $2

-- name: states  How the turns of runs $1 stand.
SELECT run_id, state, count(*) AS turns FROM turns WHERE run_id = ANY ($1::bigint[]) GROUP BY 1, 2

-- name: usage  What the calls of runs $1 took. Turn by turn, for a join would read the calls of all runs.
SELECT t.run_id, sum(c.calls) AS calls, coalesce(sum(c.prompt_tokens), 0) AS prompt_tokens,
       coalesce(sum(c.completion_tokens), 0) AS completion_tokens, coalesce(sum(c.cached_tokens), 0) AS cached_tokens,
       coalesce(sum(c.cost_usd), 0) AS cost_usd, sum(c.unpriced) AS unpriced, sum(c.failed_calls) AS failed_calls
FROM turns t CROSS JOIN LATERAL (
    SELECT count(*) AS calls, sum(k.prompt_tokens) AS prompt_tokens, sum(k.completion_tokens) AS completion_tokens,
           sum(k.cached_tokens) AS cached_tokens, sum(k.cost_usd) AS cost_usd,
           count(*) FILTER (WHERE k.cost_usd IS NULL) AS unpriced, count(*) FILTER (WHERE k.status <> 'ok') AS failed_calls
    FROM calls k WHERE k.turn_id = t.id
) c
WHERE t.run_id = ANY ($1::bigint[]) GROUP BY 1

-- name: done  What the personas of run $1 did, by action and outcome; `marked` tells what of it was marked.
SELECT a.name, a.outcome, a.marked, count(*) AS times
FROM turns t CROSS JOIN LATERAL (
    SELECT k.name, k.outcome, CASE WHEN k.outcome = 'made' THEN k.detail ELSE '' END AS marked
    FROM actions k WHERE k.turn_id = t.id OFFSET 0
) a
WHERE t.run_id = $1 GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3

-- name: troubles  Why the calls of run $1 gave nothing, most frequent first.
SELECT c.status, c.detail, c.model, count(*) AS times
FROM turns t CROSS JOIN LATERAL (
    SELECT k.status, k.detail, k.model FROM calls k WHERE k.turn_id = t.id AND k.status <> 'ok' OFFSET 0
) c
WHERE t.run_id = $1 GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3 LIMIT 5

-- name: pace  Turns of a run that came to an end within the last minute.
SELECT count(*) FROM turns WHERE run_id = $1 AND ended_at > now() - interval '1 minute'

-- name: turns  The next $3 turns of a run behind ordinal $2, with what they took and what ailed them.
SELECT t.id, t.ordinal, t.persona_id, p.username, p.departed, t.state, t.reason, t.epoch, t.next_step,
       t.started_at, t.ended_at, c.*
FROM (SELECT * FROM turns WHERE run_id = $1 AND ordinal > $2 ORDER BY ordinal LIMIT $3) t
CROSS JOIN LATERAL (SELECT username, status = 'departed' AS departed FROM personas WHERE id = t.persona_id OFFSET 0) p
CROSS JOIN LATERAL (
    SELECT coalesce(sum(k.prompt_tokens + k.completion_tokens), 0) AS tokens, coalesce(sum(k.cost_usd), 0) AS cost_usd,
           count(*) FILTER (WHERE k.cost_usd IS NULL) AS unpriced,
           count(*) FILTER (WHERE k.status <> 'ok') AS failed_calls,
           coalesce(max(k.status || ': ' || k.detail) FILTER (WHERE k.status <> 'ok'), '') AS trouble,
           coalesce(max(k.detail) FILTER (WHERE k.status = 'ok'), '') AS note
    FROM calls k WHERE k.turn_id = t.id
) c
ORDER BY t.ordinal

-- name: spent  What the calls from $1 to before $2 took.
SELECT count(*) AS calls, coalesce(sum(prompt_tokens + completion_tokens), 0) AS tokens,
       coalesce(sum(cost_usd), 0) AS cost_usd, count(*) FILTER (WHERE cost_usd IS NULL) AS unpriced
FROM calls WHERE created_at >= $1 AND created_at < $2

-- name: index_new  Tells the index of calls by time of what no vacuum has come to yet, or all of that is read for each hour and day.
-- It takes the lock a vacuum holds, and gives up long before it would put one off.
SELECT brin_summarize_new_values('calls_created_at_idx') FROM set_config('lock_timeout', '50ms', true)

-- name: standing  Runs that stand still and wait for somebody.
SELECT id, state, reason FROM runs WHERE state IN ('budget_exhausted', 'paused', 'queued', 'running') ORDER BY id DESC LIMIT 20

-- name: server  Whom we are connected to.
SELECT current_setting('server_version') AS version, clock_timestamp() AS now,
       pg_database_size(current_database()) AS bytes
