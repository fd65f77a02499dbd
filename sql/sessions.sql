-- Sessions: what is asked of whom, and the transcript that follows. Each thing happens once, by its key; whoever drives a
-- session does so in an epoch. A line's number is given here, so that numbers have no gap whoever writes.

-- name: add  A session upon an open run, with its members from parallel arrays, numbered from 0.
WITH made AS (
    INSERT INTO sessions (key, kind, name, design, scope, seed, run_id, of, created_by)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id
)
INSERT INTO session_members (session_id, number, persona_id, name, detail)
SELECT made.id, m.place - 1, m.persona_id, m.name, m.detail
FROM made, unnest($10::bigint[], $11::text[], $12::jsonb[]) WITH ORDINALITY AS m (persona_id, name, detail, place)
RETURNING session_id

-- name: copy  Lines up to $3 of session $2 are session $1's too: what was asked there is not asked again.
WITH lines AS (
    INSERT INTO session_lines (session_id, number, key, member, kind, round, body, thought, value, missing, at)
    SELECT $1, number, key, member, kind, round, body, thought, value, missing, at
    FROM session_lines WHERE session_id = $2 AND number <= $3
)
UPDATE sessions SET lines_count = $3 WHERE id = $1 RETURNING id

-- name: claim  Sessions nobody drives, for $1 seconds, in a new epoch; at most $2, none of $3; $4 is the one that is wanted, or null.
UPDATE sessions s SET epoch = s.epoch + 1, lease_until = now() + make_interval(secs => $1)
FROM (
    SELECT o.id FROM sessions o JOIN runs r ON r.id = o.run_id
    WHERE o.ended_at IS NULL AND r.state = 'running' AND (o.lease_until IS NULL OR o.lease_until < now())
      AND o.id <> ALL ($3::bigint[]) AND ($4::bigint IS NULL OR o.id = $4)
    ORDER BY o.id LIMIT $2 FOR UPDATE OF o SKIP LOCKED
) free
WHERE s.id = free.id
RETURNING s.id, s.epoch

-- name: keep  The leases go on; a session that isn't returned is another's.
UPDATE sessions s SET lease_until = now() + make_interval(secs => $3)
FROM unnest($1::bigint[], $2::int[]) AS mine (id, epoch)
WHERE s.id = mine.id AND s.epoch = mine.epoch AND s.ended_at IS NULL
RETURNING s.id

-- name: free  Others may drive them at once.
UPDATE sessions s SET lease_until = NULL FROM unnest($1::bigint[], $2::int[]) AS mine (id, epoch)
WHERE s.id = mine.id AND s.epoch = mine.epoch

-- name: session  A session with its run, by number or key.
SELECT s.*, r.state, r.reason, r.settings, r.started_at, r.turns_total, o.key AS of_key
FROM sessions s JOIN runs r ON r.id = s.run_id LEFT JOIN sessions o ON o.id = s.of WHERE s.id = $1 OR s.key = $2

-- name: members  Who takes part, in order.
SELECT m.number, m.persona_id, m.name, m.detail, p.username, p.description, p.bio, p.profile, p.model, p.temperature, p.status
FROM session_members m JOIN personas p ON p.id = m.persona_id WHERE m.session_id = $1 ORDER BY m.number

-- name: lines  The transcript behind line $2, at most $3 lines of it.
SELECT number, key, turn_id, member, kind, round, body, thought, value, missing, at
FROM session_lines WHERE session_id = $1 AND number > $2 ORDER BY number LIMIT $3

-- name: stand  How a session stands, for who drives it in epoch $2.
SELECT s.lines_count, s.asks_count, s.pause_at, r.state, extract(epoch FROM now() - r.started_at)::float8 AS age,
       s.lease_until > now() AS leased
FROM sessions s JOIN runs r ON r.id = s.run_id WHERE s.id = $1 AND s.epoch = $2 AND s.ended_at IS NULL

