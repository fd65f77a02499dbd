-- What nobody is to see for now, and texts that spread themselves. A quarantine hides; nothing is deleted.

-- name: turn  Waits until no other process looks into marks or takes something: each then sees what the one before did.
SELECT pg_advisory_xact_lock(hashtextextended('moderation', 0))

-- name: left_over  The newest $3 runs of a venue before run $1, as long as nobody has begun to play that one.
SELECT id FROM runs
WHERE venue = $2 AND id < $1 AND NOT EXISTS (SELECT FROM turns WHERE run_id = $1 AND epoch > 0)
ORDER BY id DESC LIMIT $3

-- name: look_into  Up to $5 marked actions of runs $1, oldest first: what each copies of what its writer was shown, and where that came from.
-- The source is what repeats at least share $4 of eight equal parts of the copy: most of them, by another, written first.
WITH RECURSIVE bounds AS MATERIALIZED (
    SELECT min(id) AS first, max(id) AS last FROM turns WHERE run_id = ANY ($1::bigint[])
),
marked AS MATERIALIZED (
    SELECT a.* FROM bounds b CROSS JOIN LATERAL (
        SELECT * FROM actions a
        WHERE a.turn_id BETWEEN b.first AND b.last AND a.outcome = 'made' AND a.detail <> ''
          AND a.effect IN ('post', 'quote', 'comment', 'reply', 'bio') AND a.detail IN ($2::text, $3::text)
        OFFSET 0
    ) a
),
fresh AS MATERIALIZED (
    SELECT a.turn_id, a.step, a.ordinal, t.run_id, t.persona_id,
           CASE a.effect WHEN 'quote' THEN 'post' WHEN 'reply' THEN 'comment' ELSE a.effect END AS kind, a.object_id, a.detail, k.created_at,
           lower(regexp_replace(btrim(coalesce(p.body, c.body, a.arguments::jsonb ->> 'bio')), '\s+', ' ', 'g')) AS plain
    FROM marked a
    JOIN turns t ON t.id = a.turn_id
    JOIN calls k ON k.turn_id = a.turn_id AND k.step = a.step
    LEFT JOIN posts p ON a.effect IN ('post', 'quote') AND p.id = a.object_id
    LEFT JOIN comments c ON a.effect IN ('comment', 'reply') AND c.id = a.object_id
    WHERE t.run_id = ANY ($1::bigint[]) AND NOT EXISTS (
        SELECT FROM marks m WHERE m.turn_id = a.turn_id AND m.step = a.step AND m.ordinal = a.ordinal
    )
    ORDER BY k.created_at, a.turn_id, a.step, a.ordinal LIMIT $5
),
parts AS MATERIALIZED (
    SELECT f.turn_id, f.step, f.ordinal,
           substr(f.plain, 1 + n * length(f.plain) / 8, (n + 1) * length(f.plain) / 8 - n * length(f.plain) / 8) AS part
    FROM fresh f, generate_series(0, 7) n
    WHERE f.detail = $2
),
shown AS MATERIALIZED (
    SELECT DISTINCT f.turn_id, f.step, f.ordinal, f.persona_id, x.kind, x.ranker, i.item
    FROM fresh f
    JOIN exposures x ON x.turn_id = f.turn_id AND x.step <= f.step
    CROSS JOIN LATERAL unnest(x.items) AS i (item)
    WHERE f.detail = $2
),
read AS (
    SELECT s.turn_id, s.step, s.ordinal, 'post' AS kind, o.id, o.author_id = s.persona_id AS own, o.body, o.created_at
    FROM shown s JOIN posts p ON p.id = s.item JOIN posts o ON o.id = coalesce(p.repost_of, p.id)
    WHERE s.kind = 'post'
    UNION
    SELECT s.turn_id, s.step, s.ordinal, 'comment', c.id, c.author_id = s.persona_id, c.body, c.created_at
    FROM shown s JOIN comments c ON c.id = s.item
    WHERE s.kind = 'comment'
    UNION
    SELECT s.turn_id, s.step, s.ordinal, 'comment', c.id, c.author_id = s.persona_id, c.body, c.created_at
    FROM shown s JOIN comments c ON c.post_id = s.item
    WHERE s.kind = 'post' AND s.ranker = 'follows'
    UNION
    SELECT s.turn_id, s.step, s.ordinal, 'bio', o.id, o.id = s.persona_id, o.bio, o.created_at
    FROM shown s JOIN personas o ON o.id = s.item
    WHERE s.kind = 'persona'
),
texts AS MATERIALIZED (
    SELECT kind, id, lower(regexp_replace(btrim(body), '\s+', ' ', 'g')) AS plain
    FROM (SELECT DISTINCT kind, id, body FROM read) r
),
likened AS (
    SELECT r.turn_id, r.step, r.ordinal, r.kind, r.id, r.own, r.created_at,
           count(*) FILTER (WHERE strpos(x.plain, p.part) > 0) / 8.0::float8 AS similarity
    FROM read r JOIN texts x USING (kind, id) JOIN parts p USING (turn_id, step, ordinal)
    GROUP BY 1, 2, 3, 4, 5, 6, 7
),
sources AS MATERIALIZED (
    SELECT DISTINCT ON (l.turn_id, l.step, l.ordinal) l.turn_id, l.step, l.ordinal, l.kind, l.id, l.similarity
    FROM likened l WHERE l.similarity >= $4::float8
    ORDER BY l.turn_id, l.step, l.ordinal, l.similarity DESC, l.own, l.created_at, l.kind, l.id
),
edges AS MATERIALIZED (
    SELECT f.*, s.kind AS source_kind, s.id AS source_id, s.similarity
    FROM fresh f LEFT JOIN sources s USING (turn_id, step, ordinal)
),
chained AS (
    SELECT e.*, coalesce(o.origin_kind, e.source_kind) AS origin_kind, coalesce(o.origin_id, e.source_id) AS origin_id,
           CASE WHEN e.source_id IS NOT NULL THEN coalesce(o.generation, 0) + 1 END AS generation
    FROM edges e LEFT JOIN marks o ON o.kind = e.source_kind AND o.object_id = e.source_id AND o.kind <> 'bio'
    WHERE NOT EXISTS (
        SELECT FROM edges s WHERE s.kind = e.source_kind AND s.object_id = e.source_id AND s.kind <> 'bio'
    )
    UNION ALL
    SELECT e.*, coalesce(c.origin_kind, c.kind), coalesce(c.origin_id, c.object_id), coalesce(c.generation, 0) + 1
    FROM chained c JOIN edges e ON e.source_kind = c.kind AND e.source_id = c.object_id AND c.kind <> 'bio'
)
INSERT INTO marks (
    turn_id, step, ordinal, run_id, persona_id, mark, kind, object_id, source_kind, source_id, similarity, origin_kind,
    origin_id, generation, created_at
)
SELECT turn_id, step, ordinal, run_id, persona_id, CASE WHEN detail = $2 THEN 'copy' ELSE 'canary' END, kind, object_id,
       source_kind, source_id, similarity, origin_kind, origin_id, generation, created_at
