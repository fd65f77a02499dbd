-- Personas and posts in depth, for the pages. Every list is bounded and leaves out what is in quarantine.

-- name: likers  Who likes post $1: the newest $2 of a thousand.
SELECT l.id, l.created_at, a.id AS persona_id, a.username, a.profile ->> 'display_name' AS display_name,
       a.status = 'departed' AS departed
FROM (SELECT * FROM (SELECT * FROM likes WHERE post_id = $1 ORDER BY persona_id LIMIT 1000) k ORDER BY k.id DESC LIMIT $2) l
JOIN personas a ON a.id = l.persona_id ORDER BY l.id DESC

-- name: thread  Comments of post $1 behind comment $2, oldest first.
SELECT c.id, c.body, c.created_at, c.parent_id, c.likes_count, a.id AS author_id, a.username AS author_username,
       a.profile ->> 'display_name' AS author_display_name, a.status = 'departed' AS author_departed,
       (SELECT o.username FROM comments k JOIN personas o ON o.id = k.author_id
        WHERE k.id = c.parent_id AND NOT k.hidden) AS parent_username
FROM (SELECT * FROM comments WHERE post_id = $1 AND NOT hidden AND id > $2 ORDER BY id LIMIT $3) c
JOIN personas a ON a.id = c.author_id ORDER BY c.id

-- name: quotes  The newest $2 posts that quote post $1.
SELECT q.id, q.title, q.body, q.created_at, a.id AS author_id, a.username AS author_username, a.status = 'departed' AS author_departed
FROM (SELECT * FROM posts WHERE quote_of = $1 AND NOT hidden ORDER BY id DESC LIMIT $2) q
JOIN personas a ON a.id = q.author_id ORDER BY q.id DESC

-- name: felt  What was felt about post $1, counted among the first ten thousand.
SELECT kind, count(*) AS times FROM (SELECT kind FROM reactions WHERE post_id = $1 LIMIT 10000) r GROUP BY 1 ORDER BY 2 DESC, 1

-- name: comments_by  The newest comments of persona $1 before comment $2, each with its post.
SELECT c.id, c.body, c.created_at, f.id AS post_id, f.author_id, f.author_username, f.author_departed,
       left(coalesce(f.title, f.body), 160) AS post_excerpt
FROM (
    SELECT id, post_id, body, created_at FROM comments k
    WHERE author_id = $1 AND NOT hidden AND id < $2 AND NOT (SELECT p.hidden FROM posts p WHERE p.id = k.post_id)
    ORDER BY id DESC LIMIT $3
) c CROSS JOIN LATERAL (SELECT * FROM feed_posts v WHERE v.id = c.post_id OFFSET 0) f ORDER BY c.id DESC

-- name: likes_by  The posts that persona $1 liked last, before like $2.
SELECT l.id AS like_id, l.created_at AS liked_at, f.*
FROM (
    SELECT id, post_id, created_at FROM likes k
    WHERE persona_id = $1 AND id < $2 AND NOT (SELECT p.hidden FROM posts p WHERE p.id = k.post_id)
    ORDER BY id DESC LIMIT $3
) l CROSS JOIN LATERAL (SELECT * FROM feed_posts v WHERE v.id = l.post_id OFFSET 0) f ORDER BY l.id DESC

-- name: followed_by_persona  Whom persona $1 follows, newest first, before follow $2.
SELECT f.id, f.created_at, a.id AS persona_id, a.username, a.bio, a.status, a.followers_count,
       a.profile ->> 'display_name' AS display_name,
       EXISTS (SELECT FROM follows b WHERE b.follower = a.id AND b.followed = $1) AS mutual
FROM (SELECT id, followed, created_at FROM follows WHERE follower = $1 AND id < $2 ORDER BY id DESC LIMIT $3) f
JOIN personas a ON a.id = f.followed ORDER BY f.id DESC

-- name: followers_of_persona  Who follows persona $1, newest first, before follow $2.
SELECT f.id, f.created_at, a.id AS persona_id, a.username, a.bio, a.status, a.followers_count,
       a.profile ->> 'display_name' AS display_name,
       EXISTS (SELECT FROM follows b WHERE b.follower = $1 AND b.followed = a.id) AS mutual
FROM (SELECT id, follower, created_at FROM follows WHERE followed = $1 AND id < $2 ORDER BY id DESC LIMIT $3) f
JOIN personas a ON a.id = f.follower ORDER BY f.id DESC

