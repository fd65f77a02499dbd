-- What personas were shown and why: one impression is one item at its place in one reading.

-- name: same_post  Post $1 and its reposts, of which at most a thousand: whoever was shown one was shown the post.
SELECT $1::bigint AS id WHERE EXISTS (SELECT FROM posts WHERE id = $1)
UNION ALL (SELECT id FROM posts WHERE repost_of = $1 LIMIT 1000)

-- name: of_persona  Impressions of persona $1, the newest first, at most $3; of posts $2 only, unless that is null. Begins behind turn $4, step $5, ordinal $6, place $7, and looks through at most $8 turns.
SELECT t.id AS turn_id, t.run_id, e.step, e.ordinal, e.created_at AS at, e.kind, e.ranker, e.version, i.item, i.place AS rank,
       e.scores[i.place] AS score, e.reasons[i.place] AS reason, e.chances[i.place] AS chance
FROM (SELECT id, run_id FROM turns WHERE persona_id = $1 AND id <= $4 ORDER BY id DESC LIMIT $8) t
CROSS JOIN LATERAL (
    SELECT * FROM exposures x
    WHERE x.turn_id = t.id AND ($2::bigint[] IS NULL OR (x.kind = 'post' AND x.items && $2)) OFFSET 0
) e
CROSS JOIN LATERAL unnest(e.items) WITH ORDINALITY AS i (item, place)
WHERE ($2::bigint[] IS NULL OR i.item = ANY ($2)) AND (t.id, e.step, e.ordinal, -i.place) < ($4, $5::int, $6::int, -$7::bigint)
ORDER BY t.id DESC, e.step DESC, e.ordinal DESC, i.place LIMIT $3

-- name: looked  How many the $3 newest turns of persona $1 up to turn $2 are, and the oldest of them.
SELECT count(*) AS turns, min(id) AS oldest
FROM (SELECT id FROM turns WHERE persona_id = $1 AND id <= $2 ORDER BY id DESC LIMIT $3) t

-- name: of_runs  What each ranker showed in runs $1 to $2: posts and personas, and how evenly.
WITH shown AS MATERIALIZED (
    SELECT e.ranker, e.version, e.kind, t.persona_id, i.item
    FROM turns t JOIN exposures e ON e.turn_id = t.id CROSS JOIN LATERAL unnest(e.items) AS i (item)
    WHERE t.run_id BETWEEN $1 AND $2 AND e.kind IN ('post', 'persona')
),
items AS MATERIALIZED (
    SELECT s.*, row_number() OVER (PARTITION BY ranker, version, kind ORDER BY times) AS place,
           count(*) OVER (PARTITION BY ranker, version, kind) AS number
    FROM (SELECT ranker, version, kind, item, count(*) AS times FROM shown GROUP BY 1, 2, 3, 4) s
),
spread AS (
    SELECT ranker, version, kind, sum(times)::bigint AS impressions, count(*) AS items, max(times)::float8 / sum(times)::float8 AS top_share,
           (2 * sum(place * times) / (max(number) * sum(times)) - (max(number) + 1.0) / max(number))::float8 AS gini
    FROM items GROUP BY 1, 2, 3
),
leanings AS (
    SELECT s.ranker, s.version, s.kind, count(DISTINCT s.persona_id) AS viewers,
           avg((v.leaning <> w.leaning)::int)::float8 AS cross_leaning
    FROM shown s
    CROSS JOIN LATERAL (SELECT profile ->> 'leaning' AS leaning FROM personas v WHERE v.id = s.persona_id OFFSET 0) v
    LEFT JOIN LATERAL (
        SELECT a.profile ->> 'leaning' AS leaning FROM personas a
        WHERE a.id = CASE s.kind WHEN 'persona' THEN s.item ELSE (
            SELECT coalesce(o.author_id, p.author_id) FROM posts p LEFT JOIN posts o ON o.id = p.repost_of WHERE p.id = s.item
        ) END OFFSET 0
    ) w ON true
    GROUP BY 1, 2, 3
)
SELECT * FROM spread JOIN leanings USING (ranker, version, kind) ORDER BY kind DESC, impressions DESC, ranker

