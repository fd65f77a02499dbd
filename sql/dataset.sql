-- What datasets need beside the tables themselves, whose statements are made from their columns (app/analysis/dataset/schema.py).

-- name: revision  Which schema the world has.
SELECT version_num FROM alembic_version

-- name: moment  When the snapshot was taken.
SELECT now()

-- name: names  What personas are called, by their usernames, display names and in sessions.
SELECT id, username AS name, true AS handle FROM personas
UNION SELECT id, profile ->> 'display_name', false FROM personas WHERE profile ->> 'display_name' <> ''
UNION SELECT persona_id, name, false FROM session_members WHERE number > 0 AND name <> ''
ORDER BY 1, 3 DESC, 2

-- name: people  The nodes of the network.
SELECT id, username, coalesce(profile ->> 'display_name', '') AS display_name, coalesce(profile ->> 'leaning', '') AS leaning,
       status, activity, posts_count, comments_count, followers_count, following_count
FROM personas ORDER BY id

-- name: ties  Who follows or mutes whom, and turned to whose posts how often; nobody to itself.
SELECT source, target, kind, count(*) AS weight, min(at) AS first_at, max(at) AS last_at
FROM (
    SELECT follower AS source, followed AS target, 'follows' AS kind, created_at AS at FROM follows
    UNION ALL
    SELECT persona_id, muted_id, CASE WHEN block THEN 'blocks' ELSE 'mutes' END, created_at FROM mutes
    UNION ALL
    SELECT l.persona_id, p.author_id, 'likes', l.created_at FROM likes l JOIN posts p ON p.id = l.post_id
    UNION ALL
    SELECT r.persona_id, coalesce(p.author_id, c.author_id), 'reacts', r.created_at
    FROM reactions r LEFT JOIN posts p ON p.id = r.post_id LEFT JOIN comments c ON c.id = r.comment_id
    UNION ALL
    SELECT c.author_id, coalesce(o.author_id, p.author_id), 'replies', c.created_at
    FROM comments c JOIN posts p ON p.id = c.post_id LEFT JOIN comments o ON o.id = c.parent_id
    UNION ALL
    SELECT n.author_id, o.author_id, CASE WHEN n.repost_of IS NULL THEN 'quotes' ELSE 'reposts' END, n.created_at
    FROM posts n JOIN posts o ON o.id = coalesce(n.repost_of, n.quote_of)
) acts
WHERE source <> target
GROUP BY source, target, kind ORDER BY source, target, kind

-- name: next_numbers  The sequences of these tables go on after their rows.
SELECT quote_ident(t.relname) AS table, quote_ident(a.attname) AS column, quote_ident(s.relname) AS name
FROM pg_class s
JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.deptype IN ('i', 'a')
JOIN pg_class t ON t.oid = d.refobjid
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
WHERE s.relkind = 'S' AND d.refobjid = ANY ($1::text[]::regclass[]) ORDER BY 1
