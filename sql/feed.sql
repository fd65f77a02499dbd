-- The feed, read by pages, the API and personas alike. Every list is one bounded index scan, from a cursor on.
-- The first page's cursor is the greatest value of its type. `OFFSET 0` keeps each row's joins a lookup by key, whatever
-- the planner guesses of $-parameters, so that one generic plan serves every call and nothing is planned anew.
-- What is in quarantine is left out before LIMIT counts, so that pages are full, by indexes that do not hold it: a thousand
-- hidden posts cost a page nothing. `feed_posts` itself holds no hidden post.

-- name: latest  Newest first, before post $1.
SELECT f.* FROM (SELECT id FROM posts WHERE NOT hidden AND id < $1 ORDER BY id DESC LIMIT $2) page
CROSS JOIN LATERAL (SELECT * FROM feed_posts v WHERE v.id = page.id OFFSET 0) f ORDER BY f.id DESC

-- name: latest_by  Newest of author $3.
SELECT f.* FROM (SELECT id FROM posts WHERE author_id = $3 AND NOT hidden AND id < $1 ORDER BY id DESC LIMIT $2) page
CROSS JOIN LATERAL (SELECT * FROM feed_posts v WHERE v.id = page.id OFFSET 0) f ORDER BY f.id DESC

-- name: top  Most liked first, before ($1 likes, post $3).
SELECT f.* FROM (
    SELECT post_id FROM post_counts WHERE NOT hidden AND (likes_count, post_id) < ($1::int, $3::bigint)
    ORDER BY likes_count DESC, post_id DESC LIMIT $2
) page CROSS JOIN LATERAL (SELECT * FROM feed_posts v WHERE v.id = page.post_id OFFSET 0) f
ORDER BY f.likes_count DESC, f.id DESC

-- name: top_by  Most liked of author $4.
SELECT * FROM feed_posts WHERE author_id = $4 AND (likes_count, post_id) < ($1::int, $3::bigint)
ORDER BY likes_count DESC, post_id DESC LIMIT $2

-- name: hot  Ranked by likes, comments and youth, before ($1 rank, post $3).
SELECT f.* FROM (
    SELECT post_id FROM post_counts WHERE NOT hidden AND (hot, post_id) < ($1::float8, $3::bigint)
    ORDER BY hot DESC, post_id DESC LIMIT $2
) page CROSS JOIN LATERAL (SELECT * FROM feed_posts v WHERE v.id = page.post_id OFFSET 0) f
ORDER BY f.hot DESC, f.id DESC

-- name: hot_by  The same of author $4.
SELECT * FROM feed_posts WHERE author_id = $4 AND (hot, post_id) < ($1::float8, $3::bigint)
ORDER BY hot DESC, post_id DESC LIMIT $2

-- name: discussed  Most commented first, before ($1 comments, post $3).
SELECT f.* FROM (
    SELECT post_id FROM post_counts WHERE NOT hidden AND (comments_count, post_id) < ($1::int, $3::bigint)
    ORDER BY comments_count DESC, post_id DESC LIMIT $2
) page CROSS JOIN LATERAL (SELECT * FROM feed_posts v WHERE v.id = page.post_id OFFSET 0) f
ORDER BY f.comments_count DESC, f.id DESC

-- name: discussed_by  Most commented of author $4.
SELECT * FROM feed_posts WHERE author_id = $4 AND (comments_count, post_id) < ($1::int, $3::bigint)
ORDER BY comments_count DESC, post_id DESC LIMIT $2

-- name: following  Newest of those whom persona $3 follows: a few ids of each, then the page's rows.
SELECT f.* FROM (
    SELECT p.id FROM follows w
    CROSS JOIN LATERAL (
        SELECT id FROM posts WHERE author_id = w.followed AND NOT hidden AND id < $1 ORDER BY id DESC LIMIT $2
    ) p
    WHERE w.follower = $3 ORDER BY p.id DESC LIMIT $2
) page CROSS JOIN LATERAL (SELECT * FROM feed_posts v WHERE v.id = page.id OFFSET 0) f ORDER BY f.id DESC

