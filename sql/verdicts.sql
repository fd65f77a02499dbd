-- What would come of effects, as commit.sql decides it; nothing is changed and nothing locked.

-- name: verdicts  The outcome of each effect of persona $1: kinds $2, targets $3. Read beside commit.sql: they say the same.
SELECT e.kind, e.target_id,
       CASE
           WHEN e.kind IN ('post', 'bio') THEN 'made'
           WHEN e.kind IN ('comment', 'like', 'unlike', 'repost', 'report') THEN CASE
               WHEN p.id IS NULL OR c.post_id IS NULL THEN 'not_found'
               WHEN e.kind IN ('like', 'repost', 'report') AND p.author_id = $1 THEN 'not_allowed'
               WHEN e.kind IN ('comment', 'repost')
                    AND EXISTS (SELECT FROM mutes m WHERE m.persona_id = p.author_id AND m.muted_id = $1) THEN 'not_allowed'
               WHEN e.kind = 'like' AND EXISTS (SELECT FROM likes l WHERE l.post_id = p.id AND l.persona_id = $1) THEN 'already'
               WHEN e.kind = 'unlike' AND NOT EXISTS (SELECT FROM likes l WHERE l.post_id = p.id AND l.persona_id = $1)
                    THEN 'already'
               WHEN e.kind = 'repost' AND EXISTS (SELECT FROM posts o WHERE o.author_id = $1 AND o.repost_of = c.post_id)
                    THEN 'already'
               WHEN e.kind = 'report' AND EXISTS (SELECT FROM reports r WHERE r.post_id = p.id AND r.reporter_id = $1)
                    THEN 'already'
               ELSE 'made' END
           ELSE CASE
               WHEN o.id IS NULL THEN 'not_found'
               WHEN o.id = $1 AND e.kind <> 'unfollow' THEN 'not_allowed'
               WHEN e.kind = 'follow' AND EXISTS (SELECT FROM mutes m WHERE m.persona_id = o.id AND m.muted_id = $1)
                    THEN 'not_allowed'
               WHEN e.kind = 'follow' AND EXISTS (SELECT FROM follows f WHERE f.follower = $1 AND f.followed = o.id)
                    THEN 'already'
               WHEN e.kind = 'unfollow' AND NOT EXISTS (SELECT FROM follows f WHERE f.follower = $1 AND f.followed = o.id)
                    THEN 'already'
               WHEN e.kind = 'mute' AND EXISTS (SELECT FROM mutes m WHERE m.persona_id = $1 AND m.muted_id = o.id)
                    THEN 'already'
               ELSE 'made' END
       END AS outcome
FROM unnest($2::text[], $3::bigint[]) WITH ORDINALITY AS e (kind, target_id, n)
LEFT JOIN posts p ON p.id = e.target_id AND NOT p.hidden
     AND e.kind IN ('comment', 'like', 'unlike', 'repost', 'report')
LEFT JOIN post_counts c ON NOT c.hidden
     AND c.post_id = CASE WHEN e.kind = 'repost' THEN coalesce(p.repost_of, p.id) ELSE p.id END
LEFT JOIN personas o ON o.id = e.target_id AND (o.status IN ('active', 'paused') OR e.kind = 'unfollow')
     AND e.kind IN ('follow', 'unfollow', 'mute')
ORDER BY e.n

-- name: last_ids  The newest post and comment.
SELECT coalesce((SELECT max(id) FROM posts), 0) AS post, coalesce((SELECT max(id) FROM comments), 0) AS comment