-- name: of_post  Impressions of posts $1 (post $8 and its reposts), the newest first, at most $2. Begins behind turn $3, step $4, ordinal $5, place $6, and looks through at most $7 readings, none from before the run in which post $8 was made.
SELECT t.id AS turn_id, t.run_id, t.persona_id, p.username, p.status = 'departed' AS departed, e.step, e.ordinal, e.created_at AS at,
       e.kind, e.ranker, e.version, i.item, i.place AS rank,
       e.scores[i.place] AS score, e.reasons[i.place] AS reason, e.chances[i.place] AS chance
FROM (
    SELECT * FROM exposures x
    WHERE (x.turn_id, x.step, x.ordinal) <= ($3::bigint, $4::int, $5::smallint) AND x.turn_id >= coalesce((
        SELECT s.id FROM actions a JOIN turns m ON m.id = a.turn_id JOIN turns s ON s.run_id = m.run_id
        WHERE a.effect IN ('post', 'repost', 'quote') AND a.object_id = $8 AND a.outcome = 'made' ORDER BY s.ordinal LIMIT 1
    ), 0)
    ORDER BY x.turn_id DESC, x.step DESC, x.ordinal DESC LIMIT $7
) e
CROSS JOIN LATERAL unnest(e.items) WITH ORDINALITY AS i (item, place)
JOIN turns t ON t.id = e.turn_id JOIN personas p ON p.id = t.persona_id
WHERE e.kind = 'post' AND e.items && $1::bigint[] AND i.item = ANY ($1)
  AND (e.turn_id, e.step, e.ordinal, -i.place) < ($3, $4, $5, -$6::bigint)
ORDER BY e.turn_id DESC, e.step DESC, e.ordinal DESC, i.place LIMIT $2

-- name: looked_of_post  The reading at which that stops looking ($1, $2, $3: where it begins; $4 readings; post $5), if it does.
SELECT x.turn_id, x.step, x.ordinal FROM exposures x
WHERE (x.turn_id, x.step, x.ordinal) <= ($1::bigint, $2::int, $3::smallint) AND x.turn_id >= coalesce((
    SELECT s.id FROM actions a JOIN turns m ON m.id = a.turn_id JOIN turns s ON s.run_id = m.run_id
    WHERE a.effect IN ('post', 'repost', 'quote') AND a.object_id = $5 AND a.outcome = 'made' ORDER BY s.ordinal LIMIT 1
), 0)
ORDER BY x.turn_id DESC, x.step DESC, x.ordinal DESC OFFSET $4::int - 1 LIMIT 1

-- name: things  What posts $1, comments $2, personas $3, news $4 and memories $5 are: by whom, how they begin, which post they belong to.
SELECT 'post' AS kind, p.id, a.username AS by, left(coalesce(o.title, o.body, p.title, p.body), 160) AS excerpt, p.id AS post_id,
       p.hidden OR coalesce(o.hidden, false) AS hidden
FROM posts p JOIN personas a ON a.id = p.author_id LEFT JOIN posts o ON o.id = p.repost_of WHERE p.id = ANY ($1::bigint[])
UNION ALL
SELECT 'comment', c.id, a.username, left(c.body, 160), c.post_id, c.hidden
FROM comments c JOIN personas a ON a.id = c.author_id WHERE c.id = ANY ($2::bigint[])
UNION ALL
SELECT 'persona', p.id, p.username, left(p.bio, 160), NULL, false FROM personas p WHERE p.id = ANY ($3::bigint[])
UNION ALL
SELECT 'news', n.id, n.source, left(n.title, 160), NULL, false FROM news n WHERE n.id = ANY ($4::bigint[])
UNION ALL
SELECT 'memory', m.id, '', left(m.body, 160), NULL, false FROM memories m WHERE m.id = ANY ($5::bigint[])