-- name: say  Lines that the session itself says, from parallel arrays, once each by their keys. $2: the epoch. Tells how many lines there are now.
WITH held AS MATERIALIZED (
    SELECT id, lines_count FROM sessions WHERE id = $1 AND epoch = $2 AND ended_at IS NULL FOR NO KEY UPDATE
),
new AS (
    SELECT u.*, row_number() OVER (ORDER BY u.place) AS nth
    FROM unnest($3::text[], $4::int[], $5::text[], $6::int[], $7::text[], $8::jsonb[])
         WITH ORDINALITY AS u (key, member, kind, round, body, value, place)
    WHERE NOT EXISTS (SELECT FROM session_lines l WHERE l.session_id = $1 AND l.key = u.key)
),
said AS (
    INSERT INTO session_lines (session_id, number, key, member, kind, round, body, value)
    SELECT h.id, h.lines_count + n.nth, n.key, n.member, n.kind, n.round, n.body, n.value FROM held h, new n
    RETURNING number
),
told AS (SELECT pg_notify('simfeed_sessions', $1::text) FROM held)
UPDATE sessions s SET lines_count = s.lines_count + (SELECT count(*) FROM said) FROM held h WHERE s.id = h.id
RETURNING s.lines_count, (SELECT count(*) FROM told)

-- name: ask  Turns for what is asked, from parallel arrays, once each by their keys; $2: the epoch.
WITH held AS MATERIALIZED (
    SELECT id, run_id, asks_count FROM sessions WHERE id = $1 AND epoch = $2 AND ended_at IS NULL FOR NO KEY UPDATE
),
new AS MATERIALIZED (
    SELECT u.*, m.persona_id, h.run_id, h.asks_count + row_number() OVER (ORDER BY u.place) AS ordinal
    FROM held h
    CROSS JOIN unnest($3::text[], $4::int[], $5::text[], $6::int[], $7::int[], $8::jsonb[])
         WITH ORDINALITY AS u (key, member, kind, round, upto, about, place)
    JOIN session_members m ON m.session_id = h.id AND m.number = u.member
    WHERE NOT EXISTS (SELECT FROM session_asks a WHERE a.session_id = $1 AND a.key = u.key)
),
turned AS (
    INSERT INTO turns (run_id, persona_id, ordinal, round)
    SELECT run_id, persona_id, ordinal, ordinal FROM new ORDER BY ordinal
    RETURNING id, ordinal
),
asked AS (
    INSERT INTO session_asks (turn_id, session_id, ordinal, key, member, kind, round, upto, about)
    SELECT t.id, $1, n.ordinal, n.key, n.member, n.kind, n.round, n.upto, n.about FROM new n JOIN turned t USING (ordinal)
    RETURNING ordinal
),
counted AS (
    UPDATE sessions s SET asks_count = s.asks_count + (SELECT count(*) FROM asked) FROM held h WHERE s.id = h.id RETURNING s.run_id
)
UPDATE runs r SET turns_total = r.turns_total + (SELECT count(*) FROM asked) FROM counted c WHERE r.id = c.run_id RETURNING r.id

-- name: asks  What these turns are asked.
SELECT turn_id, ordinal, key, member, kind, round, upto, about FROM session_asks WHERE turn_id = ANY ($1::bigint[])

-- name: unanswered  The asks of a session behind the $2 that have a line, in order, at most $3, with what became of their turns: the last reply and what it called.
SELECT a.turn_id, a.ordinal, a.key, a.member, a.kind, a.round, a.upto, a.about, t.state, t.reason, c.status, c.reply, d.name, d.arguments
FROM session_asks a
JOIN turns t ON t.id = a.turn_id
LEFT JOIN calls c ON c.turn_id = a.turn_id AND c.step = t.next_step - 1
LEFT JOIN LATERAL (
    SELECT name, arguments FROM actions d WHERE d.turn_id = a.turn_id AND d.step = c.step AND d.outcome = 'ended' ORDER BY ordinal LIMIT 1
) d ON true
WHERE a.session_id = $1 AND a.ordinal > $2
ORDER BY a.ordinal LIMIT $3