FROM chained
ON CONFLICT DO NOTHING
RETURNING origin_kind, origin_id

-- name: spreading  The texts of cascades from origins ($1 kinds, $2 ids) that at least $3 others copied, or that are in quarantine themselves.
-- What was let go once is left alone: a text, and with an origin all that is copied from it.
WITH origins AS MATERIALIZED (
    SELECT o.kind, o.id
    FROM (SELECT DISTINCT kind, id FROM unnest($1::text[], $2::bigint[]) AS u (kind, id)) o
    WHERE NOT EXISTS (
              SELECT FROM quarantines q WHERE q.lifted_at IS NOT NULL
                 AND o.id = CASE o.kind WHEN 'post' THEN q.post_id WHEN 'comment' THEN q.comment_id END)
      AND ($3 <= (
              SELECT count(DISTINCT m.persona_id) FROM marks m
              WHERE m.origin_kind = o.kind AND m.origin_id = o.id AND m.persona_id IS DISTINCT FROM CASE o.kind
                    WHEN 'post' THEN (SELECT author_id FROM posts WHERE id = o.id)
                    WHEN 'comment' THEN (SELECT author_id FROM comments WHERE id = o.id) ELSE o.id END)
          OR EXISTS (
              SELECT FROM quarantines q WHERE q.lifted_at IS NULL
                 AND o.id = CASE o.kind WHEN 'post' THEN q.post_id WHEN 'comment' THEN q.comment_id END))
)
SELECT t.kind, t.id, t.origin_kind AS head_kind, t.origin_id AS head_id
FROM (
    SELECT kind, id, kind AS origin_kind, id AS origin_id FROM origins
    UNION
    SELECT m.kind, m.object_id, m.origin_kind, m.origin_id
    FROM marks m JOIN origins o ON m.origin_kind = o.kind AND m.origin_id = o.id
) t
WHERE t.kind <> 'bio'
  AND NOT EXISTS (SELECT FROM quarantines q WHERE t.kind = 'post' AND q.post_id = t.id)
  AND NOT EXISTS (SELECT FROM quarantines q WHERE t.kind = 'comment' AND q.comment_id = t.id)

