-- Turns found and read one by one, however many there are: each search looks at a bounded number of them, the newest first.

-- name: among_all  The newest $2 turns before $1.
SELECT * FROM turns WHERE id < $1 ORDER BY id DESC LIMIT $2

-- name: among_run  Those of run $3; sorted, for the newest turns of all need not be among them.
SELECT * FROM turns WHERE run_id = $3 AND id < $1 ORDER BY id + 0 DESC LIMIT $2

-- name: among_persona  Those of persona $4.
SELECT * FROM turns WHERE persona_id = $4 AND id < $1 ORDER BY id DESC LIMIT $2

-- name: among_both  The one of persona $4 in run $3.
SELECT * FROM turns WHERE run_id = $3 AND persona_id = $4 AND id < $1 LIMIT $2

-- name: traces  Of {among}, the $10 newest in state $5, with a call of status $6, an action $7, the text $8 in what was said, a cost over $9.
SELECT f.*, p.username, p.departed
FROM (
    SELECT t.id, t.run_id, t.persona_id, t.state, t.reason, t.started_at, t.ended_at, c.*
    FROM ({among}) t
    CROSS JOIN LATERAL (
        SELECT count(*) AS calls, coalesce(sum(k.prompt_tokens + k.completion_tokens), 0) AS tokens,
               coalesce(sum(k.cost_usd), 0) AS cost_usd, count(*) FILTER (WHERE k.cost_usd IS NULL) AS unpriced,
               coalesce(sum(k.latency_ms), 0) AS latency_ms,
               coalesce(array_agg(DISTINCT k.status) FILTER (WHERE k.status <> 'ok'), '{{}}') AS troubles,
               coalesce(bool_or(k.status = $6::text), false) AS has_status,
               coalesce(bool_or(CASE WHEN $8::text IS NOT NULL THEN
                   strpos(lower(convert_from(k.told, 'UTF8') COLLATE "default"), lower($8)) > 0
                   OR strpos(lower(convert_from(k.reply, 'UTF8') COLLATE "default"), lower($8)) > 0
                   OR strpos(lower(k.detail), lower($8)) > 0
               END), false) AS has_text
        FROM calls k WHERE k.turn_id = t.id
    ) c
    WHERE ($3::bigint IS NULL OR t.run_id = $3) AND ($4::bigint IS NULL OR t.persona_id = $4)
      AND ($5::text IS NULL OR t.state = $5) AND ($6::text IS NULL OR c.has_status) AND ($8::text IS NULL OR c.has_text)
      AND ($9::float8 IS NULL OR c.cost_usd > $9::float8)
      AND ($7::text IS NULL OR (SELECT count(*) FROM actions a WHERE a.turn_id = t.id AND a.name = $7) > 0)
    LIMIT $10
) f
CROSS JOIN LATERAL (SELECT username, status = 'departed' AS departed FROM personas WHERE id = f.persona_id OFFSET 0) p
ORDER BY f.id DESC

-- name: looked  How far back {among} reach.
SELECT count(*) AS turns, min(t.id) AS oldest, min(t.started_at) AS since FROM ({among}) t
WHERE ($3::bigint IS NULL OR t.run_id = $3) AND ($4::bigint IS NULL OR t.persona_id = $4)

-- name: done_in  What was done in turns $1, by action and outcome, in the order first done.
SELECT turn_id, name, outcome, count(*) AS times FROM actions WHERE turn_id = ANY ($1::bigint[])
GROUP BY 1, 2, 3 ORDER BY turn_id, min(step), min(ordinal)

-- name: turn  One turn with its run, its persona, and the turns before and after it, of the run and of the persona.
SELECT t.id, t.run_id, t.persona_id, p.username, p.status = 'departed' AS departed, t.ordinal, t.state, t.reason, t.epoch,
       t.next_step, t.started_at, t.ended_at, r.seed, r.venue, r.slot, r.state AS run_state, r.settings, b.*
FROM turns t
JOIN personas p ON p.id = t.persona_id
JOIN runs r ON r.id = t.run_id
CROSS JOIN LATERAL (
    SELECT (
        SELECT n.id FROM (SELECT id, run_id FROM turns WHERE id < t.id ORDER BY id DESC LIMIT 50) n
        WHERE n.run_id = t.run_id ORDER BY n.id DESC LIMIT 1
    ) AS before_in_run, (
        SELECT n.id FROM (SELECT id, run_id FROM turns WHERE id > t.id ORDER BY id LIMIT 50) n
        WHERE n.run_id = t.run_id ORDER BY n.id LIMIT 1
    ) AS after_in_run, (
        SELECT n.id FROM turns n WHERE n.persona_id = t.persona_id AND n.id < t.id ORDER BY n.id DESC LIMIT 1
    ) AS before_of_persona, (
        SELECT n.id FROM turns n WHERE n.persona_id = t.persona_id AND n.id > t.id ORDER BY n.id LIMIT 1
    ) AS after_of_persona
) b
WHERE t.id = $1

-- name: exposures  What a turn was shown, in order of rank.
SELECT step, ordinal, kind, ranker, version, items AS shown, scores, reasons, chances FROM exposures WHERE turn_id = $1 ORDER BY step, ordinal

-- name: texts  Shared texts by their SHA-256.
SELECT sha256, body FROM prompt_texts WHERE sha256 = ANY ($1::bytea[])