-- name: leaning  Newest of those who lean to $3, among the $4 posts before post $1.
SELECT f.* FROM (
    SELECT s.id FROM (SELECT id, author_id FROM posts WHERE NOT hidden AND id < $1 ORDER BY id DESC LIMIT $4) s
    CROSS JOIN LATERAL (SELECT profile ->> 'leaning' AS leaning FROM personas a WHERE a.id = s.author_id OFFSET 0) a
    WHERE a.leaning = $3 ORDER BY s.id DESC LIMIT $2
) page CROSS JOIN LATERAL (SELECT * FROM feed_posts v WHERE v.id = page.id OFFSET 0) f ORDER BY f.id DESC

-- name: looked  How many the $2 posts before post $1 are, and the oldest of them.
SELECT count(*) AS posts, min(id) AS oldest
FROM (SELECT id FROM posts WHERE NOT hidden AND id < $1 ORDER BY id DESC LIMIT $2) among

-- name: page  Page by number; $1 rows are skipped over the primary key alone.
SELECT f.* FROM (SELECT id FROM posts WHERE NOT hidden ORDER BY id DESC OFFSET $1 LIMIT $2) page
CROSS JOIN LATERAL (SELECT * FROM feed_posts v WHERE v.id = page.id OFFSET 0) f ORDER BY f.id DESC

-- name: post  One post.
SELECT * FROM feed_posts WHERE id = $1

-- name: comments  A post's comments, newest first, before comment $2; no row with a post_id when there is no post.
SELECT c.id, p.id AS post_id, c.body, c.author_id, a.username AS author_username, c.created_at, c.parent_id, c.likes_count
FROM posts p
LEFT JOIN LATERAL (
    SELECT * FROM comments WHERE post_id = p.id AND NOT hidden AND id < $2 ORDER BY id DESC LIMIT $3
) c ON true
LEFT JOIN personas a ON a.id = c.author_id
WHERE p.id = $1 AND NOT p.hidden
ORDER BY c.id DESC

-- name: for_persona_latest  The newest 50 posts as persona $1 sees them: not its own, none of whom it muted or where one blocked the other, nor shared or quoted from them.
SELECT f.id, f.root_id, f.author_username, f.author_id, f.title, f.body, f.likes_count, f.comments_count,
       f.created_at, f.repost_of, f.repost_of_username, f.quote_of, f.quote_username, f.quote_body
FROM (
    SELECT s.id FROM (
        SELECT p.id, p.author_id, o.author_id AS original_author_id
        FROM (SELECT id, author_id, coalesce(repost_of, quote_of) AS upon FROM posts WHERE NOT hidden ORDER BY id DESC LIMIT 50) p
        LEFT JOIN LATERAL (SELECT author_id FROM posts o WHERE o.id = p.upon OFFSET 0) o ON true
    ) s
    WHERE s.author_id <> $1
      AND NOT EXISTS (SELECT FROM mutes m WHERE m.persona_id = $1 AND m.muted_id IN (s.author_id, s.original_author_id))
      AND NOT EXISTS (SELECT FROM mutes m WHERE m.persona_id IN (s.author_id, s.original_author_id) AND m.muted_id = $1 AND m.block)
    ORDER BY s.id DESC LIMIT $2
) page CROSS JOIN LATERAL (SELECT * FROM feed_posts v WHERE v.id = page.id OFFSET 0) f
ORDER BY f.id DESC

-- name: for_persona_top  The same of the 50 most liked.
SELECT f.id, f.root_id, f.author_username, f.author_id, f.title, f.body, f.likes_count, f.comments_count,
       f.created_at, f.repost_of, f.repost_of_username, f.quote_of, f.quote_username, f.quote_body
FROM (
    SELECT s.id FROM (
        SELECT k.id, k.rank, p.author_id, p.original_author_id
        FROM (
            SELECT post_id AS id, likes_count AS rank FROM post_counts WHERE NOT hidden
            ORDER BY likes_count DESC, post_id DESC LIMIT 50
        ) k CROSS JOIN LATERAL (
            SELECT p.author_id, (SELECT o.author_id FROM posts o WHERE o.id = coalesce(p.repost_of, p.quote_of)) AS original_author_id
            FROM posts p WHERE p.id = k.id OFFSET 0
        ) p
    ) s
    WHERE s.author_id <> $1
      AND NOT EXISTS (SELECT FROM mutes m WHERE m.persona_id = $1 AND m.muted_id IN (s.author_id, s.original_author_id))
      AND NOT EXISTS (SELECT FROM mutes m WHERE m.persona_id IN (s.author_id, s.original_author_id) AND m.muted_id = $1 AND m.block)
    ORDER BY s.rank DESC, s.id DESC LIMIT $2
) page CROSS JOIN LATERAL (SELECT * FROM feed_posts v WHERE v.id = page.id OFFSET 0) f
ORDER BY f.likes_count DESC, f.id DESC

