-- Experiments and their trials. Whoever plays a trial does so in an epoch; what it writes counts in that epoch alone.

-- name: add  An experiment that waits to be begun, with its trials from parallel arrays.
WITH made AS (
    INSERT INTO experiments (key, name, venue, design, seed, source, estimate, budget_tokens, budget_usd, parallel, created_by)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id
)
INSERT INTO experiment_trials (experiment_id, number, variant, replicate, seed)
SELECT made.id, t.number, t.variant, t.replicate, t.seed
FROM made, unnest($12::int[], $13::text[], $14::int[], $15::bigint[]) AS t (number, variant, replicate, seed)
RETURNING experiment_id

-- name: experiment  One, by its key.
SELECT * FROM experiments WHERE key = $1

-- name: listed  The newest first, before number $1, at most $2, with how many of their trials are in which state.
SELECT e.id, e.key, e.name, e.venue, e.state, e.reason, e.seed, e.source, e.created_at, e.started_at, e.ended_at, e.frozen_at,
       (SELECT count(*) FROM experiment_trials t WHERE t.experiment_id = e.id) AS trials,
       (SELECT count(*) FROM experiment_trials t WHERE t.experiment_id = e.id AND t.state IN ('completed', 'partial')) AS done,
       (SELECT count(*) FROM experiment_trials t WHERE t.experiment_id = e.id AND t.state = 'failed') AS failed,
       (SELECT coalesce(sum(t.usd), 0)::float8 FROM experiment_trials t WHERE t.experiment_id = e.id) AS usd
FROM experiments e WHERE e.id < $1 ORDER BY e.id DESC LIMIT $2

-- name: trials  All trials of an experiment, in order.
SELECT * FROM experiment_trials WHERE experiment_id = $1 ORDER BY number

-- name: progress  What its trials have come to so far.
SELECT count(*) FILTER (WHERE state = 'queued') AS queued, count(*) FILTER (WHERE state = 'running') AS running,
       count(*) FILTER (WHERE state IN ('completed', 'partial')) AS done, count(*) FILTER (WHERE state = 'failed') AS failed,
       count(*) FILTER (WHERE state = 'budget_exhausted') AS starved, count(*) AS trials,
       count(*) FILTER (WHERE state = 'partial') AS partial,
       coalesce(sum(prompt_tokens + completion_tokens), 0)::bigint AS tokens, coalesce(sum(usd), 0)::float8 AS usd,
       coalesce(sum(cycles_done), 0)::bigint AS cycles
FROM experiment_trials WHERE experiment_id = $1

-- name: begin  It runs from now on, or goes on.
UPDATE experiments SET state = 'running', reason = NULL, started_at = coalesce(started_at, now()), ended_at = NULL
WHERE id = $1 AND state IN ('queued', 'paused', 'stopped', 'budget_exhausted', 'failed', 'partial', 'running') RETURNING id

-- name: start_world  The checkpoint in which all its trials begin, which is made once, and its hash.
UPDATE experiments SET start_world = $2, start_sha256 = $3 WHERE id = $1 AND start_world IS NULL RETURNING id

-- name: halt  It is not running any more, but can go on.
UPDATE experiments SET state = $2, reason = $3 WHERE id = $1 AND state IN ('queued', 'running') RETURNING id

-- name: left  It stops, unless somebody plays a trial of it.
UPDATE experiments e SET state = 'stopped', reason = $2 WHERE key = $1 AND state = 'running' AND NOT EXISTS (
    SELECT FROM experiment_trials t WHERE t.experiment_id = e.id AND t.state = 'running' AND t.lease_until > now()
) RETURNING id

-- name: end  It is over.
UPDATE experiments SET state = $2, reason = $3, ended_at = now() WHERE id = $1 AND state = 'running' RETURNING id

-- name: state  How it stands, and for how many seconds it has been running.
SELECT state, extract(epoch FROM now() - started_at)::float8 AS age FROM experiments WHERE id = $1

