-- What would come of effects, as commit.sql decides it; nothing is changed and nothing locked.

-- name: verdicts  The outcome of each effect of persona $1: kinds $2, targets $3, bodies $4. Read beside commit.sql: they say the same.
SELECT e.kind, e.target_id,
       CASE
           WHEN e.kind IN ('post', 'bio') THEN 'made'
           WHEN e.kind IN ('reply', 'like_comment', 'unlike_comment') THEN CASE
               WHEN k.id IS NULL THEN 'not_found'
               WHEN e.kind = 'like_comment' AND k.author_id = $1 THEN 'not_allowed'
               WHEN e.kind <> 'unlike_comment' AND x.blocked THEN 'not_allowed'
               WHEN e.kind = 'reply' AND EXISTS (
                   SELECT FROM mutes m WHERE m.persona_id IN (k.author_id, k.behind_id) AND m.muted_id = $1
               ) THEN 'not_allowed'
               WHEN e.kind = 'like_comment' AND x.liked THEN 'already'
               WHEN e.kind = 'unlike_comment' AND NOT x.liked THEN 'already'
               ELSE 'made' END
           WHEN e.kind IN ('comment', 'like', 'unlike', 'repost', 'report', 'quote', 'react') THEN CASE
               WHEN p.id IS NULL OR c.post_id IS NULL THEN 'not_found'
               WHEN e.kind IN ('like', 'repost', 'report', 'react') AND p.author_id = $1 THEN 'not_allowed'
               WHEN e.kind NOT IN ('unlike', 'report') AND x.blocked THEN 'not_allowed'
               WHEN e.kind IN ('comment', 'repost', 'quote')
                    AND EXISTS (SELECT FROM mutes m WHERE m.persona_id = p.author_id AND m.muted_id = $1) THEN 'not_allowed'
               WHEN e.kind = 'quote'
                    AND EXISTS (SELECT FROM mutes m WHERE m.persona_id = r.author_id AND m.muted_id = $1) THEN 'not_allowed'
               WHEN e.kind = 'like' AND EXISTS (SELECT FROM likes l WHERE l.post_id = p.id AND l.persona_id = $1) THEN 'already'
               WHEN e.kind = 'unlike' AND NOT EXISTS (SELECT FROM likes l WHERE l.post_id = p.id AND l.persona_id = $1)
                    THEN 'already'
               WHEN e.kind = 'repost' AND EXISTS (SELECT FROM posts o WHERE o.author_id = $1 AND o.repost_of = c.post_id)
                    THEN 'already'
               WHEN e.kind = 'report' AND EXISTS (SELECT FROM reports r WHERE r.post_id = p.id AND r.reporter_id = $1)
                    THEN 'already'
               WHEN e.kind = 'react' AND EXISTS (
                   SELECT FROM reactions f WHERE f.post_id = p.id AND f.persona_id = $1 AND f.kind = e.body
               ) THEN 'already'
               ELSE 'made' END
           ELSE CASE
               WHEN o.id IS NULL THEN 'not_found'
               WHEN o.id = $1 AND e.kind <> 'unfollow' THEN 'not_allowed'
               WHEN e.kind = 'follow' AND (
                   x.blocked OR EXISTS (SELECT FROM mutes m WHERE m.persona_id = o.id AND m.muted_id = $1)
               ) THEN 'not_allowed'
               WHEN e.kind = 'follow' AND EXISTS (SELECT FROM follows f WHERE f.follower = $1 AND f.followed = o.id)
                    THEN 'already'
               WHEN e.kind = 'unfollow' AND NOT EXISTS (SELECT FROM follows f WHERE f.follower = $1 AND f.followed = o.id)
                    THEN 'already'
               WHEN e.kind IN ('mute', 'block') AND EXISTS (
                   SELECT FROM mutes m WHERE m.persona_id = $1 AND m.muted_id = o.id AND (m.block OR e.kind = 'mute')
               ) THEN 'already'
               ELSE 'made' END
       END AS outcome
FROM unnest($2::text[], $3::bigint[], $4::text[]) WITH ORDINALITY AS e (kind, target_id, body, n)
LEFT JOIN posts p ON p.id = e.target_id AND NOT p.hidden
     AND e.kind IN ('comment', 'like', 'unlike', 'repost', 'report', 'quote', 'react')
LEFT JOIN posts r ON r.id = p.repost_of
LEFT JOIN post_counts c ON NOT c.hidden
     AND c.post_id = CASE WHEN e.kind IN ('repost', 'quote') THEN coalesce(p.repost_of, p.id) ELSE p.id END
LEFT JOIN personas o ON o.id = e.target_id AND (o.status IN ('active', 'paused') OR e.kind = 'unfollow')
     AND e.kind IN ('follow', 'unfollow', 'mute', 'block')
LEFT JOIN LATERAL (
    SELECT k.id, k.author_id, w.author_id AS behind_id
    FROM comments k JOIN posts w ON w.id = k.post_id AND NOT w.hidden
    WHERE k.id = e.target_id AND NOT k.hidden AND e.kind IN ('reply', 'like_comment', 'unlike_comment') OFFSET 0
) k ON true
CROSS JOIN LATERAL (
    SELECT EXISTS (
               SELECT FROM mutes m WHERE m.block AND (
                   (m.persona_id = $1 AND m.muted_id IN (p.author_id, r.author_id, k.author_id, k.behind_id, o.id))
                   OR (m.muted_id = $1 AND m.persona_id IN (p.author_id, r.author_id, k.author_id, k.behind_id, o.id)))
           ) AS blocked,
           EXISTS (SELECT FROM reactions f WHERE f.comment_id = k.id AND f.persona_id = $1) AS liked
    OFFSET 0
) x
ORDER BY e.n

-- name: last_ids  The newest post and comment.
SELECT coalesce((SELECT max(id) FROM posts), 0) AS post, coalesce((SELECT max(id) FROM comments), 0) AS comment
