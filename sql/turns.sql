-- Runs and turns: opened once, claimed by epoch, finished honestly.

-- name: open_run  A run for a slot and one turn a persona; no row when the slot is taken. $5: ids in the order of their turns.
WITH opened AS (
    INSERT INTO runs (venue, slot, seed, settings, state, turns_total, started_at)
    VALUES ($1, $2, $3, $4, 'running', cardinality($5::bigint[]), now())
    ON CONFLICT (slot) DO NOTHING
    RETURNING id
),
turned AS (
    INSERT INTO turns (run_id, persona_id, ordinal)
    SELECT opened.id, p.persona_id, p.ordinal
    FROM opened, unnest($5::bigint[]) WITH ORDINALITY AS p (persona_id, ordinal)
)
SELECT id FROM opened

-- name: awake  Personas that may wake, with how readily.
SELECT id, activity FROM personas WHERE status = 'active' ORDER BY id

-- name: claim_turns  Takes up to $2 turns that wait, or whose holder is gone, and gives them a new epoch.
UPDATE turns t
SET state = 'running', epoch = t.epoch + 1, lease_until = now() + make_interval(secs => $3),
    started_at = coalesce(t.started_at, now())
FROM (
    SELECT id FROM turns
    WHERE run_id = $1 AND (state = 'queued' OR (state = 'running' AND lease_until < now()))
    ORDER BY ordinal LIMIT $2
    FOR UPDATE SKIP LOCKED
) q
WHERE t.id = q.id
RETURNING t.id, t.persona_id, t.epoch, t.next_step

-- name: extend_leases  Says that the holder of these turns lives.
UPDATE turns t SET lease_until = now() + make_interval(secs => $3)
FROM unnest($1::bigint[], $2::int[]) AS mine (id, epoch)
WHERE t.id = mine.id AND t.epoch = mine.epoch AND t.state = 'running'

-- name: fail_turn  Ends a turn that can't go on, whatever its step.
UPDATE turns SET state = 'failed', reason = $3, ended_at = now(), lease_until = NULL
WHERE id = $1 AND epoch = $2 AND state = 'running'

-- name: park_turns  Gives turns back, for whoever claims them next.
UPDATE turns t SET state = 'queued', lease_until = NULL
FROM unnest($1::bigint[], $2::int[]) AS mine (id, epoch)
WHERE t.id = mine.id AND t.epoch = mine.epoch AND t.state = 'running'

-- name: drop_open_turns  A persona leaves: its open turns end.
UPDATE turns SET state = 'failed', reason = 'departed', epoch = epoch + 1, ended_at = now(), lease_until = NULL
WHERE persona_id = $1 AND state IN ('queued', 'running')

-- name: open_turns  How many turns of a run are not at an end.
SELECT count(*) FROM turns WHERE run_id = $1 AND state IN ('queued', 'running')

-- name: settle_run  Ends a run none of whose turns is open, with the state they tell.
UPDATE runs r
SET ended_at = now(),
    state = CASE WHEN t.failed = 0 THEN 'completed' WHEN t.failed = t.total THEN 'failed' ELSE 'partial' END
FROM (SELECT count(*) FILTER (WHERE state = 'failed') AS failed, count(*) AS total FROM turns WHERE run_id = $1) t
WHERE r.id = $1 AND r.state = 'running'
  AND NOT EXISTS (SELECT FROM turns WHERE run_id = $1 AND state IN ('queued', 'running'))
RETURNING r.state

-- name: unfinished  Runs that some process must go on with, oldest first.
SELECT id FROM runs WHERE venue = $1 AND state = 'running' ORDER BY id

-- name: run  One run.
SELECT id, venue, slot, state, seed, settings, turns_total, created_at, started_at, ended_at FROM runs WHERE id = $1

-- name: runs  The newest runs before $1.
SELECT id, venue, slot, state, seed, settings, turns_total, created_at, started_at, ended_at FROM runs
WHERE id < $1 ORDER BY id DESC LIMIT $2

-- name: turn_states  How a run's turns stand.
SELECT state, coalesce(reason, '') AS reason, count(*) AS turns FROM turns WHERE run_id = $1 GROUP BY 1, 2 ORDER BY 1, 2

-- name: action_counts  What a run's personas did, by action and outcome.
SELECT a.name, a.outcome, count(*) AS times FROM actions a JOIN turns t ON t.id = a.turn_id
WHERE t.run_id = $1 GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2

-- name: run_usage  What a run's model calls took; `unpriced` counts the calls whose price is unknown.
SELECT count(*) AS calls, coalesce(sum(c.prompt_tokens), 0) AS prompt_tokens,
       coalesce(sum(c.completion_tokens), 0) AS completion_tokens, coalesce(sum(c.cached_tokens), 0) AS cached_tokens,
       coalesce(sum(c.cost_usd), 0) AS cost_usd, count(*) FILTER (WHERE c.cost_usd IS NULL) AS unpriced,
       count(*) FILTER (WHERE c.status <> 'ok') AS failed_calls
FROM calls c JOIN turns t ON t.id = c.turn_id WHERE t.run_id = $1

-- name: run_troubles  Why a run's model calls gave nothing, most frequent first.
SELECT c.status, c.detail, c.model, count(*) AS times FROM calls c JOIN turns t ON t.id = c.turn_id
WHERE t.run_id = $1 AND c.status <> 'ok' GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 5

-- name: run_turns  A run's turns with their personas.
SELECT t.id, t.persona_id, p.username, t.state, t.reason, t.next_step AS steps, t.started_at, t.ended_at
FROM turns t JOIN personas p ON p.id = t.persona_id WHERE t.run_id = $1 ORDER BY t.ordinal

-- name: turn  One turn with its run and persona.
SELECT t.id, t.run_id, t.persona_id, p.username, t.state, t.reason, t.epoch, t.next_step, t.started_at, t.ended_at,
       r.seed, r.venue
FROM turns t JOIN personas p ON p.id = t.persona_id JOIN runs r ON r.id = t.run_id WHERE t.id = $1

-- name: turn_calls  A turn's model calls in order.
SELECT step, status, detail, model, model_returned, options, told, tools_sha256, request_sha256, reply, response,
       prompt_tokens, completion_tokens, cached_tokens, cost_usd, latency_ms, created_at
FROM calls WHERE turn_id = $1 ORDER BY step

-- name: turn_actions  A turn's actions in order.
SELECT step, ordinal, call_id, name, arguments, effect, target_id, outcome, object_id, detail
FROM actions WHERE turn_id = $1 ORDER BY step, ordinal

-- name: keep_text  Keeps a shared text once.
INSERT INTO prompt_texts (sha256, body) VALUES ($1, $2) ON CONFLICT DO NOTHING
