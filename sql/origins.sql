-- Which step made a thing, what was read before it, and what came of a post. What is in quarantine is left out.

-- name: origin  The newest step that made object $2 by effect $1, with its turn, run and persona.
SELECT a.turn_id, a.step, a.ordinal, t.run_id, t.persona_id, p.username, r.venue, r.slot, t.state, t.started_at,
       t.ended_at, c.model, c.model_returned, c.status, c.reply, c.latency_ms, c.created_at,
       (SELECT count(*) FROM actions n WHERE n.turn_id = a.turn_id AND n.outcome = 'made') AS made,
       s.steps, s.tokens, s.cost_usd, s.unpriced
FROM (
    SELECT turn_id, step, ordinal FROM actions WHERE effect = $1 AND object_id = $2 AND outcome = 'made'
    ORDER BY turn_id DESC, step DESC LIMIT 1
) a
JOIN turns t ON t.id = a.turn_id
JOIN runs r ON r.id = t.run_id
JOIN personas p ON p.id = t.persona_id
JOIN calls c ON c.turn_id = a.turn_id AND c.step = a.step
CROSS JOIN LATERAL (
    SELECT count(*) AS steps, sum(k.prompt_tokens + k.completion_tokens) AS tokens,
           coalesce(sum(k.cost_usd), 0) AS cost_usd, count(*) FILTER (WHERE k.cost_usd IS NULL) AS unpriced
    FROM calls k WHERE k.turn_id = a.turn_id AND k.step <= a.step
) s

-- name: readings  What turn $1 was shown before its step $2 was asked for, the last thing first, at most $3; each thing once.
SELECT e.step, e.kind, e.ranker, i.id AS object_id,
       CASE e.kind WHEN 'post' THEN i.id WHEN 'comment' THEN k.post_id END AS post_id,
       coalesce(f.author_username, w.username, p.username) AS username,
       coalesce(f.author_id, k.author_id, p.id) AS persona_id,
       coalesce(f.author_departed, w.status = 'departed', p.status = 'departed') AS departed,
       left(CASE e.kind WHEN 'post' THEN coalesce(f.title, f.body) WHEN 'comment' THEN k.body ELSE p.bio END, 160) AS excerpt
FROM (
    SELECT DISTINCT ON (x.kind, o.id) x.kind, o.id, x.step, x.ordinal, o.place
    FROM exposures x CROSS JOIN LATERAL unnest(x.items) WITH ORDINALITY AS o (id, place)
    WHERE x.turn_id = $1 AND x.step <= $2
    ORDER BY x.kind, o.id, x.step DESC, x.ordinal DESC
) i
JOIN exposures e ON e.turn_id = $1 AND e.step = i.step AND e.ordinal = i.ordinal
LEFT JOIN feed_posts f ON e.kind = 'post' AND f.id = i.id
LEFT JOIN comments k ON e.kind = 'comment' AND k.id = i.id AND NOT k.hidden
    AND EXISTS (SELECT FROM posts q WHERE q.id = k.post_id AND NOT q.hidden)
LEFT JOIN personas w ON w.id = k.author_id
LEFT JOIN personas p ON e.kind = 'persona' AND p.id = i.id
WHERE coalesce(f.id, k.id, p.id) IS NOT NULL
ORDER BY i.step DESC, i.ordinal DESC, i.place LIMIT $3

-- name: read_counts  How many different posts, comments and personas turn $1 was shown before step $2.
SELECT e.kind, count(DISTINCT o.id) AS things
FROM exposures e CROSS JOIN LATERAL unnest(e.items) AS o (id)
WHERE e.turn_id = $1 AND e.step <= $2 GROUP BY e.kind

