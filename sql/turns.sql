-- Runs and turns: opened once, claimed by epoch, finished honestly.
-- Whatever changes a run's state tells it as an event, in the same statement: the state, and behind a colon a word why.
-- That word is public: no provider's sentence and no sum of money. It is told soon: the statement also rings the events' bell.

-- name: open_run  A run for a slot and one turn a persona; no row when the slot is taken. $5: ids in the order of their turns, $9: their times in the world, in seconds after $8.
WITH opened AS (
    INSERT INTO runs (venue, slot, seed, settings, state, turns_total, started_at, pacing, world_at)
    VALUES ($1, $2, $3, $4, $6, cardinality($5::bigint[]), CASE WHEN $6 = 'running' THEN now() END, $7, $8)
    ON CONFLICT (slot) DO NOTHING
    RETURNING id, state
),
turned AS (
    INSERT INTO turns (run_id, persona_id, ordinal, world_at)
    SELECT opened.id, p.persona_id, p.ordinal, $8::timestamptz + make_interval(secs => coalesce(p.later, 0))
    FROM opened, unnest($5::bigint[], $9::float8[]) WITH ORDINALITY AS p (persona_id, later, ordinal)
    ORDER BY p.ordinal
),
told AS (INSERT INTO events (kind, object_id, detail) SELECT 'run', id, state FROM opened)
SELECT id, pg_notify('simfeed_events', '') FROM opened

-- name: fill_run  Run $1 gets a turn for each of personas $2, in this order, $3 seconds after it begins; $4 are more of its terms.
WITH turned AS (
    INSERT INTO turns (run_id, persona_id, ordinal, world_at)
    SELECT r.id, p.persona_id, p.ordinal, r.world_at + make_interval(secs => coalesce(p.later, 0))
    FROM runs r, unnest($2::bigint[], $3::float8[]) WITH ORDINALITY AS p (persona_id, later, ordinal)
    WHERE r.id = $1 ORDER BY p.ordinal
)
UPDATE runs SET turns_total = cardinality($2::bigint[]), settings = settings || $4::jsonb WHERE id = $1 RETURNING id

-- name: awake  Personas that may wake, with how readily at hour $1 of the day (0 to 23, UTC).
SELECT id, activity * coalesce((profile -> 'hours' ->> $1::int)::float8, 1) AS activity
FROM personas WHERE status = 'active' ORDER BY id

-- name: claim_turns  Takes up to $2 turns of ordinals $4 to $5 that wait, or whose holder is gone ($6: not ours), in a new epoch.
UPDATE turns t
SET state = 'running', epoch = t.epoch + 1, lease_until = now() + make_interval(secs => $3),
    started_at = coalesce(t.started_at, now())
FROM (
    SELECT c.id FROM turns c JOIN runs r ON r.id = c.run_id
    WHERE c.run_id = $1 AND c.ordinal BETWEEN $4 AND $5 AND r.state = 'running'
      AND (c.state = 'queued' OR (c.state = 'running' AND c.lease_until < now())) AND c.id <> ALL ($6::bigint[])
    ORDER BY c.ordinal LIMIT $2
    FOR UPDATE OF c SKIP LOCKED
) q
WHERE t.id = q.id
RETURNING t.id, t.persona_id, t.epoch, t.next_step, t.ordinal, t.world_at, t.held_tokens > 0 OR t.held_usd > 0 AS holds

-- name: extend_leases  Says that the holder of these turns lives; a turn that is being committed has its lease from that.
UPDATE turns t SET lease_until = now() + make_interval(secs => $3)
FROM (
    SELECT h.id FROM turns h JOIN unnest($1::bigint[], $2::int[]) AS mine (id, epoch) USING (id, epoch)
    WHERE h.state = 'running' FOR NO KEY UPDATE OF h SKIP LOCKED
) held
WHERE t.id = held.id

-- name: over  Which of these runs are not to be played on.
SELECT id FROM runs WHERE id = ANY ($1::bigint[]) AND state <> 'running'