-- name: ties  Who of personas $1 follows whom of them.
SELECT follower, followed FROM follows WHERE follower = ANY ($1::bigint[]) AND followed = ANY ($1::bigint[]) LIMIT 400

-- name: tallies  What persona $1 gave and got in likes (of its newest 10,000), and when it last had a turn.
SELECT (SELECT count(*) FROM (SELECT FROM likes WHERE persona_id = $1 LIMIT 10000) k) AS likes_given,
       (SELECT coalesce(sum(c.likes_count), 0) FROM (
            SELECT id FROM posts WHERE author_id = $1 AND NOT hidden ORDER BY id DESC LIMIT 10000
        ) p JOIN post_counts c ON c.post_id = p.id) AS likes_got,
       (SELECT t.started_at FROM turns t WHERE t.persona_id = $1 AND t.started_at IS NOT NULL
        ORDER BY t.id DESC LIMIT 1) AS last_turn

-- name: activity  How often persona $1 posted, commented or liked in each hour since $2, of its newest $3 of each.
SELECT date_trunc('hour', k.created_at, 'UTC') AS hour, count(*) AS deeds
FROM (
    (SELECT created_at FROM posts WHERE author_id = $1 AND NOT hidden ORDER BY id DESC LIMIT $3)
    UNION ALL
    (SELECT created_at FROM comments WHERE author_id = $1 AND NOT hidden ORDER BY id DESC LIMIT $3)
    UNION ALL
    (SELECT created_at FROM likes WHERE persona_id = $1 ORDER BY id DESC LIMIT $3)
) k
WHERE k.created_at >= $2 GROUP BY 1 ORDER BY 1

-- name: census  How many personas there are in each state and of each leaning.
SELECT status, profile ->> 'leaning' AS leaning, count(*) AS personas FROM personas WHERE status <> 'cast' GROUP BY 1, 2

-- name: people_newest  Personas before id $6, newest first; $1 state ('' those here), $2 leaning, $3 words, $4 like-pattern of them.
SELECT id, username, bio, status, posts_count, comments_count, followers_count, following_count, created_at,
       profile ->> 'display_name' AS display_name, profile ->> 'leaning' AS leaning
FROM personas
WHERE CASE WHEN $1 = '' THEN status IN ('active', 'paused') ELSE status = $1 END
  AND ($2 = '' OR profile ->> 'leaning' = $2)
  AND ($3 = '' OR username ILIKE $4 OR profile ->> 'display_name' ILIKE $4)
  AND ($5::text IS NULL OR true) AND id < $6
ORDER BY id DESC LIMIT $7

-- name: people_followers  The same, most followed first, behind ($5 followers, id $6).
SELECT id, username, bio, status, posts_count, comments_count, followers_count, following_count, created_at,
       profile ->> 'display_name' AS display_name, profile ->> 'leaning' AS leaning
FROM personas
WHERE CASE WHEN $1 = '' THEN status IN ('active', 'paused') ELSE status = $1 END
  AND ($2 = '' OR profile ->> 'leaning' = $2)
  AND ($3 = '' OR username ILIKE $4 OR profile ->> 'display_name' ILIKE $4)
  AND (followers_count, id) < ($5::text::int, $6)
ORDER BY followers_count DESC, id DESC LIMIT $7

-- name: people_posts  The same, by how much they posted, behind ($5 posts, id $6).
SELECT id, username, bio, status, posts_count, comments_count, followers_count, following_count, created_at,
       profile ->> 'display_name' AS display_name, profile ->> 'leaning' AS leaning
FROM personas
WHERE CASE WHEN $1 = '' THEN status IN ('active', 'paused') ELSE status = $1 END
  AND ($2 = '' OR profile ->> 'leaning' = $2)
  AND ($3 = '' OR username ILIKE $4 OR profile ->> 'display_name' ILIKE $4)
  AND (posts_count, id) < ($5::text::int, $6)
ORDER BY posts_count DESC, id DESC LIMIT $7

-- name: people_name  Those that have not departed, by handle, behind $5 (in lower case); $6 is not used.
SELECT id, username, bio, status, posts_count, comments_count, followers_count, following_count, created_at,
       profile ->> 'display_name' AS display_name, profile ->> 'leaning' AS leaning
FROM personas
WHERE status IN ('active', 'paused') AND ($1 = '' OR status = $1)
  AND ($2 = '' OR profile ->> 'leaning' = $2)
  AND ($3 = '' OR username ILIKE $4 OR profile ->> 'display_name' ILIKE $4)
  AND ($6::bigint IS NULL OR true) AND lower(username) > $5
ORDER BY lower(username) LIMIT $7