-- name: cascade  A post or comment ($1 kind, $2 id), and the texts that are known to be copied from it, however far; if $3, quotes of posts and answers to comments too.
WITH RECURSIVE taken AS (
    SELECT $1::text AS kind, $2::bigint AS id
    UNION
    SELECT n.kind, n.id FROM taken t CROSS JOIN LATERAL (
        SELECT m.kind, m.object_id FROM marks m
        WHERE m.source_kind = t.kind AND m.source_id = t.id AND m.kind <> 'bio'
        UNION ALL
        SELECT 'post', q.id FROM posts q WHERE $3::boolean AND t.kind = 'post' AND q.quote_of = t.id
        UNION ALL
        SELECT 'comment', r.id FROM comments r WHERE $3 AND t.kind = 'comment' AND r.parent_id = t.id
    ) n (kind, id)
)
SELECT kind, id, $1 AS head_kind, $2 AS head_id FROM taken

-- name: hold  Holds the counters of posts $1 and of their reposts: no repost of them can be under way then.
SELECT c.post_id FROM post_counts c
WHERE c.post_id IN (SELECT id FROM posts WHERE id = ANY ($1::bigint[]) OR repost_of = ANY ($1::bigint[]))
ORDER BY c.post_id FOR NO KEY UPDATE

-- name: take  Quarantines things ($1 kinds, $2 ids), each because of a head ($3, $4) that is taken already unless it is its own.
INSERT INTO quarantines (post_id, comment_id, cause, taken_by, admin_id, reason)
SELECT CASE WHEN t.kind = 'post' THEN t.id END, CASE WHEN t.kind = 'comment' THEN t.id END, coalesce(p.id, c.id), $5, $6, $7
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[]) AS t (kind, id, head_kind, head_id)
LEFT JOIN quarantines p ON p.lifted_at IS NULL AND t.head_kind = 'post' AND p.post_id = t.head_id
LEFT JOIN quarantines c ON c.lifted_at IS NULL AND t.head_kind = 'comment' AND c.comment_id = t.head_id
ORDER BY t.kind, t.id
ON CONFLICT DO NOTHING
RETURNING post_id, comment_id

-- name: lift  Ends the quarantine of a post or comment ($4 kind, $1 id) and of what was taken because of it.
UPDATE quarantines q SET lifted_at = now(), lifted_by = $2, lift_reason = $3
FROM (
    SELECT id FROM quarantines
    WHERE lifted_at IS NULL AND ($4 = 'post' AND post_id = $1 OR $4 = 'comment' AND comment_id = $1)
) head
WHERE q.lifted_at IS NULL AND (q.id = head.id OR q.cause = head.id)
RETURNING q.post_id, q.comment_id

-- name: apply  Hides posts $1 with their reposts and comments $2, or shows them, as the quarantines in force say.
WITH posts_now AS MATERIALIZED (
    SELECT p.id, EXISTS (
        SELECT FROM quarantines q WHERE q.lifted_at IS NULL AND q.post_id IN (p.id, p.repost_of)
    ) AS hidden
    FROM posts p WHERE p.id = ANY ($1::bigint[]) OR p.repost_of = ANY ($1::bigint[])
),
counts AS (UPDATE post_counts c SET hidden = n.hidden FROM posts_now n WHERE c.post_id = n.id AND c.hidden <> n.hidden),
changed AS (
    UPDATE posts p SET hidden = n.hidden FROM posts_now n WHERE p.id = n.id AND p.hidden <> n.hidden RETURNING p.id
),
answers AS (
    UPDATE comments c SET hidden = n.hidden
    FROM (
        SELECT k.id, EXISTS (
            SELECT FROM quarantines q WHERE q.lifted_at IS NULL AND q.comment_id = k.id
        ) AS hidden
        FROM comments k WHERE k.id = ANY ($2::bigint[])
    ) n
    WHERE c.id = n.id AND c.hidden <> n.hidden
    RETURNING c.id
)
SELECT (SELECT count(*) FROM changed) AS posts, (SELECT count(*) FROM answers) AS comments

-- name: exists  Whether there is a post or comment ($2 kind).
SELECT CASE $2::text WHEN 'post' THEN EXISTS (SELECT FROM posts WHERE id = $1)
       ELSE EXISTS (SELECT FROM comments WHERE id = $1) END

-- name: reports  Posts with open reports, the one reported last first, before report $1, at most $2: how many, and the newest five reasons of each.
SELECT o.post_id, o.reports, o.first_at, o.last_at, o.last_id,
       (SELECT json_agg(r.reason ORDER BY r.id DESC) FROM (
            SELECT id, reason FROM reports WHERE post_id = o.post_id AND closed_at IS NULL ORDER BY id DESC LIMIT 5
        ) r) AS reasons,
       coalesce(s.body, p.body) AS text, p.author_id, a.username AS author_username, p.hidden AS quarantined