-- name: budget  Other caps from now on; null: as they are.
UPDATE experiments SET budget_tokens = coalesce($2, budget_tokens), budget_usd = coalesce($3, budget_usd),
       parallel = coalesce($4, parallel) WHERE id = $1 RETURNING id

-- name: reopen  Trials that came to nothing, or ran out of budget, wait again; $2: those that failed too.
UPDATE experiment_trials SET state = 'queued', reason = NULL, ended_at = NULL, lease_until = NULL
WHERE experiment_id = $1 AND (state IN ('stopped', 'paused', 'budget_exhausted') OR ($2 AND state = 'failed'))
RETURNING number

-- name: claim  The next trial that nobody plays, for $2 seconds, in a new epoch; $3 are others of ours.
UPDATE experiment_trials t
SET state = 'running', epoch = t.epoch + 1, attempts = t.attempts + 1, lease_until = now() + make_interval(secs => $2),
    started_at = coalesce(t.started_at, now()), held_tokens = 0, held_usd = 0
FROM (
    SELECT o.experiment_id, o.number FROM experiment_trials o JOIN experiments e ON e.id = o.experiment_id
    WHERE o.experiment_id = $1 AND e.state = 'running' AND o.number <> ALL ($3::int[])
      AND (o.state = 'queued' OR (o.state = 'running' AND o.lease_until < now()))
    ORDER BY o.number LIMIT 1 FOR UPDATE OF o SKIP LOCKED
) free
WHERE t.experiment_id = free.experiment_id AND t.number = free.number
RETURNING t.*

-- name: keep  The leases of our trials go on; one that isn't returned is another's.
UPDATE experiment_trials t SET lease_until = now() + make_interval(secs => $4)
FROM unnest($2::int[], $3::int[]) AS mine (number, epoch)
WHERE t.experiment_id = $1 AND t.number = mine.number AND t.epoch = mine.epoch AND t.state = 'running'
RETURNING t.number

-- name: free  Others may go on with these at once.
UPDATE experiment_trials t SET state = 'queued', lease_until = NULL, held_tokens = 0, held_usd = 0
FROM unnest($2::int[], $3::int[]) AS mine (number, epoch)
WHERE t.experiment_id = $1 AND t.number = mine.number AND t.epoch = mine.epoch AND t.state = 'running'

-- name: entered  The world that a trial has, and the newest run in it before the trial's own.
UPDATE experiment_trials SET world = $4, since = $5 WHERE experiment_id = $1 AND number = $2 AND epoch = $3 RETURNING number

-- name: played_by  A program that plays a trial, noted once.
UPDATE experiment_trials SET programs = CASE WHEN programs @> $4::jsonb THEN programs ELSE programs || $4::jsonb END
WHERE experiment_id = $1 AND number = $2 AND epoch = $3 RETURNING number

-- name: session  The session or the room that a trial is.
UPDATE experiment_trials SET session = $4 WHERE experiment_id = $1 AND number = $2 AND epoch = $3 RETURNING number

-- name: reserve  Sets aside what a trial may use next: its share of what the budget has left. Null where there is no cap.
WITH held AS MATERIALIZED (SELECT * FROM experiments WHERE id = $1 FOR UPDATE),
used AS (
    SELECT coalesce(sum(prompt_tokens + completion_tokens + held_tokens) FILTER (WHERE number <> $2), 0)
               + coalesce(sum(prompt_tokens + completion_tokens) FILTER (WHERE number = $2), 0) AS tokens,
           coalesce(sum(usd + held_usd) FILTER (WHERE number <> $2), 0) + coalesce(sum(usd) FILTER (WHERE number = $2), 0) AS usd,
           greatest(1, count(*) FILTER (WHERE (state = 'queued' OR number = $2) AND held_tokens + held_usd = 0)) AS open
    FROM experiment_trials WHERE experiment_id = $1
),
mine AS (
    SELECT CASE WHEN h.budget_tokens IS NOT NULL
                THEN greatest(0, (h.budget_tokens - u.tokens) / least(u.open, $4))::bigint END AS tokens,
           CASE WHEN h.budget_usd IS NOT NULL
                THEN greatest(0, (h.budget_usd - u.usd) / least(u.open, $4))::float8 END AS usd
    FROM held h, used u
)
UPDATE experiment_trials t SET held_tokens = coalesce(m.tokens, 0), held_usd = coalesce(m.usd, 0)
FROM mine m WHERE t.experiment_id = $1 AND t.number = $2 AND t.epoch = $3
RETURNING m.tokens, m.usd