-- name: for_persona_discussed  The same of the 50 most discussed.
SELECT f.id, f.root_id, f.author_username, f.author_id, f.title, f.body, f.likes_count, f.comments_count,
       f.created_at, f.repost_of, f.repost_of_username, f.quote_of, f.quote_username, f.quote_body
FROM (
    SELECT s.id FROM (
        SELECT k.id, k.rank, p.author_id, p.original_author_id
        FROM (
            SELECT post_id AS id, comments_count AS rank FROM post_counts WHERE NOT hidden
            ORDER BY comments_count DESC, post_id DESC LIMIT 50
        ) k CROSS JOIN LATERAL (
            SELECT p.author_id, (SELECT o.author_id FROM posts o WHERE o.id = coalesce(p.repost_of, p.quote_of)) AS original_author_id
            FROM posts p WHERE p.id = k.id OFFSET 0
        ) p
    ) s
    WHERE s.author_id <> $1
      AND NOT EXISTS (SELECT FROM mutes m WHERE m.persona_id = $1 AND m.muted_id IN (s.author_id, s.original_author_id))
      AND NOT EXISTS (SELECT FROM mutes m WHERE m.persona_id IN (s.author_id, s.original_author_id) AND m.muted_id = $1 AND m.block)
    ORDER BY s.rank DESC, s.id DESC LIMIT $2
) page CROSS JOIN LATERAL (SELECT * FROM feed_posts v WHERE v.id = page.id OFFSET 0) f
ORDER BY f.comments_count DESC, f.id DESC

-- name: comments_for_persona  A post's newest comments as persona $1 sees them; one row of NULLs when there are none.
SELECT c.id, c.body, c.author_id, a.username AS author_username, c.parent_id, c.likes_count, c.created_at
FROM posts p
LEFT JOIN LATERAL (
    SELECT * FROM comments k WHERE k.post_id = p.id AND NOT k.hidden
      AND NOT EXISTS (SELECT FROM mutes m WHERE m.persona_id = $1 AND m.muted_id = k.author_id)
      AND NOT EXISTS (SELECT FROM mutes m WHERE m.persona_id = k.author_id AND m.muted_id = $1 AND m.block)
    ORDER BY k.id DESC LIMIT $3
) c ON true
LEFT JOIN personas a ON a.id = c.author_id
WHERE p.id = $2 AND NOT p.hidden
  AND NOT EXISTS (SELECT FROM mutes m WHERE m.persona_id = p.author_id AND m.muted_id = $1 AND m.block)
  AND NOT EXISTS (SELECT FROM mutes m WHERE m.persona_id = $1 AND m.muted_id = p.author_id AND m.block)
ORDER BY c.id DESC

-- name: author_for_persona  Who wrote post $2, and whether persona $1 follows them; nobody where one blocked the other.
SELECT a.id, a.username, a.bio, a.followers_count,
       EXISTS (SELECT FROM follows w WHERE w.follower = $1 AND w.followed = a.id) AS followed
FROM posts p JOIN personas a ON a.id = p.author_id
WHERE p.id = $2 AND NOT p.hidden
  AND NOT EXISTS (SELECT FROM mutes m WHERE m.persona_id = a.id AND m.muted_id = $1 AND m.block)
  AND NOT EXISTS (SELECT FROM mutes m WHERE m.persona_id = $1 AND m.muted_id = a.id AND m.block)