FROM (
    SELECT post_id, count(*) AS reports, min(created_at) AS first_at, max(created_at) AS last_at, max(id) AS last_id
    FROM reports WHERE closed_at IS NULL GROUP BY post_id HAVING max(id) < $1 ORDER BY max(id) DESC LIMIT $2
) o
JOIN posts p ON p.id = o.post_id
LEFT JOIN posts s ON s.id = p.repost_of
JOIN personas a ON a.id = p.author_id
ORDER BY o.last_id DESC

-- name: close_reports  Closes the open reports of post $1 with verdict $2, by admin $3.
UPDATE reports SET verdict = $2, closed_at = now(), closed_by = $3 WHERE post_id = $1 AND closed_at IS NULL RETURNING id

-- name: last_verdict  With what the reports of post $1 were closed last.
SELECT verdict FROM reports WHERE post_id = $1 AND closed_at IS NOT NULL ORDER BY closed_at DESC, id DESC LIMIT 1

-- name: flagged  The newest $3 marks; those of the two newest runs that were not looked into yet have no source.
WITH newest AS (
    (SELECT turn_id, step, ordinal, run_id, persona_id, mark, kind, object_id, source_kind, source_id, similarity,
            origin_kind, origin_id, generation, created_at
     FROM marks ORDER BY turn_id DESC, step DESC, ordinal DESC LIMIT $3)
    UNION ALL
    SELECT a.turn_id, a.step, a.ordinal, t.run_id, t.persona_id, CASE WHEN a.detail = $1 THEN 'copy' ELSE 'canary' END,
           a.effect, a.object_id, NULL, NULL, NULL, NULL, NULL, NULL, k.created_at
    FROM (SELECT id FROM runs ORDER BY id DESC LIMIT 2) r
    CROSS JOIN LATERAL (SELECT id, run_id, persona_id FROM turns WHERE run_id = r.id OFFSET 0) t
    CROSS JOIN LATERAL (
        SELECT n.turn_id, n.step, n.ordinal, n.effect, n.object_id, n.detail FROM actions n
        WHERE n.turn_id = t.id AND n.outcome = 'made' AND n.detail <> '' AND n.detail IN ($1::text, $2::text)
          AND NOT EXISTS (
              SELECT FROM marks m WHERE m.turn_id = n.turn_id AND m.step = n.step AND m.ordinal = n.ordinal
          )
        OFFSET 0
    ) a
    CROSS JOIN LATERAL (SELECT created_at FROM calls c WHERE c.turn_id = a.turn_id AND c.step = a.step OFFSET 0) k
)
SELECT n.*, w.username, coalesce(p.body, c.body, CASE WHEN n.kind = 'bio' THEN w.bio END) AS text,
       coalesce(p.hidden, c.hidden, false) AS quarantined
FROM (SELECT * FROM newest ORDER BY created_at DESC, turn_id DESC, step DESC, ordinal DESC LIMIT $3) n
CROSS JOIN LATERAL (SELECT username, bio FROM personas WHERE id = n.persona_id OFFSET 0) w
LEFT JOIN LATERAL (SELECT body, hidden FROM posts WHERE n.kind = 'post' AND id = n.object_id OFFSET 0) p ON true
LEFT JOIN LATERAL (SELECT body, hidden FROM comments WHERE n.kind = 'comment' AND id = n.object_id OFFSET 0) c ON true
ORDER BY n.created_at DESC, n.turn_id DESC, n.step DESC, n.ordinal DESC

-- name: spread_lately  The $1 origins that were copied last.
SELECT origin_kind AS kind, origin_id AS id FROM marks WHERE origin_id IS NOT NULL
GROUP BY 1, 2 ORDER BY max(turn_id) DESC LIMIT $1

-- name: in_bulk  For `infection`: what it joins can't be told in advance to be much, and often is.
SET LOCAL enable_nestloop = off

