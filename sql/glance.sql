-- A world at a glance, for the pages.

-- name: facts  How many personas, posts, comments and cycles.
SELECT count(*) FILTER (WHERE status IN ('active', 'paused')) AS personas, coalesce(sum(posts_count), 0)::bigint AS posts,
       coalesce(sum(comments_count), 0)::bigint AS comments,
       (SELECT count(*) FROM runs WHERE venue = 'feed') AS cycles
FROM personas

-- name: most_active  Who wrote most of the newest $1 posts, at most $2.
SELECT a.id, a.username, a.profile ->> 'display_name' AS display_name, n.posts
FROM (
    SELECT author_id, count(*) AS posts
    FROM (SELECT author_id FROM posts WHERE NOT hidden ORDER BY id DESC LIMIT $1) newest
    GROUP BY author_id
) n JOIN personas a ON a.id = n.author_id
WHERE a.status IN ('active', 'paused')
ORDER BY n.posts DESC, a.id LIMIT $2

-- name: heard  Which leanings wrote most of the newest $1 posts, at most $2.
SELECT a.profile ->> 'leaning' AS leaning, sum(n.posts)::int AS posts
FROM (
    SELECT author_id, count(*) AS posts
    FROM (SELECT author_id FROM posts WHERE NOT hidden ORDER BY id DESC LIMIT $1) newest
    GROUP BY author_id
) n JOIN personas a ON a.id = n.author_id
WHERE a.profile ->> 'leaning' <> ''
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $2

-- name: leanings  Which of personas $1 lean where.
SELECT id, profile ->> 'leaning' AS leaning FROM personas WHERE id = ANY ($1::bigint[]) AND profile ? 'leaning'
