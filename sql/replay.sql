-- What is read of a recorded run, to play it again.

-- name: calls  Every call of run $1, as it was answered, with what its turn came to.
SELECT c.turn_id, c.step, c.status, c.detail, c.model_returned, c.request_sha256, c.reply, c.response, c.prompt_tokens,
       c.completion_tokens, c.cached_tokens, c.cost_usd, c.latency_ms, c.created_at, t.ordinal, t.state, t.reason
FROM calls c JOIN turns t ON t.id = c.turn_id WHERE t.run_id = $1 ORDER BY c.created_at, t.ordinal, c.step

-- name: ends  What the turns of run $1 came to.
SELECT id AS turn_id, state, reason, next_step FROM turns WHERE run_id = $1

-- name: made  What its actions made, by number.
SELECT a.turn_id, a.step, a.ordinal, a.object_id FROM actions a JOIN turns t ON t.id = a.turn_id
WHERE t.run_id = $1 AND a.outcome = 'made' AND a.effect IN ('post', 'repost', 'quote', 'comment', 'reply', 'like', 'follow', 'report', 'react', 'like_comment')

-- name: vain  Its actions that changed nothing, and why.
SELECT a.turn_id, a.step, a.ordinal, a.outcome FROM actions a JOIN turns t ON t.id = a.turn_id
WHERE t.run_id = $1 AND a.outcome IN ('already', 'not_found', 'not_allowed')

-- name: needs  Which of its calls made what others of its calls did something to.
SELECT a.turn_id, a.step, m.turn_id AS made_turn, m.step AS made_step
FROM (
    SELECT a.*, effect IN ('reply', 'like_comment', 'unlike_comment') AS on_comment FROM actions a JOIN turns t ON t.id = a.turn_id
    WHERE t.run_id = $1 AND a.outcome = 'made'
      AND a.effect IN ('comment', 'like', 'unlike', 'repost', 'report', 'quote', 'react', 'reply', 'like_comment', 'unlike_comment')
) a
JOIN (
    SELECT a.*, effect IN ('comment', 'reply') AS is_comment FROM actions a JOIN turns t ON t.id = a.turn_id
    WHERE t.run_id = $1 AND a.outcome = 'made' AND a.effect IN ('post', 'repost', 'quote', 'comment', 'reply')
) m ON m.object_id = a.target_id AND m.is_comment = a.on_comment

-- name: drifted  How many calls were asked in other words than these hashes tell; $1: turns, $2: steps, $3: hashes.
SELECT count(*) FROM unnest($1::bigint[], $2::int[], $3::bytea[]) AS was (turn_id, step, request_sha256)
LEFT JOIN calls c USING (turn_id, step) WHERE c.request_sha256 IS DISTINCT FROM was.request_sha256

-- name: numbers_on  What is new gets numbers behind all that there are.
SELECT setval('posts_id_seq', greatest((SELECT last_value FROM posts_id_seq), (SELECT coalesce(max(id), 1) FROM posts))),
       setval('comments_id_seq', greatest((SELECT last_value FROM comments_id_seq), (SELECT coalesce(max(id), 1) FROM comments))),
       setval('likes_id_seq', greatest((SELECT last_value FROM likes_id_seq), (SELECT coalesce(max(id), 1) FROM likes))),
       setval('follows_id_seq', greatest((SELECT last_value FROM follows_id_seq), (SELECT coalesce(max(id), 1) FROM follows))),
       setval('reactions_id_seq', greatest((SELECT last_value FROM reactions_id_seq), (SELECT coalesce(max(id), 1) FROM reactions))),
       setval('reports_id_seq', greatest((SELECT last_value FROM reports_id_seq), (SELECT coalesce(max(id), 1) FROM reports))),
       setval('news_id_seq', greatest((SELECT last_value FROM news_id_seq), (SELECT coalesce(max(id), 1) FROM news)))

-- name: interventions  With which interventions run $1 began, when, and what they made.
SELECT id, done_at, outcome::text AS outcome FROM interventions WHERE run_id = $1 AND state IN ('done', 'failed') ORDER BY id

