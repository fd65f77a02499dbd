-- The graph of the personas: who follows, likes or answers whom.

-- name: roomy  For this transaction: plans by how many personas are given, memory and time to join and group a million rows.
SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL work_mem = '96MB'; SET LOCAL statement_timeout = '20s'

-- name: span  When this world began, and its newest moment.
SELECT least(
           (SELECT created_at FROM personas ORDER BY id LIMIT 1), (SELECT created_at FROM posts ORDER BY id LIMIT 1),
           (SELECT created_at FROM follows ORDER BY id LIMIT 1), now()
       ) AS first,
       greatest(
           (SELECT created_at FROM posts ORDER BY id DESC LIMIT 1),
           (SELECT created_at FROM comments ORDER BY id DESC LIMIT 1),
           (SELECT created_at FROM likes ORDER BY id DESC LIMIT 1),
           (SELECT created_at FROM follows ORDER BY id DESC LIMIT 1), now()
       ) AS last

-- name: most_follows  The $1 personas with the most follows given and got; how many there are in all.
SELECT id, count(*) OVER () AS people
FROM personas WHERE followers_count + following_count > 0
ORDER BY followers_count + following_count DESC, id LIMIT $1

-- name: most_likes  The $1 personas with the most likes given and got; how many there are in all.
WITH got AS (
    SELECT p.author_id AS id, sum(c.likes_count) AS likes
    FROM post_counts c JOIN posts p ON p.id = c.post_id
    WHERE c.likes_count > 0 AND NOT c.hidden
    GROUP BY p.author_id
), gave AS (
    SELECT persona_id AS id, count(*) AS likes FROM likes GROUP BY persona_id
)
SELECT id, count(*) OVER () AS people
FROM got FULL JOIN gave USING (id)
ORDER BY coalesce(got.likes, 0) + coalesce(gave.likes, 0) DESC, id LIMIT $1

-- name: most_replies  The $1 personas with the most comments given and got; how many there are in all.
WITH got AS (
    SELECT p.author_id AS id, sum(c.comments_count) AS comments
    FROM post_counts c JOIN posts p ON p.id = c.post_id
    WHERE c.comments_count > 0 AND NOT c.hidden
    GROUP BY p.author_id
), gave AS (
    SELECT id, comments_count AS comments FROM personas WHERE comments_count > 0
)
SELECT id, count(*) OVER () AS people
FROM got FULL JOIN gave USING (id)
ORDER BY coalesce(got.comments, 0) + coalesce(gave.comments, 0) DESC, id LIMIT $1

-- name: people  What the graph tells of personas $1.
SELECT p.id, p.username, p.profile ->> 'display_name' AS display_name, p.profile ->> 'leaning' AS leaning,
       p.followers_count, p.status = 'departed' AS departed, p.created_at
FROM personas p JOIN unnest($1::bigint[]) AS chosen (id) USING (id)

-- name: ties_follows  The follows among personas $1, each with the step (of $3 seconds from $2, at most $4) it was made in; $5 at most.
SELECT f.follower AS source, f.followed AS target, ARRAY[w.step] AS steps, ARRAY[1] AS counts, count(*) OVER () AS ties
FROM follows f
JOIN unnest($1::bigint[]) AS s (id) ON s.id = f.follower
JOIN unnest($1::bigint[]) AS t (id) ON t.id = f.followed
CROSS JOIN LATERAL (
    SELECT least(greatest(ceil(date_part('epoch', f.created_at - $2::timestamptz) / $3::int), 0), $4::int)::int AS step
) w
ORDER BY hashint8(f.follower # f.followed), f.follower, f.followed LIMIT $5

-- name: ties_likes  Who of personas $1 liked whose posts, how often by each step (of $3 seconds from $2, at most $4); the $5 strongest.
WITH acts AS (
    SELECT l.persona_id AS source, p.author_id AS target, w.step, count(*)::int AS acts
    FROM likes l
    JOIN unnest($1::bigint[]) AS s (id) ON s.id = l.persona_id
    JOIN posts p ON p.id = l.post_id AND NOT p.hidden AND p.author_id <> l.persona_id
    JOIN unnest($1::bigint[]) AS t (id) ON t.id = p.author_id
    CROSS JOIN LATERAL (
        SELECT least(greatest(ceil(date_part('epoch', l.created_at - $2::timestamptz) / $3::int), 0), $4::int)::int AS step
    ) w
    GROUP BY l.persona_id, p.author_id, w.step
)
SELECT source, target, array_agg(step ORDER BY step) AS steps, array_agg(acts ORDER BY step) AS counts,
       count(*) OVER () AS ties
FROM acts GROUP BY source, target
ORDER BY sum(acts) DESC, hashint8(source # target), source, target LIMIT $5

-- name: ties_replies  Who of personas $1 commented on whose posts, how often by each step (as above); the $5 strongest.
WITH acts AS (
    SELECT c.author_id AS source, p.author_id AS target, w.step, count(*)::int AS acts
    FROM comments c
    JOIN unnest($1::bigint[]) AS s (id) ON s.id = c.author_id
    JOIN posts p ON p.id = c.post_id AND NOT p.hidden AND p.author_id <> c.author_id
    JOIN unnest($1::bigint[]) AS t (id) ON t.id = p.author_id
    CROSS JOIN LATERAL (
        SELECT least(greatest(ceil(date_part('epoch', c.created_at - $2::timestamptz) / $3::int), 0), $4::int)::int AS step
    ) w
    WHERE NOT c.hidden
    GROUP BY c.author_id, p.author_id, w.step
)
SELECT source, target, array_agg(step ORDER BY step) AS steps, array_agg(acts ORDER BY step) AS counts,
       count(*) OVER () AS ties
FROM acts GROUP BY source, target
ORDER BY sum(acts) DESC, hashint8(source # target), source, target LIMIT $5