-- name: infection  Of each text ($1 kinds, $2 ids), by generation: what carries it, how many of these were shown, to how many, and what that caused.
WITH texts AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS u (origin_kind, origin_id, place)
),
copied AS MATERIALIZED (
    SELECT x.place, m.* FROM marks m JOIN texts x USING (origin_kind, origin_id)
),
carriers AS MATERIALIZED (
    SELECT place, 0 AS generation, origin_kind AS kind, origin_id AS id FROM texts
    UNION ALL
    SELECT place, generation, kind, object_id FROM copied WHERE kind <> 'bio'
),
caused AS (
    SELECT place, generation - 1 AS generation, source_kind AS kind, source_id AS id, count(*) AS copies
    FROM copied GROUP BY 1, 2, 3, 4
),
items AS MATERIALIZED (
    SELECT kind, id, CASE kind WHEN 'bio' THEN 'persona' ELSE kind END AS shown_as, id AS item FROM carriers
    UNION
    SELECT 'post', repost_of, 'post', id FROM posts
    WHERE repost_of = ANY (ARRAY(SELECT id FROM carriers WHERE kind = 'post'))
),
seen AS MATERIALIZED (
    SELECT DISTINCT x.kind, u.item, x.persona_id
    FROM (
        SELECT x.kind, x.items, (SELECT t.persona_id FROM turns t WHERE t.id = x.turn_id) AS persona_id
        FROM exposures x
        WHERE x.items && ARRAY(SELECT item FROM items) AND x.turn_id >= (
            SELECT min(t.id) FROM turns t WHERE t.run_id = (SELECT min(run_id) FROM copied)
        )
        OFFSET 0
    ) x CROSS JOIN LATERAL unnest(x.items) AS u (item)
),
shown AS MATERIALIZED (
    SELECT DISTINCT i.kind, i.id, s.persona_id FROM seen s JOIN items i ON i.shown_as = s.kind AND i.item = s.item
),
readers AS (
    SELECT c.place, c.generation, count(DISTINCT s.persona_id) AS readers
    FROM carriers c JOIN shown s USING (kind, id) GROUP BY 1, 2
),
told AS (
    SELECT c.place, c.generation, count(*) AS carriers,
           count(*) FILTER (WHERE s.id IS NOT NULL OR k.copies IS NOT NULL) AS shown,
           coalesce(sum(k.copies), 0)::bigint AS copies
    FROM carriers c
    LEFT JOIN (SELECT DISTINCT kind, id FROM shown) s USING (kind, id)
    LEFT JOIN caused k USING (place, generation, kind, id)
    GROUP BY 1, 2
)
SELECT t.place, t.generation, t.carriers, t.shown, coalesce(r.readers, 0) AS readers, t.copies
FROM told t LEFT JOIN readers r USING (place, generation) ORDER BY 1, 2

-- name: text_of  What an origin says, and whose it is.
SELECT coalesce(p.body, c.body, b.bio) AS text, coalesce(p.author_id, c.author_id, b.id) AS author_id,
       coalesce(p.hidden, c.hidden, false) AS quarantined, a.username
FROM (SELECT $1::text AS kind, $2::bigint AS id) o
LEFT JOIN posts p ON o.kind = 'post' AND p.id = o.id
LEFT JOIN comments c ON o.kind = 'comment' AND c.id = o.id
LEFT JOIN personas b ON o.kind = 'bio' AND b.id = o.id
JOIN personas a ON a.id = coalesce(p.author_id, c.author_id, b.id)

-- name: quarantined  The newest $1 quarantines in force, with what was taken because of each; what was taken alone has no cause.
SELECT q.id, q.post_id, q.comment_id, q.taken_by, a.username AS admin, q.reason, q.created_at,
       coalesce(o.body, p.body, c.body) AS text, w.id AS author_id, w.username AS author_username,
       (SELECT count(*) FROM quarantines t WHERE t.cause = q.id AND t.lifted_at IS NULL) AS taken_along
FROM (
    SELECT * FROM quarantines WHERE lifted_at IS NULL AND cause IS NULL ORDER BY id DESC LIMIT $1
) q
LEFT JOIN admin a ON a.id = q.admin_id
LEFT JOIN posts p ON p.id = q.post_id
LEFT JOIN posts o ON o.id = p.repost_of
LEFT JOIN comments c ON c.id = q.comment_id
JOIN personas w ON w.id = coalesce(p.author_id, c.author_id)
ORDER BY q.id DESC

-- name: unsettled  What is hidden though no quarantine in force says so, or seen though one does: nothing in a sound world.
SELECT 'post ' || p.id AS id
FROM posts p JOIN post_counts c ON c.post_id = p.id
CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT FROM quarantines q WHERE q.lifted_at IS NULL AND q.post_id IN (p.id, p.repost_of)) AS hidden
) n
WHERE p.hidden <> n.hidden OR c.hidden <> n.hidden
UNION ALL
SELECT 'comment ' || c.id FROM comments c
WHERE c.hidden <> EXISTS (SELECT FROM quarantines q WHERE q.lifted_at IS NULL AND q.comment_id = c.id)