-- name: end_turn  Ends a turn whatever its step, in state $3 for reason $4.
UPDATE turns SET state = $3, reason = $4, ended_at = now(), lease_until = NULL
WHERE id = $1 AND epoch = $2 AND state = 'running'

-- name: park_turns  Gives turns back, for whoever claims them next.
UPDATE turns t SET state = 'queued', lease_until = NULL
FROM (
    SELECT h.id FROM turns h JOIN unnest($1::bigint[], $2::int[]) AS mine (id, epoch) USING (id, epoch)
    WHERE h.state = 'running' ORDER BY h.id FOR NO KEY UPDATE OF h
) held
WHERE t.id = held.id

-- name: step_stands  Whether the last committed step of a turn is this one, and it is still ours.
SELECT EXISTS (
    SELECT FROM turns t JOIN calls c ON c.turn_id = t.id AND c.step = $3
    WHERE t.id = $1 AND t.epoch = $2 AND t.next_step = $3 + 1 AND c.request_sha256 = $4
)

-- name: open_turns  Whether any turn of a run, of ordinals $2 to $3, is not at an end.
SELECT EXISTS (SELECT FROM turns WHERE run_id = $1 AND ordinal BETWEEN $2 AND $3 AND state IN ('queued', 'running'))

-- name: open_batches  The batches of $2 ordinals in which a run has open turns, by number from 0.
SELECT DISTINCT (ordinal - 1) / $2::int AS batch FROM turns
WHERE run_id = $1 AND state IN ('queued', 'running') ORDER BY 1

-- name: settle_run  Ends a run none of whose turns is open, unless it is a session's that goes on, with the state they tell and, where all failed, the reason.
WITH settled AS (
    UPDATE runs r
    SET ended_at = now(),
        state = CASE WHEN t.lost = 0 THEN 'completed' WHEN t.lost = t.total THEN 'failed' ELSE 'partial' END,
        reason = CASE WHEN t.lost > 0 THEN coalesce((
            SELECT c.detail FROM calls c JOIN turns w ON w.id = c.turn_id
            WHERE w.run_id = $1 AND w.state IN ('failed', 'deferred') AND c.status <> 'ok'
            GROUP BY c.detail ORDER BY count(*) DESC, c.detail LIMIT 1
        ), t.reason) END
    FROM (
        SELECT count(*) FILTER (WHERE state IN ('failed', 'deferred')) AS lost, count(*) AS total,
               mode() WITHIN GROUP (ORDER BY reason) FILTER (WHERE state IN ('failed', 'deferred')) AS reason
        FROM turns WHERE run_id = $1
    ) t
    WHERE r.id = $1 AND r.state = 'running'
      AND NOT EXISTS (SELECT FROM turns WHERE run_id = $1 AND state IN ('queued', 'running'))
      AND NOT EXISTS (SELECT FROM sessions s WHERE s.run_id = $1 AND s.ended_at IS NULL)
    RETURNING r.id, r.state, coalesce(':' || split_part(t.reason, ':', 1), '') AS why
),
told AS (INSERT INTO events (kind, object_id, detail) SELECT 'run', id, state || why FROM settled)
SELECT state, pg_notify('simfeed_events', '') FROM settled

-- name: run_state  How a run stands.
SELECT state FROM runs WHERE id = $1

-- name: hold_run  A run that is under way stands still: in state $2 for reason $3.
WITH held AS (
    UPDATE runs SET state = $2, reason = $3, ended_at = CASE WHEN $2 IN ('stopped', 'failed') THEN now() END
    WHERE id = $1 AND state = 'running'
    RETURNING id, state
),
told AS (
    INSERT INTO events (kind, object_id, detail)
    SELECT 'run', id, state || CASE WHEN state = 'paused' THEN ':halted' ELSE '' END FROM held
)
SELECT id, pg_notify('simfeed_events', '') FROM held

-- name: stop_run  Nobody plays on a run; its turns stay where they are.
WITH stopped AS (
    UPDATE runs SET state = 'stopped', reason = 'stopped by hand', ended_at = now()
    WHERE id = $1 AND state IN ('queued', 'running', 'paused', 'budget_exhausted')
    RETURNING id, state
),
told AS (INSERT INTO events (kind, object_id, detail) SELECT 'run', id, state || ':by hand' FROM stopped)
SELECT id, pg_notify('simfeed_events', '') FROM stopped