-- name: answer  Lines that answer asks, from parallel arrays in their order, once each; $2: the epoch. Tells how many lines there are now.
WITH held AS MATERIALIZED (
    SELECT id, lines_count FROM sessions WHERE id = $1 AND epoch = $2 AND ended_at IS NULL FOR NO KEY UPDATE
),
new AS (
    SELECT u.turn_id, u.body, u.thought, u.value, u.missing, a.key, a.member, a.kind, a.round,
           row_number() OVER (ORDER BY u.place) AS nth
    FROM unnest($3::bigint[], $4::text[], $5::text[], $6::jsonb[], $7::text[])
         WITH ORDINALITY AS u (turn_id, body, thought, value, missing, place)
    JOIN session_asks a ON a.turn_id = u.turn_id AND a.session_id = $1
    WHERE NOT EXISTS (SELECT FROM session_lines l WHERE l.session_id = $1 AND l.key = a.key)
),
said AS (
    INSERT INTO session_lines (session_id, number, key, turn_id, member, kind, round, body, thought, value, missing)
    SELECT h.id, h.lines_count + n.nth, n.key, n.turn_id, n.member, n.kind, n.round, n.body, n.thought, n.value, n.missing
    FROM held h, new n
    RETURNING number
),
told AS (SELECT pg_notify('simfeed_sessions', $1::text) FROM held)
UPDATE sessions s SET lines_count = s.lines_count + (SELECT count(*) FROM said) FROM held h WHERE s.id = h.id
RETURNING s.lines_count, (SELECT count(*) FROM told)

-- name: end  The session is at its end, in epoch $2, with what came of it ($3); its run in state $4, for reason $5.
WITH ended AS (
    UPDATE sessions SET ended_at = now(), result = $3, lease_until = NULL
    WHERE id = $1 AND epoch = $2 AND ended_at IS NULL RETURNING run_id, id
),
run AS (
    UPDATE runs r SET state = $4, reason = $5, ended_at = now() FROM ended WHERE r.id = ended.run_id AND r.state = 'running'
    RETURNING r.id, r.state
),
told AS (INSERT INTO events (kind, object_id, detail) SELECT 'run', id, state FROM run)
SELECT id, pg_notify('simfeed_events', ''), pg_notify('simfeed_sessions', id::text) FROM ended

-- name: cancel  Nobody is asked any more; what was said stays. No row: it was at an end.
WITH ended AS (
    UPDATE sessions SET ended_at = now(), lease_until = NULL, epoch = epoch + 1 WHERE id = $1 AND ended_at IS NULL RETURNING run_id, id
),
run AS (
    UPDATE runs r SET state = 'stopped', reason = 'cancelled', ended_at = now() FROM ended
    WHERE r.id = ended.run_id AND r.state IN ('queued', 'running', 'paused', 'budget_exhausted', 'stopped')
    RETURNING r.id, r.state
),
told AS (INSERT INTO events (kind, object_id, detail) SELECT 'run', id, state || ':by hand' FROM run)
SELECT id, pg_notify('simfeed_events', ''), pg_notify('simfeed_sessions', id::text) FROM ended

-- name: pause  Nobody is asked anything further until it goes on, for reason $2.
WITH held AS (
    UPDATE runs r SET state = 'paused', reason = $2 FROM sessions s
    WHERE s.id = $1 AND s.run_id = r.id AND r.state = 'running' AND s.ended_at IS NULL RETURNING r.id, r.state
),
told AS (INSERT INTO events (kind, object_id, detail) SELECT 'run', id, state FROM held)
SELECT id, pg_notify('simfeed_events', ''), pg_notify('simfeed_sessions', $1::text) FROM held