-- name: caused  What others did because of posts $1, oldest first, at most $2 of each kind a post; who read them is looked for in $3 readings.
WITH roots AS MATERIALIZED (
    SELECT p.id, p.author_id, p.created_at, m.turn_id
    FROM posts p
    LEFT JOIN LATERAL (
        SELECT a.turn_id FROM actions a
        WHERE a.effect IN ('post', 'repost', 'quote') AND a.object_id = p.id AND a.outcome = 'made' LIMIT 1
    ) m ON true
    WHERE p.id = ANY ($1::bigint[]) AND NOT p.hidden
),
direct AS (
    SELECT g.id AS cause, 'like' AS effect, k.id AS object_id, k.persona_id, k.created_at, '' AS body
    FROM roots g CROSS JOIN LATERAL (
        SELECT * FROM (SELECT * FROM likes WHERE post_id = g.id ORDER BY persona_id LIMIT 1000) l ORDER BY l.id LIMIT $2
    ) k
    UNION ALL
    SELECT g.id, CASE WHEN k.parent_id IS NULL THEN 'comment' ELSE 'reply' END, k.id, k.author_id, k.created_at, left(k.body, 160)
    FROM roots g CROSS JOIN LATERAL (
        SELECT * FROM comments c WHERE c.post_id = g.id AND NOT c.hidden ORDER BY c.id LIMIT $2
    ) k
    UNION ALL
    SELECT g.id, 'repost', k.id, k.author_id, k.created_at, ''
    FROM roots g CROSS JOIN LATERAL (
        SELECT * FROM (SELECT * FROM posts WHERE repost_of = g.id AND NOT hidden LIMIT 1000) s ORDER BY s.id LIMIT $2
    ) k
    UNION ALL
    SELECT g.id, 'quote', k.id, k.author_id, k.created_at, left(k.body, 160)
    FROM roots g CROSS JOIN LATERAL (SELECT * FROM posts WHERE quote_of = g.id AND NOT hidden ORDER BY id LIMIT $2) k
),
readers AS MATERIALIZED (
    SELECT DISTINCT ON (g.id, e.turn_id) g.id AS cause, g.author_id, e.turn_id, e.step
    FROM (
        SELECT x.turn_id, x.step, x.kind, x.items, x.created_at FROM exposures x
        WHERE x.turn_id > (SELECT min(turn_id) FROM roots) - 200 ORDER BY x.turn_id, x.step, x.ordinal LIMIT $3
    ) e
    JOIN roots g ON g.id = ANY (e.items) AND e.turn_id <> g.turn_id AND e.created_at >= g.created_at
    WHERE e.kind = 'post' AND e.items && $1::bigint[]
    ORDER BY g.id, e.turn_id, e.step LIMIT 1000
),
after_reading AS (
    SELECT DISTINCT ON (a.effect, a.object_id)
           r.cause, a.effect, a.object_id, a.persona_id, a.created_at, a.turn_id, a.step, a.ordinal
    FROM readers r CROSS JOIN LATERAL (
        SELECT n.effect, n.object_id, t.persona_id, c.created_at, n.turn_id, n.step, n.ordinal
        FROM actions n
        JOIN turns t ON t.id = n.turn_id
        JOIN calls c ON c.turn_id = n.turn_id AND c.step = n.step
        WHERE n.turn_id = r.turn_id AND n.step >= r.step AND n.outcome = 'made'
          AND (n.effect = 'post' OR (n.effect = 'follow' AND n.target_id = r.author_id))
        OFFSET 0
    ) a
    ORDER BY a.effect, a.object_id, r.step DESC, r.cause DESC
),
found AS (
    SELECT d.cause, d.effect, d.object_id, d.persona_id, d.created_at, d.body, m.turn_id, m.step, m.ordinal
    FROM direct d LEFT JOIN LATERAL (
        SELECT a.turn_id, a.step, a.ordinal FROM actions a
        WHERE a.effect = d.effect AND a.object_id = d.object_id AND a.outcome = 'made' LIMIT 1
    ) m ON true
    UNION ALL
    SELECT w.cause, w.effect, w.object_id, w.persona_id, w.created_at, coalesce(p.body, ''), w.turn_id, w.step, w.ordinal
    FROM (SELECT * FROM after_reading ORDER BY created_at, effect, object_id LIMIT 10 * $2) w
    LEFT JOIN LATERAL (
        SELECT left(coalesce(q.title, q.body), 160) AS body FROM posts q
        WHERE w.effect = 'post' AND q.id = w.object_id AND NOT q.hidden OFFSET 0
    ) p ON true
    WHERE w.effect <> 'post' OR p.body IS NOT NULL
)
SELECT f.cause, f.effect, f.object_id, f.persona_id, o.username, o.departed, f.created_at, f.body,
       f.turn_id, f.step, f.ordinal
FROM found f
CROSS JOIN LATERAL (
    SELECT a.username, a.status = 'departed' AS departed FROM personas a WHERE a.id = f.persona_id OFFSET 0
) o
WHERE f.persona_id <> (SELECT author_id FROM roots g WHERE g.id = f.cause)
ORDER BY f.created_at, f.effect, f.object_id