-- name: spent  What a trial has taken so far in all, after so many cycles; nothing is set aside for it any more.
UPDATE experiment_trials SET cycles_done = $4, calls = $5, prompt_tokens = $6, completion_tokens = $7, usd = $8,
       held_tokens = 0, held_usd = 0
WHERE experiment_id = $1 AND number = $2 AND epoch = $3 RETURNING number

-- name: finish  A trial is over: in which state and why, and what it came to.
UPDATE experiment_trials SET state = $4, reason = $5, outcomes = $6, why = $7, series = $8, world_sha256 = $9, excluded = $10,
       lease_until = NULL, held_tokens = 0, held_usd = 0, ended_at = now()
WHERE experiment_id = $1 AND number = $2 AND epoch = $3 AND state = 'running' RETURNING number

-- name: give_up  A trial stands still: failed, or out of budget. What it came to so far stays.
UPDATE experiment_trials SET state = $4, reason = $5, lease_until = NULL, held_tokens = 0, held_usd = 0, ended_at = now(),
       excluded = CASE WHEN $4 = 'failed' THEN 'the run failed' ELSE excluded END
WHERE experiment_id = $1 AND number = $2 AND epoch = $3 AND state = 'running' RETURNING number

-- name: without_world  A trial's world is dropped.
UPDATE experiment_trials SET world = NULL WHERE experiment_id = $1 AND number = $2 RETURNING number

-- name: exclude  Leaves a trial out of comparisons, or (null) takes it in again.
UPDATE experiment_trials SET excluded = $3 WHERE experiment_id = $1 AND number = $2 RETURNING number

-- name: measured  Other outcomes of a trial, measured anew.
UPDATE experiment_trials SET outcomes = $3, why = $4, excluded = $5 WHERE experiment_id = $1 AND number = $2 RETURNING number

-- name: locked  One, by its key, until the end of the transaction.
SELECT * FROM experiments WHERE key = $1 FOR UPDATE

-- name: redesign  The design is another from now on, and its name.
UPDATE experiments SET design = $2, name = $3 WHERE id = $1 RETURNING id

-- name: replan  An experiment that was not begun is another, with the trials of `plan_runs`.
UPDATE experiments SET name = $2, venue = $3, design = $4, seed = $5, source = $6, estimate = $7,
       budget_tokens = $8, budget_usd = $9, parallel = $10 WHERE id = $1 RETURNING id

-- name: unplan  Takes away its trials, none of which was begun.
DELETE FROM experiment_trials WHERE experiment_id = $1 AND started_at IS NULL RETURNING number

-- name: plan_runs  Its trials, from parallel arrays.
INSERT INTO experiment_trials (experiment_id, number, variant, replicate, seed)
SELECT $1, t.number, t.variant, t.replicate, t.seed
FROM unnest($2::int[], $3::text[], $4::int[], $5::bigint[]) AS t (number, variant, replicate, seed) RETURNING number

-- name: freeze  What is promised, once.
UPDATE experiments SET frozen = $2, frozen_sha256 = $3, frozen_at = now() WHERE id = $1 AND frozen_at IS NULL RETURNING frozen_at

