-- What the metrics of a world are reckoned from: columns as bytes (int8send: 8 bytes a number, big-endian), in the order of ids.

-- name: roomy  For this transaction: memory to sort and group a million rows.
SET LOCAL work_mem = '64MB'

-- name: people  All but those who only play in rooms, departed ones too.
SELECT string_agg(int8send(id), ''::bytea ORDER BY id) AS id, array_agg(profile ->> 'leaning' ORDER BY id) AS leaning
FROM personas WHERE status <> 'cast'

-- name: posts  Posts, reposts and quotes that can be seen; `parent` is what is reposted or quoted, 0 for none, `repost` whether it is the former.
SELECT string_agg(int8send(id), ''::bytea ORDER BY id) AS id, string_agg(int8send(author_id), ''::bytea ORDER BY id) AS author,
       string_agg(int8send(coalesce(repost_of, quote_of, 0)), ''::bytea ORDER BY id) AS parent,
       string_agg(int8send((repost_of IS NOT NULL)::int), ''::bytea ORDER BY id) AS repost
FROM posts WHERE NOT hidden

-- name: comments  Comments and replies that can be seen; `parent` is the comment that is answered, 0 for the post itself.
SELECT string_agg(int8send(id), ''::bytea ORDER BY id) AS id, string_agg(int8send(author_id), ''::bytea ORDER BY id) AS author,
       string_agg(int8send(post_id), ''::bytea ORDER BY id) AS post,
       string_agg(int8send(coalesce(parent_id, 0)), ''::bytea ORDER BY id) AS parent
FROM comments WHERE NOT hidden

-- name: likes  Likes of posts.
SELECT string_agg(int8send(id), ''::bytea ORDER BY id) AS id, string_agg(int8send(persona_id), ''::bytea ORDER BY id) AS who,
       string_agg(int8send(post_id), ''::bytea ORDER BY id) AS post
FROM likes

-- name: follows  Who follows whom.
SELECT string_agg(int8send(id), ''::bytea ORDER BY id) AS id, string_agg(int8send(follower), ''::bytea ORDER BY id) AS who,
       string_agg(int8send(followed), ''::bytea ORDER BY id) AS whom
FROM follows

-- name: runs  Runs $1 (null: all) after run $2, of venue $3 (null: any).
SELECT id, venue, coalesce(world_at, started_at, created_at) AS at, turns_total FROM runs
WHERE ($1::bigint[] IS NULL OR id = ANY ($1)) AND id > $2 AND ($3::text IS NULL OR venue = $3) ORDER BY id

-- name: made  What the turns of runs $1 made, by kind, and in which run.
SELECT kind, string_agg(int8send(object_id), ''::bytea ORDER BY object_id, run_id) AS id,
       string_agg(int8send(run_id), ''::bytea ORDER BY object_id, run_id) AS run
FROM (
    SELECT CASE WHEN a.effect IN ('repost', 'quote') THEN 'post' WHEN a.effect = 'reply' THEN 'comment' ELSE a.effect END AS kind,
           a.object_id, t.run_id
    FROM turns t JOIN actions a ON a.turn_id = t.id
    WHERE t.run_id = ANY ($1::bigint[]) AND a.outcome = 'made' AND a.object_id IS NOT NULL
      AND a.effect IN ('post', 'repost', 'quote', 'comment', 'reply', 'like', 'follow')
) m GROUP BY kind

-- name: texts  The words of posts $1 and comments $2 (null: of all that can be seen), in the order they were written.
SELECT kind, id, body FROM (
    SELECT 0 AS kind, id, body, created_at FROM posts
    WHERE NOT hidden AND body <> '' AND ($1::bigint[] IS NULL OR id = ANY ($1))
    UNION ALL
    SELECT 1, id, body, created_at FROM comments WHERE NOT hidden AND ($2::bigint[] IS NULL OR id = ANY ($2))
) t ORDER BY created_at, kind, id

-- name: shown  How often the turns of each of runs $1, in order, were shown posts, by viewer and author (of a repost: of what is reposted).
SELECT string_agg(int8send(viewer), ''::bytea ORDER BY viewer, author) AS viewer,
       string_agg(int8send(author), ''::bytea ORDER BY viewer, author) AS author,
       string_agg(int8send(times), ''::bytea ORDER BY viewer, author) AS times
FROM unnest($1::bigint[]) AS r (run) LEFT JOIN (
    SELECT t.persona_id AS viewer, coalesce(o.author_id, p.author_id) AS author, t.run_id AS run, count(*) AS times
    FROM turns t JOIN exposures e ON e.turn_id = t.id AND e.kind = 'post'
    CROSS JOIN LATERAL unnest(e.items) AS i (item)
    JOIN posts p ON p.id = i.item LEFT JOIN posts o ON o.id = p.repost_of
    WHERE t.run_id = ANY ($1::bigint[]) GROUP BY 1, 2, 3
) s USING (run) GROUP BY run ORDER BY run

-- name: exposures  How many posts of people (of a repost: of what is reposted) people were shown in each of runs $1, in order.
SELECT string_agg(int8send(times), ''::bytea ORDER BY run) AS times
FROM (
    SELECT r.run, count(a.id) AS times
    FROM unnest($1::bigint[]) AS r (run) LEFT JOIN turns t ON t.run_id = r.run
    LEFT JOIN personas v ON v.id = t.persona_id AND v.status <> 'cast'
    LEFT JOIN exposures e ON e.turn_id = t.id AND e.kind = 'post' AND v.id IS NOT NULL
    LEFT JOIN LATERAL unnest(e.items) AS i (item) ON true
    LEFT JOIN posts p ON p.id = i.item LEFT JOIN posts o ON o.id = p.repost_of
    LEFT JOIN personas a ON a.id = coalesce(o.author_id, p.author_id) AND a.status <> 'cast'
    GROUP BY 1
) s

-- name: latencies  How long each call of runs $1 that was answered took: milliseconds, int4send.
SELECT t.run_id, string_agg(int4send(c.latency_ms), ''::bytea ORDER BY c.turn_id, c.step) AS ms
FROM turns t JOIN calls c ON c.turn_id = t.id WHERE t.run_id = ANY ($1::bigint[]) AND c.status = 'ok' GROUP BY 1