-- name: follows_actions  What those whom persona $1 follows did lately, but not to those whom it does not see.
SELECT did, post_id, text, created_at, author_id, author_username
FROM (
    SELECT k.*, a.id AS author_id, a.username AS author_username
    FROM (
        SELECT followed FROM follows f WHERE follower = $1
          AND NOT EXISTS (SELECT FROM mutes m WHERE m.persona_id = $1 AND m.muted_id = f.followed)
        ORDER BY id DESC LIMIT 30
    ) w
    JOIN personas a ON a.id = w.followed
    CROSS JOIN LATERAL (
        (SELECT CASE WHEN repost_of IS NOT NULL THEN 'repost' WHEN quote_of IS NOT NULL THEN 'quote' ELSE 'post' END AS did,
                coalesce(repost_of, id) AS post_id, coalesce(repost_of, quote_of) AS upon, body AS text, created_at, id
         FROM posts WHERE author_id = a.id AND NOT hidden ORDER BY id DESC LIMIT 2)
        UNION ALL
        (SELECT 'comment', post_id, post_id, body, created_at, id FROM comments c WHERE author_id = a.id AND NOT hidden
           AND NOT (SELECT p.hidden FROM posts p WHERE p.id = c.post_id) ORDER BY id DESC LIMIT 2)
        UNION ALL
        (SELECT 'like', post_id, post_id, '', created_at, id FROM likes l WHERE persona_id = a.id
           AND NOT (SELECT p.hidden FROM posts p WHERE p.id = l.post_id) ORDER BY id DESC LIMIT 2)
    ) k
    ORDER BY k.created_at DESC, a.id, k.did, k.id DESC LIMIT 2 * $2
) d
WHERE NOT EXISTS (
    SELECT FROM posts o JOIN mutes m ON m.persona_id = $1 AND m.muted_id = o.author_id WHERE o.id = d.upon OFFSET 0
) AND NOT EXISTS (
    SELECT FROM posts o JOIN mutes m ON m.persona_id = o.author_id AND m.muted_id = $1 AND m.block WHERE o.id = d.upon OFFSET 0
)
ORDER BY created_at DESC, author_id, did, id DESC LIMIT $2

-- name: situations  What each of these personas is, counts and did lately: all a turn starts from.
SELECT p.id, p.username, p.description, p.bio, p.profile, p.model, p.temperature, p.posts_count, p.comments_count,
       p.followers_count, p.following_count,
       (SELECT json_agg(json_build_array(x.kind, x.object_id, x.text) ORDER BY x.created_at DESC, x.kind, x.id DESC) FROM (
            SELECT * FROM (
                (SELECT CASE WHEN repost_of IS NOT NULL THEN 'reposted' WHEN quote_of IS NOT NULL THEN 'quoted' ELSE 'posted' END AS kind,
                        coalesce(repost_of, quote_of, id) AS object_id, left(body, 60) AS text, created_at, id
                 FROM posts WHERE author_id = p.id AND NOT hidden ORDER BY id DESC LIMIT 3)
                UNION ALL
                (SELECT 'commented on', post_id, left(body, 60), created_at, id
                 FROM comments c WHERE author_id = p.id AND NOT hidden
                   AND NOT (SELECT o.hidden FROM posts o WHERE o.id = c.post_id) ORDER BY id DESC LIMIT 3)
                UNION ALL
                (SELECT 'liked', post_id, '', created_at, id
                 FROM likes l WHERE persona_id = p.id
                   AND NOT (SELECT o.hidden FROM posts o WHERE o.id = l.post_id) ORDER BY id DESC LIMIT 3)
                UNION ALL
                (SELECT CASE WHEN comment_id IS NULL THEN 'reacted to' ELSE 'liked comment' END, coalesce(comment_id, post_id),
                        CASE WHEN comment_id IS NULL THEN r.kind ELSE '' END, created_at, id
                 FROM reactions r WHERE persona_id = p.id
                   AND NOT coalesce((SELECT o.hidden FROM posts o WHERE o.id = r.post_id), false)
                   AND NOT coalesce((SELECT c.hidden FROM comments c WHERE c.id = r.comment_id), false)
                 ORDER BY id DESC LIMIT 2)
                UNION ALL
                (SELECT 'followed', f.followed, o.username, f.created_at, f.id
                 FROM follows f JOIN personas o ON o.id = f.followed
                 WHERE f.follower = p.id ORDER BY f.id DESC LIMIT 2)
            ) k ORDER BY created_at DESC, kind, id DESC LIMIT 6
       ) x) AS lately
FROM personas p WHERE p.id = ANY ($1::bigint[])
