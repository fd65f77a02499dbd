-- What a report tells of a world beside its metrics.

-- name: runs  The runs behind $1, of those in $2 if given, oldest first; the newest 100,000.
SELECT * FROM (
    SELECT id, venue, state, reason, seed, settings::text AS settings, pacing, turns_total, lost_calls, world_at,
           started_at, ended_at
    FROM runs WHERE id > $1 AND ($2::bigint[] IS NULL OR id = ANY ($2)) ORDER BY id DESC LIMIT 100000
) r ORDER BY id

-- name: lost  Why turns of runs $1 did not end well, most frequent first.
SELECT state, coalesce(reason, '') AS reason, count(*) AS turns FROM turns
WHERE run_id = ANY ($1::bigint[]) AND state NOT IN ('done', 'queued', 'running')
GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 30

-- name: models  What the calls of runs $1 took, by model.
SELECT coalesce(nullif(c.model_returned, ''), c.model) AS name, count(*) AS calls,
       sum(c.prompt_tokens + c.completion_tokens) AS tokens,
       CASE WHEN count(*) = count(c.cost_usd) THEN sum(c.cost_usd) END AS usd,
       count(*) FILTER (WHERE c.status <> 'ok') AS failed
FROM turns t JOIN calls c ON c.turn_id = t.id WHERE t.run_id = ANY ($1::bigint[])
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 40

-- name: shared  The posts that set off most: reposts, quotes and comments, all visible.
SELECT p.id, a.username, left(p.body, 200) AS body, coalesce(s.shares, 0) AS shares, coalesce(k.comments, 0) AS comments
FROM posts p
JOIN personas a ON a.id = p.author_id
LEFT JOIN (SELECT coalesce(repost_of, quote_of) AS id, count(*) AS shares FROM posts
           WHERE coalesce(repost_of, quote_of) IS NOT NULL AND NOT hidden GROUP BY 1) s ON s.id = p.id
LEFT JOIN (SELECT post_id AS id, count(*) AS comments FROM comments WHERE NOT hidden GROUP BY 1) k ON k.id = p.id
WHERE NOT p.hidden AND p.repost_of IS NULL AND (s.shares > 0 OR k.comments > 0)
ORDER BY coalesce(s.shares, 0) + coalesce(k.comments, 0) DESC, p.id LIMIT 8