-- name: change  Something was done to an experiment after it was planned.
INSERT INTO experiment_changes (experiment_id, what, was, now, note, by) VALUES ($1, $2, $3, $4, $5, $6) RETURNING id

-- name: changes  What was done to it, oldest first.
SELECT c.id, c.what, c.was, c.now, c.note, c.at, a.username AS by
FROM experiment_changes c LEFT JOIN admin a ON a.id = c.by WHERE c.experiment_id = $1 ORDER BY c.id

-- name: attach  What people did; another of this name and outcome takes its place.
INSERT INTO experiment_references (experiment_id, outcome, name, held_out, values, note, by) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (experiment_id, outcome, name)
DO UPDATE SET held_out = excluded.held_out, values = excluded.values, note = excluded.note, by = excluded.by, at = now()
RETURNING id

-- name: references  What people did, by outcome.
SELECT outcome, name, held_out, values, note, at FROM experiment_references WHERE experiment_id = $1 ORDER BY outcome, name

-- name: detach  Takes people's values away.
DELETE FROM experiment_references WHERE experiment_id = $1 AND outcome = $2 AND name = $3 RETURNING id

-- name: worlds  The worlds that an experiment keeps.
SELECT number, world FROM experiment_trials WHERE experiment_id = $1 AND world IS NOT NULL ORDER BY number

-- name: to_drive  Experiments that run and have a trial nobody plays.
SELECT e.key FROM experiments e
WHERE e.state = 'running' AND EXISTS (
    SELECT FROM experiment_trials t WHERE t.experiment_id = e.id
      AND (t.state = 'queued' OR (t.state = 'running' AND t.lease_until < now())))
ORDER BY e.id LIMIT $1

-- name: usage  What the runs behind number $1 of the world that is asked have taken.
SELECT count(*) AS calls, coalesce(sum(c.prompt_tokens), 0)::bigint AS prompt_tokens,
       coalesce(sum(c.completion_tokens), 0)::bigint AS completion_tokens, coalesce(sum(c.cost_usd), 0)::float8 AS usd
FROM calls c JOIN turns t ON t.id = c.turn_id WHERE t.run_id > $1

-- name: taken  What run $1 of the world that is asked has taken.
SELECT coalesce(sum(c.prompt_tokens + c.completion_tokens), 0)::bigint AS tokens, coalesce(sum(c.cost_usd), 0)::float8 AS usd
FROM calls c JOIN turns t ON t.id = c.turn_id WHERE t.run_id = $1

-- name: run_of  The run of a slot, in the world that is asked.
SELECT id, state, world_at FROM runs WHERE slot = $1

-- name: newest_post  When something was last said in the world that is asked.
SELECT max(created_at) FROM posts

-- name: drop  Deletes an experiment and all that is known of it.
WITH changes AS (DELETE FROM experiment_changes WHERE experiment_id = $1),
people AS (DELETE FROM experiment_references WHERE experiment_id = $1),
trials AS (DELETE FROM experiment_trials WHERE experiment_id = $1)
DELETE FROM experiments WHERE id = $1 RETURNING id

-- name: outcomes  What runs of experiment $1 came to, a row for each and outcome; runs that failed or wait have them, too.
WITH named AS (
    SELECT json_array_elements_text(design -> 'outcomes' -> 'primary') AS outcome FROM experiments WHERE key = $1
    UNION
    SELECT json_array_elements_text(design -> 'outcomes' -> 'exploratory') FROM experiments WHERE key = $1
    UNION
    SELECT jsonb_object_keys(t.outcomes) FROM experiment_trials t JOIN experiments e ON e.id = t.experiment_id
    WHERE e.key = $1
)
SELECT t.number, t.variant, t.replicate, t.seed, t.state, t.excluded, o.outcome,
    (t.outcomes ->> o.outcome)::float8 AS value
FROM experiment_trials t JOIN experiments e ON e.id = t.experiment_id, named o
WHERE e.key = $1 ORDER BY t.number, o.outcome