-- name: resume_run  A run that stands still, or came to nothing in part, goes on, if it is no session's; $2 is merged into its terms.
WITH again AS (
    UPDATE runs SET state = 'running', reason = NULL, ended_at = NULL, started_at = coalesce(started_at, now()),
        settings = settings || $2::jsonb
    WHERE id = $1 AND NOT EXISTS (SELECT FROM sessions s WHERE s.run_id = $1) AND (
        state IN ('stopped', 'paused', 'budget_exhausted', 'queued')
        OR (state IN ('failed', 'partial') AND EXISTS (
            SELECT FROM turns WHERE run_id = $1 AND (state = 'deferred' OR (state = 'failed' AND reason = ANY ($3::text[])))
        ))
    )
    RETURNING id, state
),
told AS (INSERT INTO events (kind, object_id, detail) SELECT 'run', id, state FROM again),
waiting AS (
    UPDATE turns t SET state = 'queued', reason = NULL, ended_at = NULL
    FROM again
    WHERE t.run_id = again.id
      AND (t.state = 'deferred' OR (t.state = 'failed' AND t.reason = ANY ($3::text[])) OR (t.state = 'limit' AND t.reason = 'budget'))
)
SELECT id, pg_notify('simfeed_events', '') FROM again

-- name: wake_halted  Runs that stood still while everything was halted go on.
WITH woken AS (
    UPDATE runs SET state = 'running', reason = NULL WHERE state = 'paused' AND reason = 'halted' RETURNING id, state
),
told AS (INSERT INTO events (kind, object_id, detail) SELECT 'run', id, state FROM woken)
SELECT id, pg_notify('simfeed_events', '') FROM woken

-- name: under_way  Runs of a venue that the scheduler opened and that are not at an end, oldest first.
SELECT id, state FROM runs WHERE venue = $1 AND slot LIKE $2 AND state IN ('queued', 'running', 'paused') ORDER BY id

-- name: begin_run  A run that waited its turn begins.
WITH begun AS (
    UPDATE runs SET state = 'running', started_at = now() WHERE id = $1 AND state = 'queued' RETURNING id, state
),
told AS (INSERT INTO events (kind, object_id, detail) SELECT 'run', id, state FROM begun)
SELECT id, pg_notify('simfeed_events', '') FROM begun

-- name: unfinished  Runs of these venues that some process must go on with, oldest first.
SELECT id, venue FROM runs WHERE state = 'running' AND venue = ANY ($1::text[]) ORDER BY id

-- name: hold_rounds  Whether this session plays run $1 alone from now on.
SELECT pg_try_advisory_lock(5768398080::bigint * 1000 + $1)

-- name: free_rounds  Others may.
SELECT pg_advisory_unlock(5768398080::bigint * 1000 + $1)

-- name: behind  How many open turns of run $1 have not taken step $2.
SELECT count(*) FROM turns WHERE run_id = $1 AND state IN ('queued', 'running') AND next_step <= $2

-- name: run  One run.
SELECT id, venue, slot, state, reason, seed, settings, turns_total, lost_calls, estimate, created_at, started_at,
       ended_at, pacing, world_at FROM runs WHERE id = $1

-- name: run_of_slot  The run of a slot that is to be played.
SELECT id FROM runs WHERE slot = $1 AND state = 'running'

-- name: runs  The newest runs before $1.
SELECT id, venue, slot, state, reason, seed, settings, turns_total, lost_calls, created_at, started_at, ended_at FROM runs
WHERE id < $1 ORDER BY id DESC LIMIT $2

-- name: turn_states  How a run's turns stand.
SELECT state, coalesce(reason, '') AS reason, count(*) AS turns FROM turns WHERE run_id = $1 GROUP BY 1, 2 ORDER BY 1, 2

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

-- name: kept_text  A shared text.
SELECT body FROM prompt_texts WHERE sha256 = $1
