-- What monitors look at when a run of the feed has ended, and where they keep what they found.

-- name: run  The run that is looked at.
SELECT id, venue, state, seed, turns_total, realism FROM runs WHERE id = $1

-- name: turns  How the turns of run $1 ended.
SELECT state, coalesce(reason, '') AS reason, count(*)::int AS times FROM turns
WHERE run_id = $1 AND state NOT IN ('queued', 'running') GROUP BY 1, 2 ORDER BY 1, 2

-- name: sampled  Who had turns $2 (ordinals) of run $1, what rules know of them, and whether anything came of it.
SELECT t.ordinal, t.persona_id, t.state, left(p.description, 400) AS description, p.profile,
       EXISTS (SELECT FROM actions a WHERE a.turn_id = t.id AND a.outcome = 'made') AS acted
FROM turns t JOIN personas p ON p.id = t.persona_id
WHERE t.run_id = $1 AND t.ordinal = ANY ($2::int[]) AND t.state NOT IN ('queued', 'running') ORDER BY t.ordinal

-- name: made  What came of turns $2 of run $1, in order; of texts the first 2,000 characters.
SELECT t.persona_id, a.effect, a.detail, left(coalesce(p.body, c.body), 2000) AS body
FROM turns t
CROSS JOIN LATERAL (
    SELECT k.step, k.ordinal, k.effect, k.detail, k.object_id FROM actions k
    WHERE k.turn_id = t.id AND k.outcome = 'made' AND k.effect IS NOT NULL OFFSET 0
) a
LEFT JOIN posts p ON a.effect IN ('post', 'quote') AND p.id = a.object_id
LEFT JOIN comments c ON a.effect IN ('comment', 'reply') AND c.id = a.object_id
WHERE t.run_id = $1 AND t.ordinal = ANY ($2::int[]) ORDER BY t.ordinal, a.step, a.ordinal

-- name: earlier  What each of personas $2 wrote in its last $3 turns before run $1.
SELECT t.persona_id, a.effect, left(coalesce(p.body, c.body), 2000) AS body
FROM unnest($2::bigint[]) AS w (id)
CROSS JOIN LATERAL (
    SELECT u.id, u.persona_id FROM turns u WHERE u.persona_id = w.id AND u.run_id < $1 ORDER BY u.id DESC LIMIT $3
) t
CROSS JOIN LATERAL (
    SELECT k.effect, k.object_id, k.step, k.ordinal FROM actions k
    WHERE k.turn_id = t.id AND k.outcome = 'made' AND k.effect IN ('post', 'quote', 'comment', 'reply') OFFSET 0
) a
LEFT JOIN posts p ON a.effect IN ('post', 'quote') AND p.id = a.object_id
LEFT JOIN comments c ON a.effect IN ('comment', 'reply') AND c.id = a.object_id
WHERE coalesce(p.body, c.body) IS NOT NULL ORDER BY t.persona_id, t.id, a.step, a.ordinal

-- name: before  What was found of the last $3 runs of venue $2 before run $1, newest first.
SELECT id, realism FROM runs WHERE id < $1 AND venue = $2 AND realism IS NOT NULL ORDER BY id DESC LIMIT $3

-- name: first  What was done in the first $3 runs of venue $2 that are before run $1, and were looked at.
SELECT id, realism -> 'actions' AS actions FROM runs
WHERE id < $1 AND venue = $2 AND realism IS NOT NULL ORDER BY id LIMIT $3

-- name: keep  Keeps what was found of run $1.
UPDATE runs SET realism = $2::jsonb WHERE id = $1 RETURNING id

-- name: unwatched  Of the last $3 runs before run $1, those of venue $2 that are at an end and nobody has looked at.
SELECT r.id FROM runs r
WHERE r.id BETWEEN $1::bigint - $3::int AND $1::bigint - 1 AND r.venue = $2 AND r.realism IS NULL AND r.turns_total > 0
  AND NOT EXISTS (SELECT FROM turns t WHERE t.run_id = r.id AND t.state IN ('queued', 'running'))
ORDER BY r.id

-- name: handles  The handles of personas $1.
SELECT id, username FROM personas WHERE id = ANY ($1::bigint[])