-- name: marked  What the actions of run $1 were said to be when they were made: near copies, and told instructions.
SELECT a.turn_id, a.step, a.ordinal, a.detail FROM actions a JOIN turns t ON t.id = a.turn_id
WHERE t.run_id = $1 AND a.effect IS NOT NULL

-- name: guarded  What the guard found in run $1, and took since it began and before the next cycle did.
SELECT coalesce((SELECT jsonb_agg(m) FROM marks m WHERE m.run_id = r.id), '[]')::text AS marks,
       coalesce((SELECT jsonb_agg(q ORDER BY q.id) FROM quarantines q
                 WHERE q.taken_by = 'guard' AND q.created_at >= r.started_at AND q.created_at < coalesce(
                       (SELECT min(n.started_at) FROM runs n WHERE n.venue = 'feed' AND n.id > r.id), 'infinity')
                ), '[]')::text AS quarantines, r.started_at, r.ended_at
FROM runs r WHERE r.id = $1

-- name: marks_as_were  Marks ($1) are there again, as far as what they mark is.
INSERT INTO marks SELECT m.* FROM jsonb_populate_recordset(NULL::marks, $1::jsonb) m
WHERE EXISTS (SELECT FROM actions a WHERE a.turn_id = m.turn_id AND a.step = m.step AND a.ordinal = m.ordinal)
ON CONFLICT DO NOTHING

-- name: taken_as_was  So are quarantines ($1), in force, as far as what they hide is.
WITH kept AS (
    SELECT q.* FROM jsonb_populate_recordset(NULL::quarantines, $1::jsonb) q
    WHERE EXISTS (SELECT FROM posts p WHERE p.id = q.post_id) OR EXISTS (SELECT FROM comments c WHERE c.id = q.comment_id)
)
INSERT INTO quarantines (id, post_id, comment_id, cause, taken_by, reason, created_at) OVERRIDING SYSTEM VALUE
SELECT id, post_id, comment_id,
       CASE WHEN cause IN (SELECT id FROM kept) OR cause IN (SELECT id FROM quarantines) THEN cause END, taken_by, reason, created_at
FROM kept
ON CONFLICT DO NOTHING
RETURNING post_id, comment_id

-- name: times_as_were  Run $1 began and ended when it did: by that is known which quarantines came of it.
UPDATE runs SET started_at = $2, ended_at = CASE WHEN ended_at IS NULL THEN NULL ELSE coalesce($3, ended_at) END WHERE id = $1

-- name: next_run  The cycle of the feed after run $1.
SELECT min(id) FROM runs WHERE venue = 'feed' AND id > $1

-- name: end_as  A turn ends as it ended.
UPDATE turns SET state = $2, reason = $3, ended_at = now(), lease_until = NULL WHERE id = $1 AND state IN ('queued', 'running')

-- name: cycles  The cycles of the feed from run $1 on, in their order.
SELECT id, seed, settings::text AS settings, pacing, world_at FROM runs WHERE venue = 'feed' AND id >= $1 ORDER BY id

-- name: places  Whose turn each turn of run $1 was.
SELECT id AS turn_id, persona_id FROM turns WHERE run_id = $1

-- name: maker  Which call made post $1, and as which of its actions.
SELECT t.run_id, a.turn_id, a.step, a.call_id FROM actions a JOIN turns t ON t.id = a.turn_id
WHERE a.outcome = 'made' AND a.effect IN ('post', 'repost', 'quote') AND a.object_id = $1

-- name: example  A post that run $1 made, the most liked of its first twenty, and whose it is.
SELECT m.object_id AS post_id, p.username
FROM (
    SELECT a.object_id, t.persona_id FROM turns t JOIN actions a ON a.turn_id = t.id
    WHERE t.run_id = $1 AND a.effect = 'post' AND a.outcome = 'made' ORDER BY t.ordinal, a.step, a.ordinal LIMIT 20
) m
JOIN personas p ON p.id = m.persona_id JOIN post_counts c ON c.post_id = m.object_id
ORDER BY c.likes_count DESC, m.object_id LIMIT 1

-- name: terms  A run is played on these terms, too.
UPDATE runs SET settings = settings || $2::jsonb WHERE id = $1 RETURNING id