-- name: go_on  A session that stands still goes on; with $2 it pauses again after so many lines more.
WITH again AS (
    UPDATE runs r SET state = 'running', reason = NULL, ended_at = NULL, started_at = coalesce(r.started_at, now()) FROM sessions s
    WHERE s.id = $1 AND s.run_id = r.id AND s.ended_at IS NULL AND r.state IN ('queued', 'paused', 'stopped', 'budget_exhausted')
    RETURNING r.id, r.state
),
steps AS (UPDATE sessions SET pause_at = lines_count + $2::int WHERE id = $1 AND EXISTS (SELECT FROM again)),
told AS (INSERT INTO events (kind, object_id, detail) SELECT 'run', id, state FROM again)
SELECT id, pg_notify('simfeed_events', '') FROM again

-- name: checkpoint  Marks where a session stands, by name $2; the state's hash is $5.
INSERT INTO session_checkpoints (session_id, name, lines, asks, sha256) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING RETURNING name

-- name: checkpoints  The points to which a session can be taken back.
SELECT name, lines, asks, sha256, at FROM session_checkpoints WHERE session_id = $1 ORDER BY lines, name

-- name: spent  What a session's calls took: calls, of them reused, tokens, US dollars, seconds of the models.
SELECT count(c.turn_id) AS calls, count(*) FILTER (WHERE c.detail LIKE 'reused:%') AS reused, coalesce(sum(c.prompt_tokens), 0) AS prompt_tokens,
       coalesce(sum(c.completion_tokens), 0) AS completion_tokens, coalesce(sum(c.cost_usd), 0)::float8 AS usd,
       coalesce(sum(c.latency_ms), 0) / 1000.0 AS seconds, count(*) FILTER (WHERE c.cost_usd IS NULL AND c.turn_id IS NOT NULL) AS unpriced
FROM session_asks a JOIN calls c ON c.turn_id = a.turn_id WHERE a.session_id = $1

-- name: bots  Per member: calls, turns, seconds of its model.
SELECT a.member, count(c.turn_id) AS calls, count(DISTINCT a.turn_id) AS turns, coalesce(sum(c.latency_ms), 0) / 1000.0 AS seconds
FROM session_asks a LEFT JOIN calls c ON c.turn_id = a.turn_id WHERE a.session_id = $1 AND a.kind = 'say' GROUP BY 1 ORDER BY 1

-- name: listed  Sessions, newest first, before number $1, of kind $2 (or any), at most $3.
SELECT s.id, s.key, s.kind, s.name, s.seed, s.lines_count, s.asks_count, s.created_at, s.ended_at, s.run_id, r.state, r.reason,
       (SELECT count(*) FROM session_members m WHERE m.session_id = s.id AND m.number > 0) AS members,
       (SELECT count(*) FROM session_lines l WHERE l.session_id = s.id AND l.turn_id IS NOT NULL) AS answered
FROM sessions s JOIN runs r ON r.id = s.run_id
WHERE s.id < $1 AND ($2::text IS NULL OR s.kind = $2) ORDER BY s.id DESC LIMIT $3

-- name: progress  How far a session is.
SELECT s.asks_count, (SELECT count(*) FROM session_lines l WHERE l.session_id = s.id AND l.turn_id IS NOT NULL) AS answered,
       (SELECT max(round) FROM session_lines l WHERE l.session_id = s.id) AS round
FROM sessions s WHERE s.id = $1

-- name: active  Personas of the world that are awake.
SELECT id, username, profile FROM personas WHERE status = 'active' ORDER BY id

-- name: pause_at  A session pauses once it has so many lines.
UPDATE sessions SET pause_at = $2 WHERE id = $1 RETURNING id

-- name: allow  A session may spend otherwise from now on: $2 is merged into its run's terms.
UPDATE runs r SET settings = r.settings || $2::jsonb FROM sessions s WHERE s.id = $1 AND s.run_id = r.id RETURNING r.id

-- name: answered  What was answered in a session, each request once.
SELECT DISTINCT ON (c.request_sha256) c.request_sha256, c.model_returned, c.reply, c.response
FROM session_asks a JOIN calls c ON c.turn_id = a.turn_id
WHERE a.session_id = $1 AND c.status = 'ok' ORDER BY c.request_sha256, c.created_at
